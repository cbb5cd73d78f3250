//! `tweedie interpolate`.

use crate::cli::Common;
use crate::cli::arguments::MANY;
use crate::cli::command::decode;
use crate::cli::io::batch::Batch;
use crate::cli::io::data::{self, DATA};
use crate::cli::io::images::Images;
use crate::cli::io::model::MODEL;
use crate::cli::io::paths;
use crate::cli::io::pictures;
use crate::cli::sampling::flags::Tolerances;
use crate::cli::sampling::flow::{self, Flow};
use crate::cli::sampling::options::shape;
use crate::config::Method;
use crate::gpu::Bytes;
use crate::sample::{self, Draw};
use anyhow::ensure;
use std::path::{Path, PathBuf};

/// Go from one image to another through the latent space, on a great circle.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie interpolate runs/digits --data digits --indices 0 1 --out between.png\n  \
    tweedie interpolate runs/digits --in a.png --in b.png --steps 12 --out between.png\n  \
    tweedie interpolate runs/digits --seeds 1 2 --out between.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    #[command(flatten)]
    ends: Ends,
    /// The data that --indices are numbers of: `digits`, `digits_color`, or an IDX file [default: the model's test data]
    #[arg(long, value_name = DATA, requires = "indices")]
    data: Option<String>,
    /// Images in all, the two ends included
    #[arg(long, value_name = "N", default_value_t = 9)]
    steps: usize,
    /// Where to write: F.png (a strip), F.npz, F.safetensors or a folder; may be repeated
    #[arg(long, value_name = "F", required = true)]
    out: Vec<PathBuf>,
    /// End with a step that removes noise
    #[arg(long)]
    denoise: bool,
    #[command(flatten)]
    flow: flow::Args<Tolerances>,
}

/// What is at the ends.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Ends {
    /// The image at an end, as `tweedie encode` takes it; given twice
    #[arg(long = "in", value_name = "F")]
    input: Vec<PathBuf>,
    /// The numbers of two images of the data
    #[arg(long, value_names = ["I", "J"], num_args = 2)]
    indices: Vec<usize>,
    /// The seeds of two samples
    #[arg(long, value_names = ["S", "T"], num_args = 2)]
    seeds: Vec<u64>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    ensure!(args.steps >= 2, "--steps {}: there are two ends at least", args.steps);
    ensure!(args.steps <= MANY, "--steps {}: at most {MANY} images", args.steps);
    // The parser drops what --data requires where another of its group is given.
    ensure!(args.data.is_none() || !args.ends.indices.is_empty(), "--data goes with --indices; leave it out");
    let pictures = args.ends.input.len();
    ensure!(pictures == 0 || pictures == 2, "--in: name two images, not {pictures}");
    for out in &args.out {
        paths::check(out, &["png", "npz", "safetensors"])?;
    }
    let read: Vec<&Path> = args.ends.input.iter().chain([&args.model]).map(PathBuf::as_path).collect();
    paths::apart(&read, &args.out)?;
    let flow = Flow::open(common, &args.model, Method::Ode, &args.flow)?;
    let taken = Images::bytes(args.steps as u32, shape(&flow.config, 1));
    ensure!(
        crate::memory::fits(taken),
        "--steps {}: so many images take {}, more than this machine has memory for",
        args.steps,
        Bytes(taken)
    );
    let latents = latents(&flow, args)?;
    let between = Batch {
        shape: latents.shape.with_n(args.steps),
        values: great_circle(&latents.part(0, 1).values, &latents.part(1, 1).values, args.steps),
    };
    let followed = flow.decode(&between, args.denoise)?;
    let written = decode::write(&args.out, &followed, &flow, Some(args.steps))?;
    decode::report(common, &followed, written)
}

/// The latents of both ends.
fn latents(flow: &Flow, args: &Args) -> anyhow::Result<Batch> {
    let data = &flow.config.data;
    let two = shape(&flow.config, 2);
    let mut ends = Batch { shape: two, values: Vec::new() };
    for seed in &args.ends.seeds {
        let prior = sample::prior(&flow.scorer, two.with_n(1), Draw::new(*seed))?;
        ends.values.extend(prior.read()?);
    }
    if !args.ends.seeds.is_empty() {
        return Ok(ends);
    }
    for path in &args.ends.input {
        let Batch { shape, values } = pictures::images(path, data)?;
        ensure!(shape.n() == 1, "--in {}: it holds {} images, an end is one", path.display(), shape.n());
        ends.values.extend(values);
    }
    if !args.ends.indices.is_empty() {
        let set = data::of_model(args.data.as_deref(), &flow.config)?;
        ends = pictures::members(&set, &args.ends.indices, data)?;
    }
    Ok(flow.encode(&ends)?.batch)
}

/// Points between two vectors, both included, on the arc that leads from one's direction to the other's: of Gaussian vectors
/// every one is as long as they are.
fn great_circle(a: &[f32], b: &[f32], steps: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    let point = |step: usize| {
        let share = step as f64 / (steps - 1) as f64;
        // Where the directions are the same or opposite there is no such arc, but a line.
        let (of_a, of_b) = match angle.sin() > 1e-6 {
            true => (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()),
            false => (1.0 - share, share),
        };
        a.iter().zip(b).map(move |(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32)
    };
    (0..steps).flat_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_great_circle_are_equally_long_and_equally_far_apart() {
        let points = great_circle(&[2.0, 0.0, 0.0], &[0.0, 2.0, 0.0], 4);
        let points: Vec<&[f32]> = points.chunks(3).collect();
        assert_eq!(points[0], [2.0, 0.0, 0.0]);
        for pair in points.windows(2) {
            let cosine = pair[0].iter().zip(pair[1]).map(|(a, b)| a * b).sum::<f32>() / 4.0;
            assert!((cosine.acos() - std::f32::consts::FRAC_PI_6).abs() < 1e-3);
        }
        assert_eq!(great_circle(&[1.0, 1.0], &[2.0, 2.0], 3), [1.0, 1.0, 1.5, 1.5, 2.0, 2.0]);
    }
}
