//! `tweedie likelihood`.

use super::flow::{self, Flow};
use super::{Common, MODEL, count, data, print};
use crate::data::{Dataset, dequantised};
use crate::kernels::hutchinson::Probe;
use crate::random::{Key, Purpose};
use crate::sample::Draw;
use crate::sample::likelihood::{Bits, LogLikelihood, Probing, bits, log_likelihood};
use crate::tensor::{Shape, Tensor};
use anyhow::ensure;
use std::path::PathBuf;

/// Say how likely a model finds data, in bits per dimension.
///
/// The probability flow takes dequantised images to their latents; log p changes on the way by the integral of its divergence,
/// which random probes estimate, or as many tangents as there are dimensions give exactly.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie likelihood runs/digits --data digits\n  \
    tweedie likelihood runs/digits --data digits -n 32 --exact\n  \
    tweedie likelihood runs/digits --data digits --probes 4 --draws 5")]
pub(super) struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The data: `digits`, `digits_color` (test images of both), or an IDX file [default: the model's test data]
    #[arg(long, value_name = "digits|digits_color|FILE")]
    data: Option<String>,
    /// Only the first so many images
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// Probes for each image
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "exact")]
    probes: usize,
    /// The probes' distribution
    #[arg(long, value_enum, default_value_t = Probe::Rademacher, conflicts_with = "exact")]
    probe: Probe,
    /// Take the exact trace: a tangent for every dimension
    #[arg(long)]
    exact: bool,
    /// Draws of dequantisation noise for each image
    #[arg(long, value_name = "M", default_value_t = 1)]
    draws: u32,
    /// The seed of the probes and of the dequantisation [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    flow: flow::Args,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    ensure!(args.n != Some(0), "-n 0: ask for at least one image");
    ensure!(args.probes > 0, "--probes 0: the estimator needs at least one");
    ensure!(args.draws > 0, "--draws 0: the data have to be dequantised at least once");
    let flow = Flow::open(common, &args.model, &args.flow)?;
    let set = data::of_model(args.data.as_deref(), &flow.config)?;
    let n = args.n.unwrap_or(set.len()).min(set.len());
    let (mut draws, mut evaluations) = (Vec::new(), Vec::new());
    for draw in 0..args.draws {
        let mut samples = Vec::new();
        for first in (0..n).step_by(flow.batch) {
            let count = flow.batch.min(n - first);
            let (logs, calls) = one(&flow, &set, (first, count), draw, args)?;
            samples.extend(logs);
            evaluations.extend(calls);
        }
        draws.push(samples);
    }
    let dimensions = set.image_len();
    let Bits { mean, error, of_probes, of_draws } = bits(&draws, dimensions, flow.config.data.centered);
    let nfev = evaluations.iter().sum::<usize>() as f64 / evaluations.len() as f64;
    if common.json {
        return print(serde_json::json!({
            "bits_per_dim": mean, "standard_error": error, "standard_error_of_probes": of_probes,
            "standard_error_of_draws": of_draws, "nfev": nfev, "n": n, "dimensions": dimensions,
        }));
    }
    let error = error.map_or(String::new(), |e| format!(" ± {e:.4}"));
    let parts = [(of_probes, "the probes"), (of_draws, "dequantisation")];
    let parts =
        parts.map(|(part, whose)| part.map_or(String::new(), |e| format!(", ± {e:.4} of it by {whose}")));
    let (parts, images) = (parts.concat(), count(n, "image"));
    print(format!("{mean:.4}{error} bits/dim{parts}, {images}, {nfev:.1} evaluations each"))
}

/// log p of `count` images from number `first` on, dequantised for the draw of this number, and the evaluations.
fn one(
    flow: &Flow,
    set: &Dataset,
    (first, count): (usize, usize),
    draw: u32,
    args: &Args,
) -> anyhow::Result<(Vec<LogLikelihood>, Vec<usize>)> {
    let seed = args.seed.unwrap_or(flow.config.seed);
    let key = Key::new(seed, Purpose::Dequantisation).at(draw);
    let values: Vec<f32> =
        (first..first + count).flat_map(|i| dequantised(set, i, key, flow.config.data.centered)).collect();
    let x = Tensor::from_slice(&flow.gpu, Shape::new(count, set.size, set.size, set.channels), &values)?;
    let probing = || match args.exact {
        true => Probing::Exact,
        false => Probing::Drawn {
            count: args.probes,
            kind: args.probe,
            draw: Draw { seed, first: first as u32 },
            first: draw * args.probes as u32,
        },
    };
    let likelihood =
        flow.with(|score| Ok(log_likelihood(score, &x, probing(), &flow.ode, &mut flow.watch())?))?;
    Ok((likelihood.samples, likelihood.evaluations))
}
