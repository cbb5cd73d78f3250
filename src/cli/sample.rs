//! `tweedie sample`.

use super::Common;
use super::drawing::Drawing;
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
    tweedie sample runs/digits -n 4 --trajectory reverse.png --show both --out samples.png")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, or a checkpoint
    model: PathBuf,
    /// How many samples
    #[arg(short, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    n: u32,
    #[command(flatten)]
    drawing: Drawing,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    args.drawing.check(args.n)?;
    let gpu = common.open()?;
    let model = args.drawing.open(&args.model, &gpu)?;
    let sampler = model.sampler()?;
    let drawn = args.drawing.draw(&model, args.n, sampler.steps(), &mut |batch, x, watch| {
        Ok(sampler.run(&model.scorer, x, batch.draw, watch)?)
    })?;
    args.drawing.write(common.json, &drawn, "samples", serde_json::Value::Null)
}
