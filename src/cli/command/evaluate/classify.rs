//! `tweedie evaluate` with classifiers: their accuracy, and the classes of samples.

use crate::cli::io::{Batch, pictures::Pictures};
use crate::cli::sampling::classes;
use crate::cli::unfinished::{self, Unfinished};
use crate::cli::{Common, batches, count, open_model, print, progress};
use crate::data::{Dataset, Split, scale};
use crate::eval::{Accuracy, NOISE_LEVELS, accuracy_at, classify};
use crate::tensor::Shape;
use anyhow::ensure;
use std::path::Path;

/// A classifier's accuracy by noise level, on the test images of its own data set; `data` may name no other.
pub fn accuracy(common: &Common, model: &Path, data: Option<&str>, resume: bool) -> anyhow::Result<()> {
    let checkpoint = open_model(model)?;
    let config = checkpoint.config();
    let own = Some(config.data.dataset.as_str());
    ensure!(
        data.is_none() || data == own,
        "a classifier is tested on the test images of its own data, {}; leave --data out",
        config.data.dataset
    );
    let set = Dataset::load(&config.data, Split::Test)?;
    let classifier = classes::classifier(&common.open()?, model, &checkpoint)?;
    let contents: &[&[u8]] = &[&checkpoint.checksum().to_le_bytes(), &set.pixels];
    let options = unfinished::Options { resume, output: None, parts: NOISE_LEVELS, contents };
    let mut unfinished = Unfinished::open(options)?;
    let measured = format!("measuring the accuracy at {NOISE_LEVELS} noise levels");
    progress::announce(classifier.gpu(), &format!("{measured}, {}", count(set.len(), "image")));
    let progress = progress::steps(Some(unfinished.left(NOISE_LEVELS)));
    let mut level = |i| {
        unfinished.figures(|| {
            let level = accuracy_at(i, &classifier, &set, config.data.centered, config.seed)?;
            progress.step();
            Ok(level)
        })
    };
    let levels = (0..NOISE_LEVELS).map(&mut level).collect::<anyhow::Result<Vec<Accuracy>>>()?;
    progress.finish();
    unfinished.finish();
    if common.json {
        let row = |level: &Accuracy| {
            serde_json::json!({
                "t": level.t, "mean": level.marginal.mean, "std": level.marginal.std, "accuracy": level.accuracy,
                "cross_entropy": level.cross_entropy,
            })
        };
        let levels: Vec<_> = levels.iter().map(row).collect();
        return print(serde_json::json!({ "test": set.len(), "levels": levels }));
    }
    print(format!("accuracy on {}, by noise:", count(set.len(), "test image")))?;
    print(format!("{:>8} {:>9} {:>9} {:>10} {:>14}", "t", "signal", "noise", "accuracy", "cross entropy"))?;
    for Accuracy { t, marginal, accuracy, cross_entropy } in levels {
        let (signal, noise, share) = (marginal.mean, marginal.std, 100.0 * accuracy);
        print(format!("{t:8.5} {signal:9.4} {noise:9.4} {share:8.1} % {cross_entropy:9.3} nats"))?;
    }
    Ok(())
}

/// Samples that are classified in one part.
const PART: usize = 1000;

/// The number of samples, in [0, 1], with the requested classes, equally many of each in order, according to a
/// classifier.
pub fn requested(
    common: &Common,
    samples: Pictures,
    path: &Path,
    class: &str,
    resume: bool,
) -> anyhow::Result<()> {
    let checkpoint = open_model(path)?;
    let data = &checkpoint.config().data;
    let classifier = classes::classifier(&common.open()?, path, &checkpoint)?;
    let wanted = classes::parse(class, classifier.classes())?;
    let Batch { shape, values: samples } = samples.of_channels(data.num_channels).batch;
    let Shape([n, h, w, c]) = shape;
    let [height, width, channels] = data.shape();
    ensure!(
        [h, w, c] == data.shape(),
        "{} takes {height}x{width}x{channels} images, and the samples are {h}x{w}x{c}; choose a classifier of such images",
        path.display()
    );
    ensure!(
        n.is_multiple_of(wanted.len()),
        "{} cannot be equally many of {} classes; --class must be that of the samples",
        count(n, "sample"),
        wanted.len()
    );
    let parts = batches(n, PART);
    let contents: &[&[u8]] = &[&checkpoint.checksum().to_le_bytes(), bytemuck::cast_slice(&samples)];
    let options = unfinished::Options { resume, output: None, parts: parts.len(), contents };
    let mut unfinished = Unfinished::open(options)?;
    progress::announce(classifier.gpu(), &format!("classifying {}", count(n, "sample")));
    let mut found: Vec<usize> = Vec::new();
    for (first, count) in parts {
        let samples = &samples[first * shape.with_n(1).len()..][..count * shape.with_n(1).len()];
        let classes: Vec<usize> = unfinished.figures(|| {
            let images: Vec<f32> =
                samples.iter().map(|v| scale(255.0 * f64::from(*v), data.centered) as f32).collect();
            Ok(classify(&classifier, &images, shape.with_n(count))?)
        })?;
        found.extend(classes);
    }
    ensure!(found.len() == n, "{} of {n} samples were classified; begin again without --resume", found.len());
    unfinished.finish();
    let each = n / wanted.len();
    let hits = |(i, class): (usize, &usize)| {
        let hits = found[i * each..(i + 1) * each].iter().filter(|found| *found == class).count();
        (*class, hits)
    };
    let hits: Vec<(usize, usize)> = wanted.iter().enumerate().map(hits).collect();
    let total: usize = hits.iter().map(|(_, hits)| hits).sum();
    let share = |hits: usize, of: usize| hits as f64 / of as f64;
    if common.json {
        let row = |(class, hits): &(usize, usize)| serde_json::json!({ "class": class, "share": share(*hits, each) });
        let classes: Vec<_> = hits.iter().map(row).collect();
        return print(serde_json::json!({ "samples": n, "share": share(total, n), "classes": classes }));
    }
    if hits.len() > 1 {
        for (class, hits) in &hits {
            let percent = 100.0 * share(*hits, each);
            print(format!("class {class}: {hits} of {} ({percent:.1} %)", count(each, "sample")))?;
        }
    }
    let percent = 100.0 * share(total, n);
    print(format!("of the requested class: {total} of {} ({percent:.1} %)", count(n, "sample")))
}
