//! Statistics of features in `.npz` files: the mean `mu` and the covariance `sigma` of pytorch-fid's, torch-fidelity's and EDM's
//! files, or the features `pool_3` of score_sde's, with `logits` in those of samples.

use super::Npz;
use crate::data::{Array, Numbers};
use crate::eval::{Features, Moments};
use anyhow::{Context, ensure};
use std::path::Path;

/// The contents of a file of statistics.
pub enum Statistics {
    /// Mean and covariance.
    Moments(Moments),
    /// The features, and the logits if the file has them.
    Features(Features, Option<Features>),
}

/// Reads a file of statistics; `None` if the file is another one.
pub fn read(path: &Path) -> anyhow::Result<Option<Statistics>> {
    let shown = path.display();
    if let Some([mu, sigma]) = Array::named(path, ["mu", "sigma"])? {
        let d = mu.shape.iter().product::<usize>();
        ensure!(
            mu.shape == [d] && sigma.shape == [d, d],
            "{shown}: `mu` is {:?} and `sigma` {:?}; they must be [d] and [d, d]",
            mu.shape,
            sigma.shape
        );
        let moments = Moments::new(&mu.numbers.doubles(), &sigma.numbers.doubles());
        return Ok(Some(Statistics::Moments(moments.context("no statistics")?)));
    }
    let Some([pool]) = Array::named(path, ["pool_3"])? else { return Ok(None) };
    let logits = Array::named(path, ["logits"])?.map(|[logits]| rows(path, "logits", logits)).transpose()?;
    let features = rows(path, "pool_3", pool)?;
    let fits = logits.as_ref().is_none_or(|logits| logits.len() == features.len());
    ensure!(fits, "{shown}: `logits` are of another number of images than `pool_3`");
    Ok(Some(Statistics::Features(features, logits)))
}

/// An array `[n, d]`.
fn rows(path: &Path, name: &str, array: Array) -> anyhow::Result<Features> {
    let [_, d] = array.shape[..] else {
        anyhow::bail!("{}: `{name}` is {:?}; it must be [n, d]", path.display(), array.shape);
    };
    let values = match array.numbers {
        Numbers::Single(values) => values,
        numbers => numbers.doubles().into_iter().map(|value| value as f32).collect(),
    };
    Features::new(values, d).context("no features")
}

/// Writes mean and covariance as `mu` and `sigma`, float64.
pub fn write(path: &Path, moments: &Moments) -> anyhow::Result<()> {
    let d = moments.dimensions();
    let mut archive = Npz::new();
    archive.add("mu", &[d], &moments.mean())?;
    archive.add("sigma", &[d, d], &moments.covariance())?;
    archive.write(path)
}
