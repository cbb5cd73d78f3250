//! The two sides of a comparison: samples, data, the samples of a model, or statistics.

use super::Args;
use crate::choice::Choice;
use crate::cli::io::statistics::{self, Statistics};
use crate::cli::io::{Batch, data, pictures, pictures::Pictures};
use crate::cli::sampling::{Drawn, SamplingArgs};
use crate::cli::unfinished::Unfinished;
use crate::cli::{Common, count, ends_in, note};
use crate::config::{BuiltIn, Config};
use crate::data::{Dataset, Kind, Split, picture::is_picture};
use crate::eval::{Features, Moments};
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use std::io::Read;
use std::path::Path;

/// One side.
pub struct Side {
    /// Its name in messages.
    pub name: String,
    /// One of its members: "sample", "test image".
    pub what: &'static str,
    pub content: Content,
    /// The finished batches of a model's samples, kept until the end.
    pub unfinished: Option<Unfinished>,
}

/// The content of a side.
pub enum Content {
    /// Images in [0, 1].
    Images(Batch),
    /// Features, and logits if the file has them.
    Features(Features, Option<Features>),
    /// Mean and covariance.
    Moments(Moments),
}

impl Side {
    fn new(name: &str, what: &'static str, content: Content) -> Side {
        Side { name: name.into(), what, content, unfinished: None }
    }

    /// The number of its members, if it is known.
    pub fn len(&self) -> Option<usize> {
        match &self.content {
            Content::Images(batch) => Some(batch.shape.n()),
            Content::Features(features, _) => Some(features.len()),
            Content::Moments(_) => None,
        }
    }
}

/// A specification, and the split of a data set after it: `PATH:train`.
fn split_of(spec: &str) -> (&str, Option<Split>) {
    let ends = [(":train", Split::Train), (":test", Split::Test)];
    let found = ends.iter().find_map(|(end, split)| Some((spec.strip_suffix(end)?, *split)));
    found.map_or((spec, None), |(name, split)| (name, Some(split)))
}

/// A name for one image of a split.
fn noun(split: Split) -> &'static str {
    if split == Split::Test { "test image" } else { "training image" }
}

/// Everything but models: a data set by name or path, statistics, samples in a file or a folder. `samples` says that pictures
/// without a split are samples, not data.
pub fn read(spec: &str, samples: bool) -> anyhow::Result<Side> {
    let (name, split) = split_of(spec);
    let (path, wanted) = (Path::new(name), split.unwrap_or(Split::Test));
    let built_in = BuiltIn::named(name).is_some();
    if built_in || has_splits(path)? {
        return Ok(of_dataset(name, noun(wanted), &data::named(name, wanted)?));
    }
    ensure!(split.is_none(), "{spec}: {name} has no training and test images of its own; leave the end out");
    ensure!(path.exists() || name.starts_with("data:"), "{name} does not exist");
    if ends_in(path, "npz")
        && let Some(statistics) = statistics::read(path)?
    {
        let content = match statistics {
            Statistics::Moments(moments) => Content::Moments(moments),
            Statistics::Features(features, logits) => Content::Features(features, logits),
        };
        return Ok(Side::new(name, "image", content));
    }
    let what = if samples { "sample" } else { "test image" };
    if is_collection(path)? {
        return Ok(of_dataset(name, what, &data::named(name, wanted)?));
    }
    let batch = Pictures::read(name)?.batch;
    ensure!(batch.values.iter().all(|v| (0.0..=1.0).contains(v)), "{name}: some values are not in [0, 1]");
    Ok(Side::new(name, what, Content::Images(batch)))
}

/// Returns true for a path of files with training and test images.
fn has_splits(path: &Path) -> anyhow::Result<bool> {
    Ok(path.is_dir() && matches!(Kind::of(path)?, Kind::Mnist | Kind::Cifar10))
}

/// Returns true for a path that only data sets are read from: an archive of pictures, an IDX file, a folder of folders.
fn is_collection(path: &Path) -> anyhow::Result<bool> {
    if path.is_dir() {
        let mut entries =
            std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
        return Ok(!entries.any(|entry| entry.is_ok_and(|entry| is_picture(&entry.path()))));
    }
    if !path.is_file() || is_picture(path) {
        return Ok(false);
    }
    let mut start = [0; 2];
    let idx =
        crate::files::open(path)?.read_exact(&mut start).is_ok() && [[0, 0], [0x1f, 0x8b]].contains(&start);
    Ok(idx || Kind::of(path)? == Kind::Archive)
}

/// The images of a data set, one of which is called `what`.
pub fn of_dataset(name: &str, what: &'static str, set: &Dataset) -> Side {
    let values = set.pixels.iter().map(|level| (f64::from(*level) / 255.0) as f32).collect();
    let [h, w, c] = set.shape();
    Side::new(name, what, Content::Images(Batch { shape: Shape::new(set.len(), h, w, c), values }))
}

/// The images that a model was trained on, or those held out; `None` if its run names none.
pub fn own(config: &Config, split: Split) -> Option<Side> {
    let set = Dataset::load(&config.data, split).ok()?;
    Some(of_dataset(&config.data.dataset, noun(split), &set))
}

/// The reference of a model's samples by default: the images held out, else those that it was trained on.
pub fn reference_of(model: &str, config: &Config, split: Option<Split>) -> anyhow::Result<Side> {
    let held_out = own(config, split.unwrap_or(Split::Test));
    let found = held_out.or_else(|| {
        let training = own(config, Split::Train).filter(|_| split.is_none())?;
        note(format!("{model}: its run has no images held out; its training images are the reference"));
        Some(training)
    });
    match found {
        Some(found) => Ok(found),
        // The reason.
        None => match Dataset::load(&config.data, split.unwrap_or(Split::Train)) {
            Err(error) => {
                Err(anyhow::Error::from(error).context(format!("the data of {model} cannot be used")))
            }
            Ok(_) => bail!("the data of {model} cannot be used"),
        },
    }
}

/// The split of `own:SPLIT`, the data of the model itself.
pub fn own_split(spec: &str) -> Option<Option<Split>> {
    let (name, split) = split_of(spec);
    (name == "own").then_some(split)
}

/// Draws `n` samples of a model, batch after batch; finished batches are kept.
pub fn draw(common: &Common, args: &Args, model: &str, n: u32) -> anyhow::Result<Side> {
    let sampling = SamplingArgs::unwritten(args.seed, args.flags.clone(), args.evaluation.clone());
    let opened = sampling.open(common, Path::new(model), false)?;
    let sampler = opened.sampler()?;
    let drawn = Drawn { n, steps: sampler.steps(), given: &[] };
    let samples =
        opened.draw(&drawn, &|score, part, watch| Ok(sampler.run(score, part.x, part.draw, watch)?))?;
    let shape = opened.shape(n);
    let (images, unfinished) = samples.into_parts();
    let batch = Batch { shape, values: images.values().to_vec() };
    Ok(Side { unfinished, ..Side::new(model, "sample", Content::Images(batch)) })
}

/// The images of a side with the channels of another side, if they have the same size.
pub fn like(batch: Batch, name: &str, other: Shape) -> anyhow::Result<Batch> {
    let batch = pictures::converted(batch, other.c());
    let shape = batch.shape;
    ensure!(
        shape.with_n(1) == other.with_n(1),
        "the images of {name} are {}x{}x{}, the data's {}x{}x{}; choose single images (F.npz or a folder, no grid), or --data \
         like them",
        shape.w(),
        shape.h(),
        shape.c(),
        other.w(),
        other.h(),
        other.c()
    );
    Ok(batch)
}

/// Notes that a set has fewer members than its features have dimensions.
pub fn warn(side: &Side, dimensions: usize) {
    if let Some(n) = side.len().filter(|n| *n <= dimensions) {
        note(format!(
            "{}: {} for features of {dimensions} dimensions: the covariance is singular, and the Fréchet distance too large; \
             take more images, or --components",
            side.name,
            count(n, side.what)
        ));
    }
}
