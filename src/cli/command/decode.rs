//! `tweedie decode`.

use crate::choice::Choice;
use crate::cli::Common;
use crate::cli::arguments::one_of;
use crate::cli::io::images::Images;
use crate::cli::io::model::MODEL;
use crate::cli::io::paths;
use crate::cli::io::paths::ends_in;
use crate::cli::io::pictures;
use crate::cli::io::tensors::{self, Tensors};
use crate::cli::report::{count, print};
use crate::cli::sampling::flags::Decoding;
use crate::cli::sampling::flow::{self, Flow, Followed};
use crate::config::Method;
use anyhow::ensure;
use clap::builder::TypedValueParser;
use std::path::PathBuf;

/// Take latent codes back to images by the probability flow.
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
    /// Where to write: F.png (a grid), F.npz, F.safetensors (`x` [n, c, h, w] in the model's range, and `nfev`) or a folder;
    /// may be repeated
    #[arg(long, value_name = "F", required = true)]
    out: Vec<PathBuf>,
    /// The sampler, one that adds no noise
    #[arg(long, value_parser = deterministic(), default_value_t = Method::Ode)]
    sampler: Method,
    /// End with a step that removes noise
    #[arg(long)]
    denoise: bool,
    /// Multiply the latents by this: less than 1 gives likelier images that differ less
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
        paths::check(out, &["png", "npz", "safetensors"])?;
    }
    paths::apart(&[&args.model, &args.input], &args.out)?;
    let flow = Flow::open(common, &args.model, args.sampler, &args.flow)?;
    let mut latents = pictures::tensor(&Tensors::read(&args.input)?, "z", &args.input, &flow.config.data)?;
    latents.values.iter_mut().for_each(|v| *v *= args.temperature);
    let followed = flow.decode(&latents, args.denoise)?;
    let written = write(&args.out, &followed, &flow, None)?;
    report(common, &followed, written)
}

/// Parses a sampler that adds no noise.
fn deterministic() -> impl TypedValueParser<Value = Method> {
    let methods = Method::ALL.iter().filter(|method| method.capabilities().deterministic);
    one_of(methods.map(|method| (method.name(), method.help())))
        .try_map(|name| Method::named(&name).ok_or("it is not one of the names"))
}

/// Writes samples wherever they are asked for; a picture has so many columns, or is about a square.
pub fn write(
    paths: &[PathBuf],
    Followed { batch, evaluations }: &Followed,
    flow: &Flow,
    columns: Option<usize>,
) -> anyhow::Result<Vec<String>> {
    let images = Images::new(batch.shape, batch.values.clone(), flow.config.data.range());
    let images = images.in_columns(columns);
    for path in paths {
        match ends_in(path, "safetensors") {
            true => {
                let nfev = ("nfev", vec![1], vec![*evaluations as f32]);
                tensors::write(path, &[tensors::images("x", batch), nfev])?;
            }
            false => images.write(path, 0)?,
        }
    }
    Ok(paths.iter().map(|path| path.display().to_string()).collect())
}

/// Says what has been written.
pub fn report(common: &Common, followed: &Followed, written: Vec<String>) -> anyhow::Result<()> {
    let (n, evaluations) = (followed.batch.shape.n(), followed.evaluations);
    if common.json {
        return print(serde_json::json!({ "n": n, "nfev": evaluations, "written": written }));
    }
    let samples = count(n, "sample");
    print(format!("{samples}, {evaluations:.1} score evaluations each: {}", written.join(", ")))
}
