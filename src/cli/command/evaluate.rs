//! `tweedie evaluate`.

mod classify;

use crate::choice::Choice;
use crate::cli::io::{Batch, DATA, data, is_model, pictures::Pictures};
use crate::cli::report::{count, say};
use crate::cli::{Common, ends_in, print};
use crate::config::BuiltIn;
use crate::data::{Dataset, Split};
use crate::eval::{Moments, copies, frechet_distance};
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// Compare samples with data: the Fréchet distance of their pixels, and whether they are copies.
///
/// For samples of a class, with --classifier: the share with the requested class. For a classifier: its accuracy by noise level.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie sample runs/digits -n 400 --out samples.npz\n  \
    tweedie evaluate samples.npz --data digits\n  \
    tweedie evaluate threes.npz --classifier runs/classifier --class 3\n  \
    tweedie evaluate runs/classifier")]
pub struct Args {
    /// Samples: F.npz, F.npy or a folder of pictures, or a classifier: a run folder or a checkpoint
    #[arg(value_name = "SAMPLES|MODEL")]
    samples: PathBuf,
    /// The data: `digits`, `digits_color`, or a file or folder of test images [default: digits; a classifier's own test images]
    #[arg(long, value_name = DATA)]
    data: Option<String>,
    /// A file or folder of training images to find copies of, if --data is a path
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// The classifier that recognises the class of samples, a run folder or a checkpoint
    #[arg(long, value_name = "MODEL", requires = "class", conflicts_with_all = ["data", "train"])]
    classifier: Option<PathBuf>,
    /// The requested class, or several with equally many samples each, in order
    #[arg(long, value_name = "K|K,K,…|all", requires = "classifier", allow_negative_numbers = true)]
    class: Option<String>,
    /// Go on after the finished parts of the same command; for classifiers
    #[arg(long)]
    resume: bool,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    if is_model(&args.samples) || ends_in(&args.samples, "safetensors") {
        for (option, given) in [("classifier", args.classifier.is_some()), ("train", args.train.is_some())] {
            ensure!(!given, "--{option}: a classifier is evaluated alone; leave the option out");
        }
        return classify::accuracy(common, &args.samples, args.data.as_deref(), args.resume);
    }
    let name = args.data.as_deref().unwrap_or("digits");
    let pictures = Pictures::read(&args.samples.to_string_lossy())?;
    ensure!(
        pictures.batch.values.iter().all(|v| (0.0..=1.0).contains(v)),
        "{}: some values are not in [0, 1]",
        args.samples.display()
    );
    if let (Some(classifier), Some(class)) = (&args.classifier, &args.class) {
        return classify::requested(common, pictures, classifier, class, args.resume);
    }
    ensure!(!args.resume, "--resume: comparing samples with data is not kept in parts; leave it out");
    let test = data::named(name, Split::Test)?;
    let Batch { shape, values: samples } = pictures.of_channels(test.channels).batch;
    say(format!("comparing {} with {}", count(shape.n(), "sample"), count(test.len(), "test image")));
    let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
    let dimensions = shape.with_n(1).len();
    let built_in = BuiltIn::named(name).is_some();
    ensure!(!built_in || args.train.is_none(), "--train: {name} has its own training images; leave it out");
    let train = match built_in {
        true => Some(data::named(name, Split::Train)?),
        false => {
            args.train.as_ref().map(|path| data::named(&path.to_string_lossy(), Split::Train)).transpose()?
        }
    };
    for set in [Some(&test), train.as_ref()].into_iter().flatten() {
        let [height, width, channels] = set.shape();
        ensure!(
            shape.0[1..] == set.shape(),
            "the images of {} are {}x{}x{}, the data's {height}x{width}x{channels}; choose single images (F.npz or a folder, no grid), or --data \
             like them",
            args.samples.display(),
            shape.h(),
            shape.w(),
            shape.c()
        );
    }
    let unit = |set: &Dataset| set.pixels.iter().map(|level| f64::from(*level) / 255.0).collect::<Vec<f64>>();
    let reference = unit(&test);
    let moments = |values: &[f64], what: &str| {
        Moments::of(values, dimensions).with_context(|| format!("{what}: at least two images are needed"))
    };
    let distance = frechet_distance(
        &moments(&samples, &args.samples.display().to_string())?,
        &moments(&reference, name)?,
    );
    let count = |set: &[f64]| set.len() / dimensions;
    let copied = train.as_ref().map(|set| {
        let training = unit(set);
        (copies(&samples, &training, dimensions), copies(&reference, &training, dimensions))
    });
    if common.json {
        return print(serde_json::json!({
            "samples": count(&samples), "frechet_distance": distance, "copies": copied.map(|(ours, _)| ours),
            "copies_among_test": copied.map(|(_, theirs)| theirs), "test": count(&reference),
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
