//! `tweedie sample`.

use crate::cli::sampling::{Drawn, SamplingArgs};
use crate::cli::{Common, MODEL, count};
use std::path::PathBuf;

/// Draw samples from a model.
///
/// Samples are numbered: sample 7 of a seed is the same picture whether it is drawn alone or among a thousand.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie sample runs/digits -n 64 --out samples.png\n  \
    tweedie sample runs/digits -n 400 --out samples.npz --out samples.png --seed 1\n  \
    tweedie sample runs/digits -n 8 --first 8 --steps 200 --animate reverse.gif --out pictures/\n  \
    tweedie sample runs/digits -n 64 --sampler dpmpp_3m --steps 12 --out samples.png\n  \
    tweedie sample runs/digits -n 10 --class all --classifier runs/classifier --out classes.png\n  \
    tweedie sample runs/digits -n 4 --trajectory reverse.png --show both --out samples.png\n\
    tweedie sample runs/swissroll --out points.npz --out points.png --animate reverse.gif\n\
    A model trained with classes (model.num_classes = 10) needs no classifier:\n  \
    tweedie train digits_ve --set model.num_classes=10 --out runs/conditional\n  \
    tweedie sample runs/conditional -n 10 --class all --out classes.png\n  \
    tweedie sample runs/conditional -n 10 --class 3,7 --guidance 2 --out typical.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The number of samples, of each class if several are requested [default: 64; of points 5000]
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// The number of samples by default, of images and of points.
const IMAGES: u32 = 64;
const POINTS: u32 = 5000;

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    args.sampling.check(&[&args.model])?;
    let model = args.sampling.open(common, &args.model, false)?;
    let sampler = model.sampler()?;
    let usual = if model.config.data.is_points() { POINTS } else { IMAGES };
    let drawn = Drawn { n: args.n.unwrap_or(usual), steps: sampler.steps(), given: &[] };
    let samples =
        model.draw(&drawn, &|score, part, watch| Ok(sampler.run(score, part.x, part.draw, watch)?))?;
    let what = count(samples.n, "sample");
    model.finish(common, samples, &what, serde_json::Value::Null)
}
