//! `tweedie noise-scales`.

use crate::choice::Choice;
use crate::cli::io::{configuration, data};
use crate::cli::report::{count, say};
use crate::cli::{Common, ends_in, print};
use crate::config::{BuiltIn, Config, Range};
use crate::data::{Dataset, Split};
use crate::sde::{Ladder, OVERLAP, langevin_eps, langevin_variance};
use anyhow::ensure;
use std::path::Path;

/// Choose noise levels for data by the five techniques of NCSNv2 (Song and Ermon 2020), and print them as a configuration.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie noise-scales --data digits\n  \
    tweedie noise-scales --data digits_ve --steps-each 5")]
pub struct Args {
    /// The training data: `digits`, `digits_color`, a file or folder of images, or a configuration
    #[arg(long, value_name = "digits|digits_color|FILE|CONFIG", default_value = "digits")]
    data: String,
    /// The smallest noise level
    #[arg(long, value_name = "S", default_value_t = 0.01)]
    sigma_min: f64,
    /// Langevin steps at each level
    #[arg(long, value_name = "T", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    steps_each: u16,
    /// The overlap of neighbouring levels; the paper recommends about 0.5
    #[arg(long, value_name = "P", default_value_t = OVERLAP)]
    overlap: f64,
    /// The largest number of images to compare
    #[arg(long, value_name = "N", default_value_t = 4096)]
    images: usize,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    ensure!(args.sigma_min >= 1e-6, "--sigma-min {:?}: it must be a number from 1e-6 up", args.sigma_min);
    ensure!(
        (0.01..=0.99).contains(&args.overlap),
        "--overlap {}: it must be from 0.01 to 0.99",
        args.overlap
    );
    ensure!(args.images > 1, "--images {}: it must be at least 2", args.images);
    let (set, range) = load(&args.data)?;
    ensure!(set.len() > 1, "{} holds one image, and a distance needs two", args.data);
    let level = range.width() / 255.0;
    let compared = args.images.min(set.len());
    say(format!("measuring the distances between {}", count(compared, "image")));
    let sigma_max = level * set.largest_distance(compared);
    ensure!(sigma_max > 0.0, "{}: all its images are equal", args.data);
    ensure!(
        sigma_max > args.sigma_min,
        "--sigma-min {}: it must be below the largest distance between two images, {sigma_max:.4}",
        args.sigma_min
    );
    let ladder = Ladder::new(sigma_max, args.sigma_min, set.image_len(), args.overlap);
    let eps = langevin_eps(ladder.ratio(), args.steps_each.into(), ladder.sigma_min);
    let step = eps / ladder.sigma_min.powi(2);
    let variance = langevin_variance(ladder.ratio(), args.steps_each.into(), step);
    if common.json {
        return print(serde_json::json!({
            "sigma_max": ladder.sigma_max, "sigma_min": ladder.sigma_min, "num_scales": ladder.levels,
            "ratio": ladder.ratio(), "overlap": ladder.overlap(set.image_len()), "ald_eps": eps,
            "n_steps_each": args.steps_each, "variance": variance, "images": compared, "of": set.len(),
        }));
    }
    let of = match compared < set.len() {
        true => format!("{compared} of {} images, so it may be slightly larger", set.len()),
        false => format!("{compared} images"),
    };
    print(format!(
        "[training]\n\
         sde = \"vesde\"\n\n\
         [model]\n\
         # 1: the largest distance between two of {of}.\n\
         sigma_max = {:.4}\n\
         sigma_min = {}\n\
         # 2: neighbours overlap by {:.4}, γ = {:.5}.\n\
         num_scales = {}\n\
         # 3: the network's output is divided by σ.\n\
         scale_by_sigma = true\n\
         # 5: samples are drawn with the weights' moving average.\n\
         ema_rate = 0.999\n\n\
         [sampling]\n\
         # 4: after these steps at a level s² / σ² = {variance:.4}, as close to 1 as possible.\n\
         n_steps_each = {}\n\
         ald_eps = {eps:.3e}",
        ladder.sigma_max,
        ladder.sigma_min,
        ladder.overlap(set.image_len()),
        ladder.ratio(),
        ladder.levels,
        args.steps_each,
    ))
}

/// The data, and the range of the model.
fn load(spec: &str) -> anyhow::Result<(Dataset, Range)> {
    let in_program = BuiltIn::named(spec).is_none() && Config::preset_text(spec).is_ok();
    if in_program || ends_in(Path::new(spec), "toml") {
        let config = configuration::read(Path::new(spec), &[])?;
        return Ok((Dataset::load(&config.data, Split::Train)?, config.data.range()));
    }
    Ok((data::named(spec, Split::Train)?, Range { centered: false }))
}
