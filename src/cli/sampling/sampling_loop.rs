//! The loop over batches of samples, and what it leaves: images, files, a report.

use super::{Model, shape};
use crate::cli::io::{Animation, Images};
use crate::cli::unfinished::{self, Unfinished};
use crate::cli::{Common, batches, count, progress, report};
use crate::sample::{self, Differentiable, Draw, Progress, Sampled, Watch};
use crate::tensor::Tensor;
use anyhow::ensure;
use std::path::PathBuf;
use std::time::Instant;

/// Some of the samples of a class.
pub struct Part {
    /// Their numbers.
    pub draw: Draw,
    /// The first of them, counted from the first of the command.
    pub first: u32,
    /// The number of samples.
    pub n: u32,
    /// The states that a sampler starts from.
    pub x: Tensor,
}

/// Draws the samples of a part given a score.
pub type Draws<'a> = dyn Fn(&dyn Differentiable, Part, &mut Watch<'_>) -> anyhow::Result<Sampled> + 'a;

/// Samples on the host.
pub struct Samples<'a> {
    /// Their images.
    pub images: Images,
    /// Their number.
    pub n: usize,
    /// Evaluations of the score per sample.
    evaluations: f64,
    /// The share of proposals that the corrector accepted, if it has a test.
    acceptance: Option<f64>,
    animation: Option<Animation<'a>>,
    unfinished: Option<Unfinished>,
    seconds: f64,
}

/// The samples to draw.
pub struct Drawn<'a> {
    /// The number of samples of each class, or of the model if none is requested.
    pub n: u32,
    /// The steps of the sampler, if their number is known.
    pub steps: Option<usize>,
    /// The bytes of what the samples depend on, besides the model: images, measurements, masks.
    pub given: &'a [&'a [u8]],
}

impl Model<'_> {
    /// Draws samples in batches, `draws` those of one.
    pub fn draw(&self, drawn: &Drawn<'_>, draws: &Draws<'_>) -> anyhow::Result<Samples<'_>> {
        let Drawn { n, steps, given } = *drawn;
        let first = self.args.first;
        ensure!(
            u64::from(first) + u64::from(n) <= 1 << 32,
            "--first {first}: with -n {n} sample numbers exceed {}; choose less",
            u32::MAX
        );
        Images::check_memory("-n", n, self.shape(1))?;
        let (method, parameters) = (self.config.sampling.method, self.scorer.model.registry.count());
        let steps_of = steps.map_or(String::new(), |steps| format!(" of {}", count(steps, "step")));
        let classes = self.classes.classes.len().max(1);
        let what = format!("drawing {} by {method}{steps_of}", count(classes * n as usize, "sample"));
        let batches = batches(n as usize, self.args.evaluation.batch(&self.config.data)).len();
        let mut unfinished = Unfinished::open(unfinished::Options {
            resume: self.args.evaluation.resume,
            output: self.args.out.first().map(PathBuf::as_path),
            parts: classes * batches,
            contents: &[&[&self.checksums[..]], given].concat(),
        })?;
        progress::announce(&self.gpu, &format!("{what}, {parameters} parameters"));
        let draw = |score: &dyn Differentiable| self.draw_class(score, n, steps, draws, &mut unfinished);
        let classes = self.classes.each(&self.scorer, draw)?;
        Ok(Samples { unfinished: Some(unfinished), ..Samples::join(classes) })
    }

    fn draw_class(
        &self,
        score: &dyn Differentiable,
        n: u32,
        steps: Option<usize>,
        draws: &Draws<'_>,
        unfinished: &mut Unfinished,
    ) -> anyhow::Result<Samples<'_>> {
        let (started, range) = (Instant::now(), self.config.data.range());
        let batches = batches(n as usize, self.args.evaluation.batch(&self.config.data));
        let progress = progress::steps(steps.map(|steps| steps * unfinished.left(batches.len())));
        let stop = unfinished.stop().clone();
        let mut animation = self.args.animation.start(steps, range);
        let (mut values, mut evaluations, mut acceptance) = (Vec::new(), 0.0, None);
        for (first, n_batch) in batches {
            let (first, n_batch) = (first as u32, n_batch as u32);
            let draw = Draw::new(self.config.seed).from(self.args.first + first);
            // An animation shows the first batch.
            let mut animation = animation.as_mut().filter(|_| first == 0);
            let (part, (evaluated, accepted)) = unfinished.part(self.shape(n_batch).len(), animation.is_some(), || {
                let x = sample::prior(score, self.shape(n_batch), draw)?;
                if let Some(animation) = &mut animation {
                    animation.record(score, &Progress { step: 0, t: 1.0, state: &x })?;
                }
                let mut watch = |state: Progress<'_>| {
                    progress.step();
                    stop.check()?;
                    animation.as_mut().map_or(Ok(()), |animation| animation.record(score, &state))
                };
                let sampled = draws(score, Part { draw, first, n: n_batch, x }, &mut watch)?;
                let values = sampled.x.read()?;
                ensure!(
                    values.iter().all(|v| v.is_finite()),
                    "the sampler diverged: some samples are not finite; use more --steps or a smaller --snr"
                );
                Ok((values, (sampled.evaluations, sampled.acceptance)))
            })?;
            values.extend(part);
            let share = f64::from(n_batch) / f64::from(n);
            evaluations += evaluated * share;
            acceptance = accepted.map(|accepted: f64| acceptance.unwrap_or(0.0) + accepted * share);
        }
        progress.finish();
        Ok(Samples {
            images: Images::new(shape(&self.config, n as usize), values, range),
            n: n as usize,
            evaluations,
            acceptance,
            animation,
            unfinished: None,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Writes samples to all outputs, and reports them: `what` for people, `more` for machines.
    pub fn finish(
        &self,
        common: &Common,
        samples: Samples<'_>,
        what: &str,
        more: serde_json::Value,
    ) -> anyhow::Result<()> {
        self.args.out.iter().try_for_each(|path| samples.images.write(path, self.args.first))?;
        samples.animation.as_ref().map_or(Ok(()), |animation| animation.write())?;
        if let Some(unfinished) = samples.unfinished {
            unfinished.finish();
        }
        let Samples { n, evaluations, acceptance, seconds, .. } = samples;
        let written: Vec<String> = self.args.paths().map(|path| path.display().to_string()).collect();
        if !common.json {
            let evaluations = report::evaluations(evaluations);
            let accepted =
                acceptance.map(|share| format!(", {:.1} % accepted", 100.0 * share)).unwrap_or_default();
            return report::print(format!(
                "{}, {evaluations} each{accepted}, {seconds:.1} s: {}",
                what,
                written.join(", ")
            ));
        }
        let mut object = serde_json::json!({
            "n": n, "evaluations": evaluations, "acceptance": acceptance, "seconds": seconds, "written": written,
        });
        report::extend(&mut object, self.classes.report());
        report::extend(&mut object, more);
        report::print(object)
    }
}

impl<'a> Samples<'a> {
    /// The images, and the file of the finished batches.
    pub fn into_parts(self) -> (Images, Option<Unfinished>) {
        (self.images, self.unfinished)
    }

    /// Joins the samples of the classes, as many of each; the animation is the first one's.
    fn join(mut classes: Vec<Samples<'a>>) -> Samples<'a> {
        if classes.len() == 1 {
            return classes.remove(0);
        }
        let mean = |f: fn(&Samples<'_>) -> f64| classes.iter().map(f).sum::<f64>() / classes.len() as f64;
        let images = Images::join(&classes.iter().map(|class| &class.images).collect::<Vec<_>>());
        let accepted = classes.iter().all(|class| class.acceptance.is_some());
        Samples {
            n: classes.iter().map(|class| class.n).sum(),
            images,
            evaluations: mean(|class| class.evaluations),
            acceptance: accepted.then(|| mean(|class| class.acceptance.unwrap_or_default())),
            seconds: classes.iter().map(|class| class.seconds).sum(),
            unfinished: None,
            animation: classes.first_mut().and_then(|class| class.animation.take()),
        }
    }
}
