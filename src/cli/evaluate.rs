//! `tweedie evaluate`.

use super::{Common, data, input, print};
use crate::data::{Dataset, Split};
use crate::eval::{Moments, copies, frechet_distance};
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// Compare samples with data: the Fréchet distance of their pixels, and whether they are copies.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    tweedie sample runs/digits -n 400 --out samples.npz\n  \
    tweedie evaluate samples.npz --data digits")]
pub(super) struct Args {
    /// Samples as `tweedie sample` writes them: F.npz
    samples: PathBuf,
    /// The data: `digits`, or the path of an IDX file of test images
    #[arg(long, value_name = "digits|FILE", default_value = "digits")]
    data: String,
    /// The IDX file of training images that copies are looked for in, where --data is a file
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let (shape, samples) = input::read_npz(&args.samples)?;
    let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
    let dimensions = shape.with_n(1).len();
    let test = data::named(&args.data, Split::Test)?;
    let train = match args.data.as_str() {
        "digits" => Some(data::named("digits", Split::Train)?),
        _ => args.train.as_ref().map(|path| Dataset::from_idx(path, None)).transpose()?,
    };
    for set in [Some(&test), train.as_ref()].into_iter().flatten() {
        let expected = [set.size, set.size, set.channels];
        ensure!(
            shape.0[1..] == expected,
            "{} holds images of {:?}, the data are {expected:?}; name the data they were trained on with --data",
            args.samples.display(),
            &shape.0[1..]
        );
    }
    let unit = |set: &Dataset| set.pixels.iter().map(|level| f64::from(*level) / 255.0).collect::<Vec<f64>>();
    let reference = unit(&test);
    let moments = |values: &[f64], what: &str| {
        Moments::of(values, dimensions).with_context(|| format!("{what}: at least two images are needed"))
    };
    let distance = frechet_distance(
        &moments(&samples, &args.samples.display().to_string())?,
        &moments(&reference, "the data")?,
    );
    let count = |set: &[f64]| set.len() / dimensions;
    let copied = train.as_ref().map(|set| {
        let training = unit(set);
        (copies(&samples, &training, dimensions), copies(&reference, &training, dimensions))
    });
    if common.json {
        return print(serde_json::json!({
            "samples": count(&samples),
            "frechet_distance": distance,
            "copies": copied.map(|(ours, _)| ours),
            "copies_among_test": copied.map(|(_, theirs)| theirs),
            "test": count(&reference),
        }));
    }
    print(format!(
        "Fréchet distance on pixels, {} samples against {} test images: {distance:.3}",
        count(&samples),
        count(&reference)
    ))?;
    if let Some((ours, theirs)) = copied {
        let share = |copies: usize, of: usize| 100.0 * copies as f64 / of as f64;
        print(format!(
            "copies of training images: {ours} of {} samples ({:.1} %), {theirs} of {} test images ({:.1} %)",
            count(&samples),
            share(ours, count(&samples)),
            count(&reference),
            share(theirs, count(&reference))
        ))?;
    }
    Ok(())
}
