//! The options of the commands that draw samples, and the model that they open.

use super::{All, ClassArgs, Classes, SamplingFlags};
use crate::cli::arguments::{Evaluation, choice};
use crate::cli::io::{AnimationArgs, Batch, Images, Observed};
use crate::cli::{Common, ends_in, open_score_model, paths};
use crate::config::{Config, Fit, Method};
use crate::gpu::Gpu;
use crate::nn::Scorer;
use crate::sample::{self, AnnealedLangevin, Constrained, PredictorCorrector, Sampler};
use crate::tensor::Shape;
use anyhow::ensure;
use std::path::{Path, PathBuf};

/// The sampler, the classes, and the output.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// Output: F.png (a grid, enlarged for viewing), F.npz (`samples`, float32 [n, h, w, c] in [0, 1]) or a folder; of points
    /// F.png (a picture of all), F.npz (`samples`, float32 [n, 2]) or F.csv; may be repeated
    #[arg(long, value_name = "F.png|F.npz|F.csv|DIR", required = true)]
    pub out: Vec<PathBuf>,
    /// The number of the first sample
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub first: u32,
    /// The seed [default: the model's]
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub flags: SamplingFlags<All>,
    #[command(flatten, next_help_heading = "Evaluation of the model")]
    pub evaluation: Evaluation,
    #[command(flatten, next_help_heading = "Classes")]
    pub classes: ClassArgs,
    #[command(flatten, next_help_heading = "Pictures of the way")]
    pub animation: AnimationArgs,
}

impl SamplingArgs {
    /// The options of samples that are not written.
    pub fn unwritten(seed: Option<u64>, flags: SamplingFlags<All>, evaluation: Evaluation) -> SamplingArgs {
        let (classes, animation) = (ClassArgs::default(), AnimationArgs::default());
        SamplingArgs { out: Vec::new(), first: 0, seed, flags, evaluation, classes, animation }
    }

    /// Checks the options that need no model, for the input files `read`.
    pub fn check(&self, read: &[&Path]) -> anyhow::Result<()> {
        self.animation.check()?;
        self.out.iter().try_for_each(|path| paths::check(path, &["png", "npz", "csv"]))?;
        paths::apart(read, self.paths())
    }

    /// All output paths.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.out.iter().chain(self.animation.paths())
    }

    /// Opens a model, its configuration overridden by the flags. Commands that impose known values on the samples need a
    /// sampler that is `constrained`: the model's own if it is one, else `pc`.
    pub fn open(&self, common: &Common, path: &Path, constrained: bool) -> anyhow::Result<Model<'_>> {
        let checkpoint = open_score_model(path)?;
        let mut config = checkpoint.config().clone();
        if constrained && !config.sampling.method.capabilities().constrained {
            config.sampling.set_method(Method::Pc);
        }
        self.flags.configure(&mut config)?;
        Images::check_outputs(&self.paths().cloned().collect::<Vec<_>>(), &config.data)?;
        config.seed = self.seed.unwrap_or(config.seed);
        let gpu = common.open()?;
        let scorer = checkpoint.scorer(&gpu, self.evaluation.weights)?;
        let classes = self.classes.open(&gpu, path, &config)?;
        let checksums = classes.checksums(&checkpoint);
        Ok(Model { args: self, config, gpu, scorer, classes, checksums })
    }
}

/// Observed images, the number of samples drawn for each, and the sampler.
#[derive(clap::Args)]
pub struct ConditionalArgs {
    /// The images: F.png, a folder of them, F.npz, F.safetensors, or data:digits:I for test digit I, I-J for several
    #[arg(long = "in", value_name = "IMAGE")]
    pub input: String,
    /// Scale pictures of another size to the model's
    #[arg(long, value_parser = choice::<Fit>())]
    pub fit: Option<Fit>,
    /// Samples for each image [default: 1]
    #[arg(short, value_name = "N")]
    pub n: Option<u32>,
    /// Start each row of a grid with what it is drawn from
    #[arg(long, visible_alias = "show-grey")]
    pub show_input: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

impl ConditionalArgs {
    /// Checks the options that need no model, for the input files `read` besides the images.
    pub fn check(&self, read: &[&Path]) -> anyhow::Result<()> {
        ensure!(
            !self.show_input || self.sampling.out.iter().any(|path| ends_in(path, "png")),
            "--show-input: no grid is written; leave it out, or add --out F.png"
        );
        self.sampling.check(&[read, &[Path::new(&self.input)]].concat())
    }

    /// The images, of the model's size and number of channels.
    pub fn observed(&self, model: &Model<'_>) -> anyhow::Result<Observed> {
        Observed::read_like(&self.input, &model.config.data, self.fit)?.each(self.n)
    }

    /// The rows of a grid: one for each observed image, after `input` if that is to be shown.
    pub fn rows(&self, images: Images, observed: &Observed, input: impl FnOnce() -> Batch) -> Images {
        match self.show_input {
            true => images.rows_beside(input(), self.n.unwrap_or(1) as usize),
            false => images.in_columns(observed.columns()),
        }
    }
}

/// A model to draw samples from.
pub struct Model<'a> {
    /// The options.
    pub args: &'a SamplingArgs,
    /// Its configuration, overridden by the flags.
    pub config: Config,
    /// The device.
    pub gpu: Gpu,
    /// The model on the device.
    pub scorer: Scorer,
    /// The requested classes.
    pub classes: Classes,
    /// The checksums of the model and the classifier.
    pub checksums: [u8; 8],
}

impl Model<'_> {
    /// The configured sampler.
    pub fn sampler(&self) -> anyhow::Result<Box<dyn Sampler>> {
        let sampling = &self.config.sampling;
        Ok(sample::sampler(sampling, sampling.steps)?)
    }

    /// The configured sampler, one on which known values can be imposed.
    pub fn constrained(&self) -> anyhow::Result<Box<dyn Constrained>> {
        let sampling = &self.config.sampling;
        Ok(match sampling.method {
            Method::Ald => Box::new(AnnealedLangevin::new(sampling, sampling.steps)?),
            _ => Box::new(PredictorCorrector::new(sampling, sampling.steps)?),
        })
    }

    /// The shape of `n` of its images.
    pub fn shape(&self, n: u32) -> Shape {
        shape(&self.config, n as usize)
    }
}

/// The shape of `n` images of a model.
pub fn shape(config: &Config, n: usize) -> Shape {
    Shape::of_images(n, config.data.shape())
}
