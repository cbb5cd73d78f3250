//! `tweedie encode`.

use crate::cli::Common;
use crate::cli::io::model::MODEL;
use crate::cli::io::paths;
use crate::cli::io::pictures;
use crate::cli::io::tensors;
use crate::cli::report::{count, print};
use crate::cli::sampling::flags::Tolerances;
use crate::cli::sampling::flow::{self, Flow, Followed};
use crate::config::Method;
use std::path::PathBuf;

/// Take images to their latent codes by the probability flow.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    tweedie encode runs/digits --in pictures/ --out z.safetensors\n  \
    tweedie decode runs/digits --in z.safetensors --out again.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The images: F.png, a folder of them, F.npz with `samples` [n, h, w, c] in [0, 1], F.safetensors with `x` [n, c, h, w]
    /// in the model's range, or data:digits:I, I-J for several
    #[arg(long = "in", value_name = "F")]
    input: PathBuf,
    /// Where to write the latents `z` [n, c, h, w] and the score evaluations `nfev` for one of them, in the mean
    #[arg(long, value_name = "Z.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    flow: flow::Args<Tolerances>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    paths::check_tensors(&args.out)?;
    paths::apart(&[&args.model, &args.input], [&args.out])?;
    let flow = Flow::open(common, &args.model, Method::Ode, &args.flow)?;
    let data = pictures::images(&args.input, &flow.config.data)?;
    let Followed { batch, evaluations } = flow.encode(&data)?;
    let nfev = ("nfev", vec![1], vec![evaluations as f32]);
    tensors::write(&args.out, &[tensors::images("z", &batch), nfev])?;
    let (n, out) = (batch.shape.n(), args.out.display().to_string());
    if common.json {
        return print(serde_json::json!({ "n": n, "nfev": evaluations, "written": [out] }));
    }
    print(format!("{}, {evaluations:.1} score evaluations each: {out}", count(n, "latent")))
}
