//! Data sets by their names on the command line.

use super::{Batch, points};
use crate::choice::Choice;
use crate::cli::{count, note};
use crate::config::{BuiltIn, Config};
use crate::data::{DataError, Dataset, Pixels, Split, Wanted};
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
        let set = crate::data::load(&config.data, Split::Test).map_err(unnamed)?;
        let mut values = Vec::new();
        for i in 0..set.len() {
            if let Pixels::Values(point) = set.image(i)? {
                values.extend_from_slice(&point);
            }
        }
        return Ok(Batch { shape: Shape::new(set.len(), 1, 1, 2), values });
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
    let (size, channels) = (config.data.image_size, config.data.num_channels);
    let set = wanted(spec, Split::Test, &Wanted::of(&config.data))?;
    ensure!(
        (set.size, set.channels) == (size, channels),
        "the images of {spec} are {0}x{0}x{1}, and the model's {size}x{size}x{channels}; choose data \
         like those it was trained on",
        set.size,
        set.channels
    );
    Ok(set)
}
