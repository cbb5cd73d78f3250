//! The classes that samples are asked to have: by a classifier's guidance, or by a model that is told them.

use crate::cli::io::model::open_model;
use crate::config::Config;
use crate::gpu::Gpu;
use crate::nn::{Classifier, Scorer};
use crate::sample::{ClassConditional, ClassifierGuided, Differentiable, Toward};
use crate::train::{Checkpoint, Weights};
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// How a command is asked for classes.
#[derive(clap::Args)]
pub struct ClassArgs {
    /// Ask for a class, for several (`0,3,7`), or for all: a row of a drawn grid each
    #[arg(long, value_name = "K|K,K,…|all", allow_negative_numbers = true)]
    class: Option<String>,
    /// The classifier that guides, a run folder or a checkpoint; without it the model must have been trained with classes
    #[arg(long, value_name = "MODEL")]
    classifier: Option<PathBuf>,
    /// How strongly: the factor of the classifier's gradient, 1 for its own posterior [default: 6]; without a classifier
    /// the weight of classifier-free guidance, 0 for the model's own [default: 1]
    #[arg(long, value_name = "S")]
    guidance: Option<f64>,
}

/// A classifier is less sure of noisy images than they deserve, and a network that is told the class heeds it too little: on
/// the digits these defaults make 98 of 100 samples what was asked for, where 1 and 0 make 78 and 91.
const GUIDED: f64 = 6.0;
const TOLD: f64 = 1.0;

/// What is asked for.
pub struct Classes {
    /// The classes, one after the other; none if the score is to be the model's own.
    pub classes: Vec<usize>,
    guidance: f64,
    /// Who guides; without it the model is told the class.
    classifier: Option<Classifier>,
}

impl ClassArgs {
    /// What is asked of the model at `path`.
    pub fn open(&self, gpu: &Gpu, path: &Path, config: &Config) -> anyhow::Result<Classes> {
        let model = path.display();
        let Some(class) = &self.class else {
            let unasked = self.classifier.is_none() && self.guidance.is_none();
            ensure!(unasked, "--classifier and --guidance need a class to guide to; add --class");
            return Ok(Classes { classes: Vec::new(), guidance: 0.0, classifier: None });
        };
        if let Some(guidance) = self.guidance {
            ensure!(guidance.is_finite(), "--guidance {guidance}: it must be a number");
        }
        let Some(guide) = &self.classifier else {
            let count = config.model.num_classes;
            ensure!(
                count > 0,
                "{model} was trained without classes: name a classifier with --classifier, or train with \
                 model.num_classes"
            );
            let classes = parse(class, count)?;
            return Ok(Classes { classes, guidance: self.guidance.unwrap_or(TOLD), classifier: None });
        };
        let checkpoint = open_model(guide)?;
        let classifier = classifier(gpu, guide, &checkpoint)?;
        fits(guide, checkpoint.config(), path, config)?;
        let classes = parse(class, classifier.classes())?;
        Ok(Classes { classes, guidance: self.guidance.unwrap_or(GUIDED), classifier: Some(classifier) })
    }
}

impl Classes {
    /// The classes, for machines.
    pub fn report(&self) -> serde_json::Value {
        if self.classes.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::json!({ "classes": self.classes })
        }
    }

    /// What `draw` makes of the score of each class, or of the model's own if none is asked for.
    pub fn each<T>(
        &self,
        scorer: &Scorer,
        draw: impl Fn(&dyn Differentiable) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        if self.classes.is_empty() {
            return Ok(vec![draw(scorer)?]);
        }
        let of_class = |class: &usize| match &self.classifier {
            Some(classifier) => {
                let guide = Toward { classifier, class: *class };
                draw(&ClassifierGuided { score: scorer, guide: &guide, scale: self.guidance })
            }
            None => draw(&ClassConditional { scorer, class: *class, weight: self.guidance }),
        };
        self.classes.iter().map(of_class).collect()
    }
}

/// The classifier of a checkpoint that was read from `path`.
pub fn classifier(gpu: &Gpu, path: &Path, checkpoint: &Checkpoint) -> anyhow::Result<Classifier> {
    let classifier = Classifier::new(checkpoint.scorer(gpu, Weights::Ema)?);
    classifier.with_context(|| {
        let path = path.display();
        format!("{path} is no classifier; train one with training.objective = classifier")
    })
}

/// The classes of `--class`, of `count` that there are.
pub fn parse(text: &str, count: usize) -> anyhow::Result<Vec<usize>> {
    if text == "all" {
        return Ok((0..count).collect());
    }
    let class = |part: &str| match part.trim().parse::<usize>() {
        Ok(class) if class < count => Ok(class),
        _ => bail!("--class {text}: write numbers from 0 to {} with commas between them, or all", count - 1),
    };
    text.split(',').map(class).collect()
}

/// Refuses a classifier of other images, or of another process.
fn fits(guide: &Path, of: &Config, path: &Path, config: &Config) -> anyhow::Result<()> {
    let (guide, model) = (guide.display(), path.display());
    let images = |config: &Config| {
        let data = &config.data;
        format!("{0}x{0} images of {1} channel(s) in {2}", data.image_size, data.num_channels, data.range())
    };
    let (theirs, ours) = (images(of), images(config));
    ensure!(
        theirs == ours,
        "{guide} takes {theirs}, and {model} makes {ours}; train a classifier of such images"
    );
    let (theirs, ours) = (format!("{:?}", of.process()), format!("{:?}", config.process()));
    ensure!(
        theirs == ours,
        "{guide} was trained on {theirs}, and {model} on {ours}; train a classifier with the same process"
    );
    Ok(())
}
