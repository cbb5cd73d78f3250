//! `tweedie inpaint`.

use crate::cli::io::{Batch, mask_file, read_mask};
use crate::cli::sampling::{ConditionalArgs, Drawn, constrained};
use crate::cli::{Common, MODEL, count};
use crate::sample::Impute;
use crate::tensor::Tensor;
use bytemuck::cast_slice;
use std::path::PathBuf;

/// Complete partly observed images.
///
/// Observed pixels are kept exactly; the rest is drawn given them, by a sampler that imposes the observed pixels on the state
/// at every step, perturbed to the state's noise level: predictor–corrector (Song 2021, appendix I.2), or annealed Langevin dynamics with
/// --sampler ald (Song and Ermon 2019, algorithm 3).
#[derive(clap::Args)]
#[command(
    mut_args(constrained),
    after_help = "Examples:\n  \
    tweedie inpaint runs/digits --in data:digits:3 --mask left -n 20 --show-input --out completions.png\n  \
    tweedie inpaint runs/digits --in digit.png --mask mask.png --out completed/"
)]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The observed part: a side, or a PNG that is white there and black elsewhere
    #[arg(long, value_name = "F.png|left|right|top|bottom|center|border")]
    mask: String,
    #[command(flatten)]
    given: ConditionalArgs,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let mut read = vec![args.model.as_path()];
    read.extend(mask_file(&args.mask));
    args.given.check(&read)?;
    let model = args.given.sampling.open(common, &args.model, true)?;
    let observed = args.given.observed(&model)?;
    let mask = read_mask(&args.mask, model.shape(1))?;
    let on_device = Tensor::from_slice(&model.gpu, model.shape(1), &mask)?;
    let sampler = model.constrained()?;
    let given = [cast_slice(&observed.batch.values), cast_slice(&mask)];
    let drawn = Drawn { n: observed.samples(), steps: sampler.steps(), given: &given };
    let mut samples = model.draw(&drawn, &|score, part, watch| {
        let known = observed.upload(&model.gpu, part.first, part.n, model.config.data.range())?;
        let constraint = Impute::pixels(known, on_device.clone());
        Ok(sampler.run_under(Some(&constraint), score, part.x, part.draw, watch)?)
    })?;
    // The model's range may round the observed pixels: they are copied from the images.
    samples.images.keep(|sample| observed.of(sample), &mask);
    samples.images = args.given.rows(samples.images, &observed, || known(&observed.batch, &mask));
    let what = count(samples.n, "completion");
    model.finish(common, samples, &what, serde_json::Value::Null)
}

/// Images whose unknown pixels are grey.
fn known(Batch { shape, values }: &Batch, mask: &[f32]) -> Batch {
    let masked = values.iter().zip(mask.iter().cycle());
    Batch { shape: *shape, values: masked.map(|(v, mask)| if *mask == 1.0 { *v } else { 0.5 }).collect() }
}
