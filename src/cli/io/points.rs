//! Points of the plane in files.

use super::plane::{self, INK, Layer, PREDICTED, Panel, Point};
use super::{Batch, images, paths::ends_in, paths::written};
use crate::config::Data;
use crate::data::read_points;
use crate::tensor::Shape;
use anyhow::ensure;
use image::DynamicImage;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Returns true if samples of this shape are points: `[n, 1, 1, 2]`.
pub fn are_points(shape: Shape) -> bool {
    shape.0[1..] == [1, 1, 2]
}

/// Refuses a command that knows images alone, for a model of points.
pub fn refuse(data: &Data) -> anyhow::Result<()> {
    ensure!(
        !data.is_points(),
        "this command takes a model of images, and this one is of points; see `tweedie field`"
    );
    Ok(())
}

/// Reads the points of a CSV file or an array of numpy.
pub fn read(path: &Path) -> anyhow::Result<Batch> {
    let values = read_points(path)?.values().to_vec();
    Ok(Batch { shape: Shape::new(values.len() / 2, 1, 1, 2), values })
}

/// Checks that outputs can hold points.
pub fn check_outputs<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let known = |path: &Path| ["png", "npz", "csv", "gif", "safetensors"].iter().any(|e| ends_in(path, e));
    for path in paths {
        ensure!(known(path), "{}: points are written as F.png, F.npz or F.csv; choose one", path.display());
    }
    Ok(())
}

/// Writes points as a picture or as text, depending on the path's ending; an array is written as that of images.
pub fn write(path: &Path, points: &[Point]) -> anyhow::Result<()> {
    if ends_in(path, "csv") {
        let mut text = String::from("x,y\n");
        points.iter().try_for_each(|[x, y]| writeln!(text, "{x},{y}"))?;
        return written(path, text.as_bytes());
    }
    let picture = scatter(points, 1)?;
    written(path, &images::png(&picture)?)
}

/// A picture of points; with two for each sample, the second in another colour.
pub fn scatter(points: &[Point], each: usize) -> anyhow::Result<DynamicImage> {
    let every = |k: usize| points.iter().skip(k).step_by(each).copied().collect::<Vec<Point>>();
    let (first, second) = (every(0), if each > 1 { every(1) } else { Vec::new() });
    let panel = Panel { title: String::new(), half: plane::half_width(points) };
    let layers = [Layer::Points(&first, INK), Layer::Points(&second, PREDICTED)];
    Ok(panel.draw(&layers)?.into())
}

/// A picture of the paths of samples, which have one point in each column.
pub fn paths(columns: &[Vec<Point>], most: usize) -> anyhow::Result<DynamicImage> {
    let n = columns.iter().map(Vec::len).min().unwrap_or(0).min(most);
    let paths: Vec<Vec<Point>> = (0..n).map(|i| columns.iter().map(|column| column[i]).collect()).collect();
    let panel = Panel { title: String::new(), half: plane::half_width(&paths.concat()) };
    Ok(panel.draw(&[Layer::Paths(&paths)])?.into())
}
