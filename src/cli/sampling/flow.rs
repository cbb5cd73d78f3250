//! What the commands that follow the probability flow share.

use crate::cli::io::tensors::Batch;
use crate::cli::sampling::classes::{Asked, ClassArgs};
use crate::cli::sampling::options as drawing;
use crate::cli::{Common, batches, choice, open_score_model};
use crate::config::{Config, Method, Over};
use crate::gpu::Gpu;
use crate::nn::Scorer;
use crate::sample::likelihood::EPS;
use crate::sample::{self, Differentiable, Draw, Ode, Progress, Score};
use crate::tensor::Tensor;
use crate::train::Weights;
use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use std::path::Path;

/// How the flow is followed.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Relative tolerance [default: the model's, 1e-5 if it names none]
    #[arg(long)]
    rtol: Option<f64>,
    /// Absolute tolerance, in the model's range [default: the model's, 1e-5 if it names none]
    #[arg(long)]
    atol: Option<f64>,
    /// Whether each sample is controlled by its own error, or the batch jointly [default: the model's]
    #[arg(long, value_parser = choice::<Over>())]
    error_norm: Option<Over>,
    /// Which weights
    #[arg(long, value_parser = choice::<Weights>(), default_value_t = Weights::Ema)]
    weights: Weights,
    /// Samples that are followed at once; it changes nothing but speed and memory
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    #[command(flatten)]
    classes: ClassArgs,
}

impl Args {
    /// Refuses what a sampler that decodes has no use for.
    pub fn refuse_idle(&self, method: Method, steps: Option<usize>) -> anyhow::Result<()> {
        let adaptive = method.is_adaptive();
        let options = [
            ("steps", steps.is_some(), !adaptive),
            ("rtol", self.rtol.is_some(), adaptive),
            ("atol", self.atol.is_some(), adaptive),
            ("error-norm", self.error_norm.is_some(), adaptive),
        ];
        drawing::refuse_idle(method, &options)
    }
}

/// A model and how its flow is followed.
pub struct Flow {
    pub gpu: Gpu,
    pub config: Config,
    pub scorer: Scorer,
    pub ode: Ode,
    /// Samples at once.
    pub batch: usize,
    /// The class whose flow it is, if one is asked for.
    asked: Asked,
    /// Shows how far a batch has come.
    bar: ProgressBar,
}

/// Where samples have been taken.
pub struct Followed {
    pub batch: Batch,
    /// Score evaluations for one sample, in the mean.
    pub evaluations: f64,
}

impl Flow {
    /// Checks the options and opens the model; the tolerances are the model's unless others are asked for.
    pub fn open(common: &Common, model: &Path, args: &Args) -> anyhow::Result<Flow> {
        for (name, value) in [("--rtol", args.rtol), ("--atol", args.atol)] {
            if let Some(value) = value {
                ensure!(value.is_finite() && value > 0.0, "{name} {value}: it must be a number above 0");
            }
        }
        ensure!(args.batch > 0, "--batch 0: at least one sample has to be followed at once");
        let checkpoint = open_score_model(model)?;
        let mut config = checkpoint.config().clone();
        config.sampling.rtol = args.rtol.unwrap_or(config.sampling.rtol);
        config.sampling.atol = args.atol.unwrap_or(config.sampling.atol);
        config.sampling.error_norm = args.error_norm.unwrap_or(config.sampling.error_norm);
        let gpu = common.open()?;
        let scorer = checkpoint.scorer(&gpu, args.weights)?;
        let ode = Ode { noise_removal: false, ..Ode::new(&config.sampling) };
        let asked = args.classes.open(&gpu, model, &config)?;
        ensure!(asked.classes.len() <= 1, "--class: a flow is that of one class; name one");
        let bar = drawing::progress(None);
        Ok(Flow { gpu, config, scorer, ode, batch: args.batch, asked, bar })
    }

    /// What `f` makes of the score whose flow it is.
    pub fn with<T>(&self, f: impl Fn(&dyn Differentiable) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut results = self.asked.each(&self.scorer, f)?;
        results.pop().context("no class is asked for")
    }

    /// What looks on while a batch is followed.
    pub fn watch(&self) -> impl FnMut(Progress<'_>) -> sample::Result<()> {
        |progress| {
            self.bar.set_message(format!(" to t = {:.4}", progress.t));
            self.bar.inc(1);
            Ok(())
        }
    }

    /// The latents of data.
    pub fn encode(&self, data: &Batch) -> anyhow::Result<Followed> {
        self.follow(data, |score, x| {
            let solution = self.ode.follow(score, x, (EPS, 1.0), &mut self.watch())?;
            let evaluations = solution.mean_evaluations();
            Ok(sample::Sampled { x: solution.state, evaluations, acceptance: None })
        })
    }

    /// The samples of latents, by any sampler that adds no noise of its own, in as many steps as are asked for or usual, with a
    /// last step that removes noise if wanted.
    pub fn decode(
        &self,
        latents: &Batch,
        (method, steps): (Method, Option<usize>),
        denoise: bool,
    ) -> anyhow::Result<Followed> {
        let mut config = self.config.clone();
        config.sampling.set_method(method);
        (config.sampling.noise_removal, config.sampling.eta) = (denoise, 0.0);
        config.sampling.steps = drawing::steps(&config, steps);
        config.sampling.check().map_err(|error| drawing::of_option(error, &[("steps", steps.is_some())]))?;
        let sampler = sample::sampler(&config.sampling, config.sampling.steps)?;
        let draw = Draw::new(self.config.seed);
        self.follow(latents, |score, z| Ok(sampler.run(score, z, draw, &mut self.watch())?))
    }

    /// Takes samples somewhere, so many at once.
    fn follow(
        &self,
        from: &Batch,
        step: impl Fn(&dyn Score, Tensor) -> anyhow::Result<sample::Sampled>,
    ) -> anyhow::Result<Followed> {
        let n = from.shape.n();
        let mut to = Batch { shape: from.shape, values: Vec::new() };
        let mut evaluations = 0.0;
        for (first, count) in batches(n, self.batch) {
            let part = from.part(first, count);
            let sampled = self.with(|score| step(score, part.upload(&self.gpu)?))?;
            to.values.extend(sampled.x.read()?);
            evaluations += sampled.evaluations * part.shape.n() as f64 / n as f64;
        }
        ensure!(
            to.values.iter().all(|v| v.is_finite()),
            "the flow has diverged: some results are not finite; use smaller --rtol and --atol"
        );
        Ok(Followed { batch: to, evaluations })
    }
}
