//! `tweedie inpaint`.

use super::Common;
use super::drawing::{Drawing, shape};
use super::image_input::{Input, read_mask};
use crate::sample::{Impute, Sampler};
use crate::tensor::Tensor;
use std::path::PathBuf;

/// Complete images of which a part is known.
///
/// What is known stays as it is, exactly; the rest is drawn given it, by a predictor–corrector sampler into which the
/// known pixels are put at every step, as noisy as the state (Song 2021, appendix I.2).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie inpaint runs/digits --in data:digits:3 --mask left -n 20 --out completions.png\n  \
    tweedie inpaint runs/digits --in digit.png --mask mask.png --out completed/")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, or a checkpoint
    model: PathBuf,
    /// The images: F.png, F.npz, F.safetensors, or data:digits:I for test digit I
    #[arg(long = "in", value_name = "IMAGE")]
    input: String,
    /// What is known: a side, or a PNG that is white there and black elsewhere
    #[arg(long, value_name = "F.png|left|right|top|bottom|center|border")]
    mask: String,
    /// How many completions of one image; of several, one each is drawn
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    #[command(flatten)]
    drawing: Drawing,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let drawing = &args.drawing;
    drawing.check(args.n.unwrap_or(1))?;
    let gpu = common.open()?;
    let model = drawing.open(&args.model, &gpu)?;
    let data = &model.config.data;
    let sampler = model.predictor_corrector(drawing.sampler)?;
    let input = Input::read_like(&args.input, &model.config, data.num_channels)?;
    let n = input.samples(args.n)?;
    let one = shape(&model.config, 1);
    let mask = read_mask(&args.mask, one)?;
    let on_device = Tensor::from_slice(&gpu, one, &mask)?;
    let mut drawn = drawing.draw(&model, n, sampler.steps(), &mut |batch, x, watch| {
        let known = input.upload(&gpu, batch.first, batch.n, data.centered)?;
        let constraint = Impute::pixels(known, on_device.clone());
        Ok(sampler.run_under(Some(&constraint), &model.scorer, x, batch.draw, watch)?)
    })?;
    // The model's range may round what is known; the images say what it is.
    drawn.images.keep(&input.values, &mask);
    drawing.write(common.json, &drawn, "completions", serde_json::Value::Null)
}
