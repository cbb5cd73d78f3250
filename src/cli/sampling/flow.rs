//! The commands that follow the probability flow.

use super::{ClassArgs, Classes, SamplingFlags, Selection};
use crate::cli::arguments::Evaluation;
use crate::cli::io::{Batch, Images, Named, tensors};
use crate::cli::stop::Stop;
use crate::cli::unfinished::{self, Unfinished};
use crate::cli::{Common, batches, count, ends_in, open_score_model, print, progress, report};
use crate::config::{Config, Method, Range};
use crate::gpu::Gpu;
use crate::nn::Scorer;
use crate::sample::likelihood::EPS;
use crate::sample::{self, Differentiable, Draw, Ode, Progress, Score};
use crate::tensor::Tensor;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// The solver and the class whose flow is followed.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args<S: Selection> {
    #[command(flatten)]
    flags: SamplingFlags<S>,
    #[command(flatten, next_help_heading = "Evaluation of the model")]
    evaluation: Evaluation,
    #[command(flatten, next_help_heading = "Classes")]
    classes: ClassArgs,
}

/// A model and the solver of its flow.
pub struct Flow {
    pub gpu: Gpu,
    pub config: Config,
    pub scorer: Scorer,
    pub ode: Ode,
    /// Samples in a batch.
    pub batch: usize,
    /// The class whose flow it is, if one is requested.
    classes: Classes,
    progress: progress::Steps,
    resume: bool,
    /// The checksums of the model and the classifier.
    checksums: [u8; 8],
}

/// The ends of paths along the flow.
pub struct Followed {
    pub batch: Batch,
    /// Score evaluations per sample.
    pub evaluations: f64,
}

impl Followed {
    /// The number of evaluations as a tensor.
    pub fn nfev(&self) -> Named<'static> {
        ("nfev", vec![1], vec![self.evaluations as f32])
    }

    /// Writes samples to all outputs; a grid has `columns` columns, or is about square.
    pub fn write(&self, paths: &[PathBuf], range: Range, columns: Option<usize>) -> anyhow::Result<()> {
        let Batch { shape, values } = &self.batch;
        let images = Images::new(*shape, values.clone(), range).in_columns(columns);
        paths.iter().try_for_each(|path| match ends_in(path, "safetensors") {
            true => tensors::write(path, &[tensors::images("x", &self.batch), self.nfev()]),
            false => images.write(path, 0),
        })
    }

    /// Reports the outputs.
    pub fn report(&self, common: &Common, what: &str, paths: &[PathBuf]) -> anyhow::Result<()> {
        let (n, evaluations) = (self.batch.shape.n(), self.evaluations);
        let written: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        if common.json {
            return print(serde_json::json!({ "n": n, "nfev": evaluations, "written": written }));
        }
        let (things, files) = (count(n, what), written.join(", "));
        print(format!("{things}, {} each: {files}", report::evaluations(evaluations)))
    }
}

impl Flow {
    /// Checks the options and opens a model with a sampler, its configuration overridden by the flags.
    pub fn open<S: Selection>(
        common: &Common,
        model: &Path,
        method: Method,
        args: &Args<S>,
    ) -> anyhow::Result<Flow> {
        let checkpoint = open_score_model(model)?;
        let mut config = checkpoint.config().clone();
        config.sampling.set_method(method);
        args.flags.configure(&mut config)?;
        let gpu = common.open()?;
        let scorer = checkpoint.scorer(&gpu, args.evaluation.weights)?;
        let ode = Ode { noise_removal: false, ..Ode::new(&config.sampling) };
        let classes = args.classes.open(&gpu, model, &config)?;
        ensure!(classes.classes.len() <= 1, "--class: the flow needs one class, not several");
        let checksums = classes.checksums(&checkpoint);
        Ok(Flow {
            gpu,
            batch: args.evaluation.batch(&config.data),
            config,
            scorer,
            ode,
            classes,
            progress: progress::steps(None),
            resume: args.evaluation.resume,
            checksums,
        })
    }

    /// Calls `f` with the score whose flow it is.
    pub fn with<T>(&self, f: impl Fn(&dyn Differentiable) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut results = self.classes.each(&self.scorer, f)?;
        results.pop().context("there is no score")
    }

    /// Says what begins. The finished batches of a command that follows lots of `sizes` samples, which depend on `given`.
    pub fn unfinished(
        &self,
        output: Option<&Path>,
        sizes: &[usize],
        given: &[u8],
    ) -> anyhow::Result<Unfinished> {
        let (parameters, method) = (self.scorer.model.registry.count(), self.config.sampling.method);
        let samples = count(sizes.iter().sum(), "sample");
        let what = format!("following the flow of {parameters} parameters by {method} for {samples}");
        progress::announce(&self.gpu, &what);
        let parts = sizes.iter().map(|n| batches(*n, self.batch).len()).sum();
        let contents: &[&[u8]] = &[&self.checksums, given];
        Unfinished::open(unfinished::Options { resume: self.resume, output, parts, contents })
    }

    /// Shows the progress of a batch, and ends it at a signal.
    pub fn watch(&self, stop: Stop) -> impl FnMut(Progress<'_>) -> sample::Result<()> {
        move |progress| {
            self.progress.set_message(format!(" to t = {:.4}", progress.t));
            self.progress.step();
            stop.check()
        }
    }

    /// The latents of data.
    pub fn encode(&self, data: &Batch, unfinished: &mut Unfinished) -> anyhow::Result<Followed> {
        self.follow(data, unfinished, |score, x, stop| {
            let solution = self.ode.follow(score, x, (EPS, 1.0), &mut self.watch(stop))?;
            let evaluations = solution.mean_evaluations();
            Ok(sample::Sampled::new(solution.state, evaluations))
        })
    }

    /// The samples of latents, by the configured sampler without noise, with a last step that removes the residual noise if
    /// `denoise` is set.
    pub fn decode(
        &self,
        latents: &Batch,
        denoise: bool,
        unfinished: &mut Unfinished,
    ) -> anyhow::Result<Followed> {
        let mut sampling = self.config.sampling.clone();
        (sampling.noise_removal, sampling.eta) = (denoise, 0.0);
        let sampler = sample::sampler(&sampling, sampling.steps)?;
        let draw = Draw::new(self.config.seed);
        self.follow(latents, unfinished, |score, z, stop| {
            Ok(sampler.run(score, z, draw, &mut self.watch(stop))?)
        })
    }

    /// Moves samples along the flow in batches.
    fn follow(
        &self,
        from: &Batch,
        unfinished: &mut Unfinished,
        step: impl Fn(&dyn Score, Tensor, Stop) -> anyhow::Result<sample::Sampled>,
    ) -> anyhow::Result<Followed> {
        let n = from.shape.n();
        let mut to = Batch { shape: from.shape, values: Vec::new() };
        let mut evaluations = 0.0;
        let stop = unfinished.stop().clone();
        for (first, count) in batches(n, self.batch) {
            let part = from.part(first, count);
            let (values, evaluated): (_, f64) = unfinished.part(part.shape.len(), false, || {
                let sampled = self.with(|score| step(score, part.upload(&self.gpu)?, stop.clone()))?;
                let values = sampled.x.read()?;
                ensure!(
                    values.iter().all(|v| v.is_finite()),
                    "the flow diverged: some results are not finite; use smaller --rtol and --atol"
                );
                Ok((values, sampled.evaluations))
            })?;
            to.values.extend(values);
            evaluations += evaluated * count as f64 / n as f64;
        }
        Ok(Followed { batch: to, evaluations })
    }
}
