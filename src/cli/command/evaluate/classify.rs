//! `tweedie evaluate` with classifiers: their accuracy, and the classes of samples.

use crate::cli::sampling::classes;
use crate::cli::{Common, count, open_model, print};
use crate::data::{Dataset, Split, scale};
use crate::eval::{Accuracy, accuracy_by_noise, classify};
use crate::tensor::Shape;
use anyhow::ensure;
use std::path::Path;

/// A classifier's accuracy by noise level, on the test images of its own data set; `data` may name no other.
pub fn accuracy(common: &Common, model: &Path, data: Option<&str>) -> anyhow::Result<()> {
    let checkpoint = open_model(model)?;
    let config = checkpoint.config();
    ensure!(
        config.is_classifier(),
        "{} is a score model: draw samples with `tweedie sample {} --out F.npz` and evaluate those",
        model.display(),
        model.display()
    );
    let own = Some(config.data.dataset.as_str());
    ensure!(
        data.is_none() || data == own,
        "a classifier is tested on the test images of its own data, {}; leave --data out",
        config.data.dataset
    );
    let set = Dataset::load(&config.data, Split::Test)?;
    let classifier = classes::classifier(&common.open()?, model, &checkpoint)?;
    let levels = accuracy_by_noise(&classifier, &set, config.data.centered, config.seed)?;
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

/// The number of samples (`[n, h, w, c]` in [0, 1]) with the requested classes, equally many of each in order, according to a
/// classifier.
pub fn requested(
    common: &Common,
    (samples, shape): (&[f32], Shape),
    path: &Path,
    class: &str,
) -> anyhow::Result<()> {
    let checkpoint = open_model(path)?;
    let data = &checkpoint.config().data;
    let classifier = classes::classifier(&common.open()?, path, &checkpoint)?;
    let wanted = classes::parse(class, classifier.classes())?;
    let Shape([n, h, w, c]) = shape;
    ensure!(
        [h, w, c] == [data.image_size, data.image_size, data.num_channels],
        "{} takes {1}x{1} images of {2} channel(s), and the samples are {h}x{w} of {c}; choose a classifier of such images",
        path.display(),
        data.image_size,
        data.num_channels
    );
    ensure!(
        n.is_multiple_of(wanted.len()),
        "{} cannot be equally many of {} classes; --class must be that of the samples",
        count(n, "sample"),
        wanted.len()
    );
    let images: Vec<f32> =
        samples.iter().map(|v| scale(255.0 * f64::from(*v), data.centered) as f32).collect();
    let found = classify(&classifier, &images, shape)?;
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
