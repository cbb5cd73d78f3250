//! `tweedie colorize`.

use crate::cli::io::Batch;
use crate::cli::sampling::{ConditionalArgs, Drawn, constrained};
use crate::cli::{Common, MODEL, count};
use crate::sample::Impute;
use anyhow::ensure;
use bytemuck::cast_slice;
use std::path::PathBuf;

/// Colour grey images, by a model of images in colour.
///
/// Colours are drawn given the grey of every pixel, the mean of its three channels, which is kept: in an orthonormal basis
/// of the colours whose first vector is grey, the grey is known and the rest is not (Song 2021, appendix I.3).
#[derive(clap::Args)]
#[command(mut_arg("input", |arg| arg.help(
    "The grey images: F.png, a folder of them, F.npz, F.safetensors, or data:digits_color:I, or I-J for several; of colour \
     images, their grey is used")))]
#[command(
    mut_args(constrained),
    after_help = "Examples:\n  \
    tweedie colorize runs/color --in data:digits_color:0-5 -n 9 --show-input --out coloured.png\n  \
    tweedie colorize runs/cifar --in grey.png -n 16 --out coloured.png"
)]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    #[command(flatten)]
    given: ConditionalArgs,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    args.given.check(&[&args.model])?;
    let model = args.given.sampling.open(common, &args.model, true)?;
    let channels = model.config.data.num_channels;
    ensure!(
        channels == 3,
        "{} makes images of {}; colorize needs a model of 3",
        args.model.display(),
        count(channels, "channel")
    );
    let sampler = model.constrained()?;
    let observed = args.given.observed(&model)?;
    let given = [cast_slice(&observed.batch.values)];
    let drawn = Drawn { n: observed.samples(), steps: sampler.steps(), given: &given };
    let mut samples = model.draw(&drawn, &|score, part, watch| {
        let images = observed.upload(&model.gpu, part.first, part.n, model.config.data.range())?;
        let constraint = Impute::grey(&images)?;
        Ok(sampler.run_under(Some(&constraint), score, part.x, part.draw, watch)?)
    })?;
    // Clipping colours to [0, 1] has changed their grey.
    samples.images.keep_grey(|sample| observed.of(sample));
    samples.images = args.given.rows(samples.images, &observed, || grey(&observed.batch));
    let what = count(samples.n, "colouring");
    model.finish(common, samples, &what, serde_json::Value::Null)
}

/// The mean of each pixel's channels, in all of them.
fn grey(Batch { shape, values }: &Batch) -> Batch {
    let c = shape.c();
    let mean = |pixel: &[f32]| vec![pixel.iter().sum::<f32>() / c as f32; c];
    Batch { shape: *shape, values: values.chunks(c).flat_map(mean).collect() }
}
