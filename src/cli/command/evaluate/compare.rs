//! The metrics of two sides.

use super::report::Report;
use super::side::{self, Content, Side};
use super::{Args, Metric};
use crate::cli::io::{Batch, Images, paths};
use crate::cli::{note, progress};
use crate::config::Range;
use crate::eval::{
    Components, EvalError, Features, Moments, copies, copy_threshold, frechet_distance, inception_score,
    kernel_distance, nearest, precision_recall,
};
use crate::gpu::Gpu;
use anyhow::{Context, bail, ensure};
use std::path::Path;

/// Features of a side, or only their moments.
pub enum Described {
    Features(Features, Option<Features>),
    Moments(Moments),
}

impl Described {
    pub fn dimensions(&self) -> usize {
        match self {
            Described::Features(features, _) => features.dimensions(),
            Described::Moments(moments) => moments.dimensions(),
        }
    }

    pub fn features(&self) -> Option<&Features> {
        if let Described::Features(features, _) = self { Some(features) } else { None }
    }

    fn logits(&self) -> Option<&Features> {
        if let Described::Features(_, logits) = self { logits.as_ref() } else { None }
    }

    pub fn moments(&self, name: &str) -> anyhow::Result<Moments> {
        match self {
            Described::Features(features, _) => {
                Moments::of(features).with_context(|| format!("{name}: at least two images are needed"))
            }
            Described::Moments(moments) => Ok(moments.clone()),
        }
    }

    fn projected(self, components: &Components) -> anyhow::Result<Described> {
        Ok(match self {
            Described::Features(features, logits) => {
                Described::Features(components.project(&features)?, logits)
            }
            Described::Moments(moments) => Described::Moments(components.project_moments(&moments)?),
        })
    }
}

/// The most dimensions of a covariance: about 10 GiB of matrices, and an hour of one core.
const MOST: usize = 8192;

/// Both sides by the principal components of the second, the reference.
pub fn components(count: usize, [a, b]: [Described; 2], names: [&str; 2]) -> anyhow::Result<[Described; 2]> {
    let d = b.dimensions();
    ensure!(count <= d, "--components {count}: the features have {d} dimensions");
    ensure!(d <= MOST, "--components: the features have {d} dimensions, and a covariance has at most {MOST}");
    ensure!(
        a.dimensions() == d,
        "{} has features of {} dimensions, and {} of {d}",
        names[0],
        a.dimensions(),
        names[1]
    );
    let components = b.moments(names[1])?.principal_components(count)?;
    Ok([a.projected(&components)?, b.projected(&components)?])
}

/// The metrics of `a` against `b`, those of `args` or all that both sides have.
pub fn metrics(
    gpu: &Gpu,
    args: &Args,
    [a, b]: [&Described; 2],
    names: [&str; 2],
    report: &mut Report,
) -> anyhow::Result<()> {
    let (d, other) = (a.dimensions(), b.dimensions());
    ensure!(
        d == other,
        "{} has features of {d} dimensions, and {} of {other}; the features of both must be the same, see --features",
        names[0],
        names[1]
    );
    let requested = |metric: Metric| args.metrics.contains(&metric);
    let wanted = |metric: Metric| args.metrics.is_empty() || requested(metric);
    if wanted(Metric::Frechet) {
        if d > MOST {
            let why = format!(
                "the features have {d} dimensions, and a covariance has at most {MOST}; take --features inception"
            );
            ensure!(!requested(Metric::Frechet), "--metrics frechet: {why}");
            note(format!("no Fréchet distance: {why}"));
        } else {
            report.frechet = Some(frechet_distance(&a.moments(names[0])?, &b.moments(names[1])?)?);
        }
    }
    let both = a.features().zip(b.features());
    let pairs = |metric: Metric, what: &str| -> anyhow::Result<Option<(&Features, &Features)>> {
        ensure!(
            both.is_some() || !requested(metric),
            "--metrics {metric}: {what} needs the images of both sides, and a side is a file of mean and covariance"
        );
        Ok(both.filter(|_| wanted(metric)))
    };
    if let Some((x, y)) = pairs(Metric::Kernel, "the kernel distance")? {
        let n = x.len().min(y.len()) as u64;
        let found = optional(requested(Metric::Kernel), 3 * n * (n / 10).min(1000), |watch| {
            kernel_distance(gpu, x, y, watch)
        });
        report.kernel = found?;
    }
    if let Some((x, y)) = pairs(Metric::PrecisionRecall, "precision and recall")? {
        let (n, m) = (x.len() as u64, y.len() as u64);
        let amount = n * n + m * m + n * m;
        let found =
            optional(requested(Metric::PrecisionRecall), amount, |watch| precision_recall(gpu, x, y, watch));
        report.precision_recall = found?;
    }
    match a.logits() {
        Some(logits) if wanted(Metric::InceptionScore) => {
            report.inception_score = optional(requested(Metric::InceptionScore), 1, |_| {
                inception_score(logits).map_err(Into::into)
            })?;
        }
        None if requested(Metric::InceptionScore) => {
            bail!("--metrics inception-score: it needs logits; take --features inception, or a classifier")
        }
        _ => {}
    }
    Ok(())
}

/// A metric with its progress; one that was not requested and that a set is too small for is left out with a note.
fn optional<T>(
    requested: bool,
    amount: u64,
    metric: impl FnOnce(&mut dyn FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let progress = progress::share(amount);
    let found = metric(&mut |pairs| {
        progress.advance(pairs);
        Ok(())
    });
    progress.finish();
    match found {
        Err(error) if !requested && matches!(error.downcast_ref(), Some(EvalError::TooFew { .. })) => {
            note(format!("left out: {error}"));
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// The images of a side, if it has any.
fn images(side: &Side) -> Option<&Batch> {
    if let Content::Images(batch) = &side.content { Some(batch) } else { None }
}

fn pixels(batch: &Batch) -> anyhow::Result<Features> {
    Features::new(batch.values.clone(), batch.shape.with_n(1).len()).context("no pixels")
}

/// Searches the samples and the reference for copies of training images, by their pixels.
pub fn search(gpu: &Gpu, [a, b]: [&Side; 2], training: &Side, report: &mut Report) -> anyhow::Result<()> {
    let (Some(samples), Some(train)) = (images(a), images(training)) else { return Ok(()) };
    let Ok(samples) = side::like(samples.clone(), &a.name, train.shape) else {
        note(format!(
            "{} and {} have images of different sizes: no search for copies",
            a.name, training.name
        ));
        return Ok(());
    };
    let reference = images(b).and_then(|batch| side::like(batch.clone(), &b.name, train.shape).ok());
    let (train, samples) = (pixels(train)?, pixels(&samples)?);
    let reference = reference.as_ref().map(pixels).transpose()?;
    let queries = samples.len() + reference.as_ref().map_or(0, Features::len);
    let progress = progress::share(((train.len() + queries) * train.len()) as u64);
    let mut watch = |pairs: usize| {
        progress.advance(pairs);
        Ok::<(), EvalError>(())
    };
    let threshold = copy_threshold(gpu, &train, &mut watch)?;
    let ours = copies(gpu, &samples, &train, threshold, &mut watch)?;
    let theirs = reference.map(|set| copies(gpu, &set, &train, threshold, &mut watch)).transpose()?;
    progress.finish();
    report.copies = Some((ours, theirs));
    Ok(())
}

/// The rows of the picture of neighbours, and the neighbours in each.
const ROWS: usize = 10;
const EACH: usize = 8;

/// Writes a picture: each row is a sample and its nearest training images, by their pixels.
pub fn picture(gpu: &Gpu, path: &Path, a: &Side, training: &Side) -> anyhow::Result<()> {
    let (Some(samples), Some(train)) = (images(a), images(training)) else {
        bail!("--neighbors: {} or {} has no images", a.name, training.name);
    };
    let samples = side::like(samples.clone(), &a.name, train.shape)?;
    let shown = samples.part(0, ROWS.min(samples.shape.n()));
    let each = EACH.min(train.shape.n());
    let mut quiet = |_| Ok::<(), EvalError>(());
    let found = nearest(gpu, &pixels(&shown)?, &pixels(train)?, each, false, &mut quiet)?;
    let numbers = found.iter().flatten().map(|neighbour| neighbour.number);
    let values = numbers.flat_map(|number| train.part(number, 1).values).collect();
    let neighbours =
        Images::new(train.shape.with_n(shown.shape.n() * each), values, Range { centered: false });
    paths::with_folder(path)?;
    neighbours.rows_beside(shown, each).write_grid(path)
}
