//! Data sets by their names on the command line.

use super::{Batch, points};
use crate::choice::Choice;
use crate::cli::{count, note};
use crate::config::{BuiltIn, Config};
use crate::data::{DataError, Dataset, Split, Wanted, load_points};
use crate::tensor::Shape;
use anyhow::ensure;
use std::path::Path;

/// The value of an option that names data.
pub const DATA: &str = "digits|digits_color|PATH";

/// A built-in data set, or the images of a path in their own shape.
pub fn named(spec: &str, split: Split) -> anyhow::Result<Dataset> {
    wanted(spec, split, &Wanted::default())
}

/// A built-in data set, or the images of a path.
fn wanted(spec: &str, split: Split, wanted: &Wanted) -> anyhow::Result<Dataset> {
    if let Some(name) = BuiltIn::named(spec) {
        return Ok(Dataset::built_in(name, split)?);
    }
    let set = Dataset::at(Path::new(spec), split, wanted)?;
    if !set.skipped.is_empty() {
        note(format!("{spec}: left out: {}", set.skipped.join(", ")));
    }
    Ok(set)
}

/// The number of images to use from the start of a set: `requested`, else `usual`, or all if there are fewer.
pub fn first(set: &Dataset, requested: Option<usize>, usual: usize) -> anyhow::Result<usize> {
    let n = requested.unwrap_or(usual.min(set.len()));
    ensure!(n <= set.len(), "-n {n}: the data set has only {}", count(set.len(), "image"));
    Ok(n)
}

/// The test points of a model of points, by default its own, `[n, 1, 1, 2]`.
pub fn points_of_model(spec: Option<&str>, config: &Config) -> anyhow::Result<Batch> {
    let Some(spec) = spec else {
        let values = load_points(&config.data, Split::Test).map_err(unnamed)?.values().to_vec();
        return Ok(Batch { shape: Shape::new(values.len() / 2, 1, 1, 2), values });
    };
    points::read(Path::new(spec))
}

/// The error of test data that cannot be loaded.
fn unnamed(error: DataError) -> anyhow::Error {
    match error {
        DataError::NoPath { .. } => {
            anyhow::anyhow!("the model's run names no test images; name them with --data PATH")
        }
        other => other.into(),
    }
}

/// The test images of a data set, by default the model's own. They must have the model's size.
pub fn of_model(spec: Option<&str>, config: &Config) -> anyhow::Result<Dataset> {
    points::refuse(&config.data)?;
    let Some(spec) = spec else {
        return Dataset::load(&config.data, Split::Test).map_err(unnamed);
    };
    let set = wanted(spec, Split::Test, &Wanted::of(&config.data))?;
    let ([h, w, c], [height, width, channels]) = (set.shape(), config.data.shape());
    ensure!(
        set.shape() == config.data.shape(),
        "the images of {spec} are {h}x{w}x{c}, and the model's {height}x{width}x{channels}; choose data like those it \
         was trained on"
    );
    Ok(set)
}
