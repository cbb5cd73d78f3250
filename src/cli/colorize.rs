//! `tweedie colorize`.

use super::Common;
use super::drawing::Drawing;
use super::image_input::Input;
use crate::sample::{Impute, Sampler};
use anyhow::ensure;
use std::path::PathBuf;

/// Colour grey images.
///
/// Colours are drawn given the grey of every pixel, the mean of its three channels, which is kept: in an orthonormal basis
/// of the colours whose first vector is grey, the grey is known and the rest is not (Song 2021, appendix I.3).
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    tweedie colorize runs/cifar --in grey.png -n 16 --out coloured.png")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, or a checkpoint; a model of colour images
    model: PathBuf,
    /// The grey images: F.png, F.npz or F.safetensors
    #[arg(long = "in", value_name = "IMAGE")]
    input: String,
    /// How many colourings of one image; of several, one each is drawn
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
    let channels = model.config.data.num_channels;
    ensure!(
        channels == 3,
        "{} makes images of {channels} channel(s); colours need a model of 3",
        args.model.display()
    );
    let sampler = model.predictor_corrector(drawing.sampler)?;
    let input = Input::read_like(&args.input, &model.config, 1)?.into_colour();
    let n = input.samples(args.n)?;
    let drawn = drawing.draw(&model, n, sampler.steps(), &mut |batch, x, watch| {
        let images = input.upload(&gpu, batch.first, batch.n, model.config.data.centered)?;
        let constraint = Impute::grey(&images)?;
        Ok(sampler.run_under(Some(&constraint), &model.scorer, x, batch.draw, watch)?)
    })?;
    drawing.write(common.json, &drawn, "colourings", serde_json::Value::Null)
}
