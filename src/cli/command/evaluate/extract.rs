//! Features of images: pixels, a classifier's logits, Inception's last layer.

use super::Args;
use super::weights::{self, Convention};
use crate::cli::io::{Batch, pictures};
use crate::cli::sampling::classes;
use crate::cli::unfinished::{self, Unfinished};
use crate::cli::{Common, batches, count, open_model, progress};
use crate::config::Data;
use crate::eval::Features;
use crate::gpu::Gpu;
use crate::nn::{Classifier, Inception};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, ensure};
use std::path::Path;

/// The features of an image.
pub enum Extractor {
    /// All its values.
    Pixels,
    /// The logits of a classifier at its smallest noise level.
    Classifier { classifier: Box<Classifier>, data: Box<Data>, name: String, checksum: u32 },
    /// The 2048 features of Inception v3.
    Inception { inception: Box<Inception>, convention: Convention, sha256: String },
}

/// Images on the device at a time.
const ON_CPU: usize = 4;
const ON_GPU: usize = 16;
/// Images whose features are kept in one part.
const PART: usize = 256;

/// Features and logits of a side, and the file of the finished parts.
pub struct Extracted {
    pub features: Features,
    pub logits: Option<Features>,
    pub unfinished: Option<Unfinished>,
}

impl Extractor {
    /// The one that the options name.
    pub fn open(common: &Common, gpu: &Gpu, args: &Args) -> anyhow::Result<Extractor> {
        match args.features.as_deref() {
            Some("pixels") => Ok(Extractor::Pixels),
            None if args.inception.is_none() => Ok(Extractor::Pixels),
            None | Some("inception") => {
                let opened = weights::open(gpu, args.inception.as_deref(), args.convention)?;
                let (inception, convention, sha256) = opened;
                Ok(Extractor::Inception { inception: Box::new(inception), convention, sha256 })
            }
            Some(name) => {
                let path = Path::new(name);
                ensure!(
                    path.exists() || name.starts_with("hf:"),
                    "--features {name}: it must be pixels, inception or a classifier"
                );
                let checkpoint = open_model(path)?;
                let classifier = Box::new(classes::classifier(&common.open()?, path, &checkpoint)?);
                let data = Box::new(checkpoint.config().data.clone());
                Ok(Extractor::Classifier {
                    classifier,
                    data,
                    name: name.into(),
                    checksum: checkpoint.checksum(),
                })
            }
        }
    }

    /// Their name in reports.
    pub fn name(&self) -> String {
        match self {
            Extractor::Pixels => "pixels".into(),
            Extractor::Classifier { name, .. } => format!("the logits of {name}"),
            Extractor::Inception { .. } => "Inception v3 features".into(),
        }
    }

    /// The convention in reports, if there are several.
    pub fn convention(&self) -> Option<String> {
        match self {
            Extractor::Inception { convention, .. } => Some(weights::described(*convention)),
            _ => None,
        }
    }

    /// The features of images in [0, 1], called `name` in messages.
    pub fn run(&self, batch: &Batch, name: &str, resume: bool) -> anyhow::Result<Extracted> {
        let none = || format!("{name} holds no images");
        let (device, checksum) = match self {
            Extractor::Pixels => {
                let features = Features::new(batch.values.clone(), batch.shape.with_n(1).len());
                let features = features.with_context(none)?;
                return Ok(Extracted { features, logits: None, unfinished: None });
            }
            Extractor::Classifier { classifier, checksum, .. } => (classifier.gpu(), checksum.to_string()),
            Extractor::Inception { inception, convention, sha256 } => {
                (inception.gpu(), format!("{sha256} {convention}"))
            }
        };
        let batch = self.fitted(batch.clone(), name)?;
        let n = batch.shape.n();
        let at_a_time = if device.adapter().is_cpu() { ON_CPU } else { ON_GPU };
        let parts = batches(n, PART);
        let contents: &[&[u8]] = &[checksum.as_bytes(), bytemuck::cast_slice(&batch.values)];
        let mut unfinished =
            Unfinished::open(unfinished::Options { resume, output: None, parts: parts.len(), contents })?;
        let (d, k) = self.lengths();
        progress::announce(device, &format!("{} of {}", self.name(), count(n, "image")));
        let progress = progress::share(n as u64);
        let stop = unfinished.stop().clone();
        let (mut features, mut logits) = (Vec::with_capacity(n * d), Vec::with_capacity(n * k));
        for (first, count) in parts {
            let (values, ()) = unfinished.part(count * (d + k), false, || {
                let (mut part, mut scores) = (Vec::with_capacity(count * d), Vec::new());
                for (start, count) in batches(count, at_a_time) {
                    stop.check()?;
                    let [of_features, of_logits] = self.forward(&batch.part(first + start, count))?;
                    part.extend(of_features);
                    scores.extend(of_logits);
                    progress.advance(count);
                }
                part.extend(scores);
                Ok((part, ()))
            })?;
            features.extend_from_slice(&values[..count * d]);
            logits.extend_from_slice(&values[count * d..]);
        }
        progress.finish();
        let finite = features.iter().all(|v| v.is_finite());
        ensure!(finite, "{} of {name} are not finite; check the weights", self.name());
        let logits = match self {
            // They are the features.
            Extractor::Classifier { .. } => Some(features.clone()),
            _ => Some(logits),
        };
        Ok(Extracted {
            features: Features::new(features, d).with_context(none)?,
            logits: logits.and_then(|logits| Features::new(logits, if k > 0 { k } else { d })),
            unfinished: Some(unfinished),
        })
    }

    /// Lengths of the features and of further logits.
    fn lengths(&self) -> (usize, usize) {
        match self {
            Extractor::Pixels => (0, 0),
            Extractor::Classifier { classifier, .. } => (classifier.classes(), 0),
            Extractor::Inception { inception, .. } => (inception.dimensions(), inception.classes()),
        }
    }

    /// Images as the network takes them: the classifier's size and channels; three channels.
    fn fitted(&self, batch: Batch, name: &str) -> anyhow::Result<Batch> {
        let channels = match self {
            Extractor::Classifier { data, .. } => data.num_channels,
            _ => 3,
        };
        let batch = pictures::converted(batch, channels);
        let Shape([_, h, w, c]) = batch.shape;
        match self {
            Extractor::Classifier { data, name: classifier, .. } => {
                let [height, width, own] = data.shape();
                ensure!(
                    [h, w, c] == data.shape(),
                    "{classifier} takes {height}x{width}x{own} images, and {name} has {h}x{w}x{c}; choose a classifier of \
                     such images"
                )
            }
            _ => ensure!(
                c == 3,
                "{name} has images of {}; Inception takes grey images and images in colour",
                count(c, "channel")
            ),
        }
        Ok(batch)
    }

    /// Features and further logits of a few images.
    fn forward(&self, batch: &Batch) -> anyhow::Result<[Vec<f32>; 2]> {
        match self {
            Extractor::Pixels => Ok([batch.values.clone(), Vec::new()]),
            Extractor::Classifier { classifier, data, .. } => {
                let range = data.range();
                let values: Vec<f32> = batch.values.iter().map(|v| range.from_unit(*v)).collect();
                let x = Tensor::from_slice(classifier.gpu(), batch.shape, &values)?;
                let times = vec![classifier.process().sampling_eps(); batch.shape.n()];
                Ok([classifier.logits(&x, &times)?.read()?, Vec::new()])
            }
            Extractor::Inception { inception, convention, .. } => {
                // The levels of a picture with 8 bits, which every program compares.
                let levels: Vec<f32> = batch.values.iter().map(|v| (255.0 * v).round()).collect();
                let x = Tensor::from_slice(inception.gpu(), batch.shape, &levels)?;
                let outputs = inception.run(&x, convention.input())?;
                Ok([outputs.features.read()?, outputs.logits.read()?])
            }
        }
    }
}
