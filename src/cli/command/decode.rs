//! `tweedie decode`.

use crate::cli::io::{Images, Tensors, pictures};
use crate::cli::sampling::{Decoding, Flow, flow};
use crate::cli::{Common, MODEL, choice_among, paths};
use crate::config::Method;
use anyhow::ensure;
use bytemuck::cast_slice;
use std::path::PathBuf;

/// Decode latent codes into images by the probability flow.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie decode runs/digits --in z.safetensors --out again.png\n  \
    tweedie decode runs/digits --in z.safetensors --sampler heun --steps 30 --out again.png\n  \
    tweedie decode runs/digits --in z.safetensors --temperature 0.9 --denoise --out calmer.npz")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The latents: `z` [n, c, h, w]
    #[arg(long = "in", value_name = "Z.safetensors")]
    input: PathBuf,
    /// Output: F.png (a grid), F.npz, F.safetensors (`x` [n, c, h, w] in the model's range, and `nfev`) or a folder;
    /// may be repeated
    #[arg(long, value_name = "F", required = true)]
    out: Vec<PathBuf>,
    /// The sampler, one that adds no noise
    #[arg(long, value_parser = choice_among(|method: Method| method.capabilities().deterministic), default_value_t = Method::Ode)]
    sampler: Method,
    /// End with a step that removes the residual noise
    #[arg(long)]
    denoise: bool,
    /// The factor of the latents: below 1 images are likelier and less diverse
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    #[command(flatten)]
    flow: flow::Args<Decoding>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    ensure!(
        (0.0..=1000.0).contains(&args.temperature),
        "--temperature {}: it must be a number from 0 to 1000",
        args.temperature
    );
    for out in &args.out {
        paths::check(out, &["png", "npz", "csv", "safetensors"])?;
    }
    paths::apart(&[&args.model, &args.input], &args.out)?;
    let flow = Flow::open(common, &args.model, args.sampler, &args.flow)?;
    Images::check_outputs(&args.out, &flow.config.data)?;
    let file = Tensors::read(&args.input)?;
    file.only(&["z", "nfev"]);
    let mut latents = pictures::tensor(&file, "z", &args.input, &flow.config.data)?;
    latents.values.iter_mut().for_each(|v| *v *= args.temperature);
    let out = args.out.first().map(PathBuf::as_path);
    let mut unfinished = flow.unfinished(out, &[latents.shape.n()], cast_slice(&latents.values))?;
    let followed = flow.decode(&latents, args.denoise, &mut unfinished)?;
    followed.write(&args.out, flow.config.data.range(), None)?;
    unfinished.finish();
    followed.report(common, "image", &args.out)
}
