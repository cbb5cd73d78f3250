//! `tweedie sample`.

use crate::cli::sampling::classes::ClassArgs;
use crate::cli::sampling::options::{Drawing, Drawn};
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
    A model that was trained with classes (model.num_classes = 10) is told them, and needs no classifier:\n  \
    tweedie train configs/digits_ve.toml --set model.num_classes=10 --out runs/told\n  \
    tweedie sample runs/told -n 10 --class all --out classes.png\n  \
    tweedie sample runs/told -n 10 --class 3,7 --guidance 2 --out typical.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// How many samples, of each class if several are asked for
    #[arg(short, value_name = "N", default_value_t = 64)]
    n: u32,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    drawing: Drawing,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    args.drawing.check(args.n, &[&args.model])?;
    let gpu = common.open()?;
    let model = args.drawing.open(&args.model, &gpu)?;
    let asked = args.classes.open(&gpu, &args.model, &model.config)?;
    let sampler = model.sampler(&args.drawing)?;
    let drawn = asked.each(&model.scorer, |score| {
        args.drawing.draw(&model, score, args.n, sampler.steps(), &mut |batch, x, watch| {
            Ok(sampler.run(score, x, batch.draw, watch)?)
        })
    })?;
    let drawn = Drawn::join(drawn);
    args.drawing.save(&drawn)?;
    args.drawing.report(common.json, &drawn, &count(drawn.n, "sample"), asked.report())
}
