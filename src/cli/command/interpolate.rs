//! `tweedie interpolate`.

use crate::cli::arguments::choice;
use crate::cli::io::{Batch, DATA, Images, data, pictures};
use crate::cli::sampling::{Flow, Tolerances, flow, shape};
use crate::cli::{Common, MANY, MODEL, paths};
use crate::config::{Fit, Method};
use crate::sample::{self, Draw, great_circle};
use anyhow::ensure;
use bytemuck::cast_slice;
use std::path::{Path, PathBuf};

/// Interpolate between two images in latent space, on a great circle.
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
    /// Scale pictures of another size to the model's
    #[arg(long, value_parser = choice::<Fit>(), requires = "input")]
    fit: Option<Fit>,
    /// The data of --indices: `digits`, `digits_color`, or a file or folder of images [default: the model's test data]
    #[arg(long, value_name = DATA, requires = "indices")]
    data: Option<String>,
    /// The number of images, including the two ends
    #[arg(long, value_name = "N", default_value_t = 9)]
    steps: usize,
    /// Output: F.png (a strip), F.npz, F.safetensors or a folder; may be repeated
    #[arg(long, value_name = "F", required = true)]
    out: Vec<PathBuf>,
    /// End with a step that removes the residual noise
    #[arg(long)]
    denoise: bool,
    #[command(flatten)]
    flow: flow::Args<Tolerances>,
}

/// The ends.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Ends {
    /// The image at an end, in the formats of `tweedie encode`; given twice
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
    ensure!(args.steps >= 2, "--steps {}: it must be at least 2", args.steps);
    ensure!(args.steps <= MANY, "--steps {}: it must be at most {MANY}", args.steps);
    // The parser drops the requirement of --data where another option of the group is given.
    ensure!(args.data.is_none() || !args.ends.indices.is_empty(), "--data needs --indices; leave it out");
    let pictures = args.ends.input.len();
    ensure!(pictures == 0 || pictures == 2, "--in: there must be two images, not {pictures}");
    for out in &args.out {
        paths::check(out, &["png", "npz", "csv", "safetensors"])?;
    }
    let read: Vec<&Path> = args.ends.input.iter().chain([&args.model]).map(PathBuf::as_path).collect();
    paths::apart(&read, &args.out)?;
    let flow = Flow::open(common, &args.model, Method::Ode, &args.flow)?;
    Images::check_outputs(&args.out, &flow.config.data)?;
    Images::check_memory("--steps", args.steps as u32, shape(&flow.config, 1))?;
    let ends = ends(&flow, args)?;
    let out = args.out.first().map(PathBuf::as_path);
    let images = args.ends.seeds.is_empty();
    let sizes = [if images { 2 } else { 0 }, args.steps];
    let mut unfinished = flow.unfinished(out, &sizes, cast_slice(&ends.values))?;
    let latents = if images { flow.encode(&ends, &mut unfinished)?.batch } else { ends };
    let between = Batch {
        shape: latents.shape.with_n(args.steps),
        values: great_circle(&latents.part(0, 1).values, &latents.part(1, 1).values, args.steps),
    };
    let followed = flow.decode(&between, args.denoise, &mut unfinished)?;
    followed.write(&args.out, flow.config.data.range(), Some(args.steps))?;
    unfinished.finish();
    followed.report(common, "sample", &args.out)
}

/// Both ends: images, or the latents of seeds.
fn ends(flow: &Flow, args: &Args) -> anyhow::Result<Batch> {
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
        let Batch { shape, values } = pictures::images(path, data, args.fit)?;
        ensure!(shape.n() == 1, "--in {}: it holds {} images, and an end is one", path.display(), shape.n());
        ends.values.extend(values);
    }
    if !args.ends.indices.is_empty() {
        let set = data::of_model(args.data.as_deref(), &flow.config)?;
        ends = pictures::members(&set, &args.ends.indices, data.range())?;
    }
    Ok(ends)
}
