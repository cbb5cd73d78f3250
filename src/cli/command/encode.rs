//! `tweedie encode`.

use crate::cli::arguments::choice;
use crate::cli::io::{pictures, tensors};
use crate::cli::sampling::{Flow, Tolerances, flow};
use crate::cli::{Common, MODEL, paths};
use crate::config::{Fit, Method};
use bytemuck::cast_slice;
use std::path::PathBuf;

/// Encode images into latent codes by the probability flow.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie encode runs/digits --in pictures/ --out z.safetensors\n  \
    tweedie decode runs/digits --in z.safetensors --out again.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The images: F.png, a folder of them, F.npz with `samples` [n, h, w, c] in [0, 1], F.safetensors with `x` [n, c, h, w]
    /// in the model's range, or data:digits:I, I-J for several
    #[arg(long = "in", value_name = "F")]
    input: PathBuf,
    /// Scale pictures of another size to the model's
    #[arg(long, value_parser = choice::<Fit>())]
    fit: Option<Fit>,
    /// Output: the latents `z` [n, c, h, w], and the mean number `nfev` of score evaluations per latent
    #[arg(long, value_name = "Z.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    flow: flow::Args<Tolerances>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    paths::check_tensors(&args.out)?;
    paths::apart(&[&args.model, &args.input], [&args.out])?;
    let flow = Flow::open(common, &args.model, Method::Ode, &args.flow)?;
    let data = pictures::images(&args.input, &flow.config.data, args.fit)?;
    let mut unfinished = flow.unfinished(Some(&args.out), &[data.shape.n()], cast_slice(&data.values))?;
    let followed = flow.encode(&data, &mut unfinished)?;
    tensors::write(&args.out, &[tensors::images("z", &followed.batch), followed.nfev()])?;
    unfinished.finish();
    followed.report(common, "latent", std::slice::from_ref(&args.out))
}
