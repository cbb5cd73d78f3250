//! What all commands share that draw samples: their options, the batches, the progress bar.

use crate::cli::io::animation::{Film, FilmArgs};
use crate::cli::io::images::{self as output, Images};
use crate::cli::{batches, choice, open_score_model};
use crate::config::{
    Config, ConfigError, CorrectorName, MAX_ETA, Method, Over, PredictorName, Sampling, Schedule,
};
use crate::gpu::{Bytes, Gpu};
use crate::nn::Scorer;
use crate::sample::{
    self, AnnealedLangevin, Constrained, Draw, PredictorCorrector, Progress, Sampled, Sampler, Score, Watch,
};
use crate::tensor::{Shape, Tensor};
use crate::train::Weights;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How samples are drawn, and where they go.
#[derive(clap::Args)]
pub struct Drawing {
    /// Where to write: F.png (a grid, enlarged to look at), F.npz (`samples`, float32 [n, h, w, c] in [0, 1]) or a folder; may be repeated
    #[arg(long, value_name = "F.png|F.npz|DIR", required = true)]
    pub out: Vec<PathBuf>,
    /// The number of the first sample
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub first: u32,
    /// The seed [default: the model's]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The sampler [default: the model's]
    #[arg(long, value_parser = choice::<Method>())]
    pub sampler: Option<Method>,
    /// Steps [default: the model's sampling.steps, or as many as another sampler than its own needs]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// The predictor [default: the model's]
    #[arg(long, value_parser = choice::<PredictorName>())]
    pub predictor: Option<PredictorName>,
    /// The corrector [default: the model's]
    #[arg(long, value_parser = choice::<CorrectorName>())]
    pub corrector: Option<CorrectorName>,
    /// The corrector's signal-to-noise ratio [default: the model's]
    #[arg(long)]
    pub snr: Option<f64>,
    /// Corrector steps at each time, Langevin steps at each level [default: the model's]
    #[arg(long, value_name = "N")]
    pub corrector_steps: Option<u16>,
    /// The noise levels of a solver with a grid [default: the model's, or the solver's own]
    #[arg(long, value_parser = choice::<Schedule>())]
    pub schedule: Option<Schedule>,
    /// The least noise level of a solver with a grid, before the data: the steps are spent above it [default: the model's,
    /// or the least it knows]
    #[arg(long, value_name = "SIGMA")]
    pub sigma_min: Option<f64>,
    /// The relative tolerance of an adaptive solver [default: the model's]
    #[arg(long)]
    pub rtol: Option<f64>,
    /// The absolute tolerance of an adaptive solver, in the model's range [default: the model's]
    #[arg(long)]
    pub atol: Option<f64>,
    /// Whether adaptive samplers control each sample by its own error, or the batch jointly [default: the model's]
    #[arg(long, value_parser = choice::<Over>())]
    pub error_norm: Option<Over>,
    /// How much noise stochastic Heun adds anew: EDM's S_churn [default: the model's]
    #[arg(long)]
    pub churn: Option<f64>,
    /// How random DDIM and DPM-Solver++ are: 0 follows the flow, 1 the reverse-time SDE; from 1 to 2 it scales that SDE's
    /// noise [default: the model's]
    #[arg(long)]
    pub eta: Option<f64>,
    /// Which weights
    #[arg(long, value_parser = choice::<Weights>(), default_value_t = Weights::Ema)]
    pub weights: Weights,
    /// Samples that are drawn at once; it changes nothing but speed and memory, and how many a film shows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch: u32,
    #[command(flatten)]
    pub film: FilmArgs,
}

impl Drawing {
    /// Refuses what cannot be, for `n` samples and with what is read in files.
    pub fn check(&self, n: u32, read: &[&Path]) -> anyhow::Result<()> {
        anyhow::ensure!(n > 0, "-n 0: ask for at least one sample");
        anyhow::ensure!(self.batch > 0, "--batch 0: at least one sample has to be drawn at once");
        if let Some(snr) = self.snr {
            anyhow::ensure!(snr.is_finite() && snr >= 0.0, "--snr {snr}: it must be a number from 0 up");
        }
        anyhow::ensure!(
            self.corrector_steps != Some(0),
            "--corrector-steps 0: ask for at least one, or for --corrector none"
        );
        for (option, value) in [("rtol", self.rtol), ("atol", self.atol), ("sigma-min", self.sigma_min)] {
            if let Some(value) = value {
                anyhow::ensure!(
                    value.is_finite() && value > 0.0,
                    "--{option} {value}: it must be a number above 0"
                );
            }
        }
        if let Some(churn) = self.churn {
            anyhow::ensure!(
                churn.is_finite() && churn >= 0.0,
                "--churn {churn}: it must be a number from 0 up"
            );
        }
        if let Some(eta) = self.eta {
            let range = 0.0..=MAX_ETA;
            anyhow::ensure!(
                range.contains(&eta),
                "--eta {eta}: it must be a number from 0 to {}",
                range.end()
            );
        }
        self.film.check()?;
        self.out.iter().try_for_each(|path| output::check(path, &["png", "npz"]))?;
        output::apart(read, self.paths())
    }

    /// All that is written.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.out.iter().chain(self.film.paths())
    }

    /// Refuses options that a sampler has no use for.
    fn refuse_idle(&self, method: Method, corrector: CorrectorName) -> anyhow::Result<()> {
        let (pc, adaptive) = (method == Method::Pc, method.is_adaptive());
        let multistep = matches!(method, Method::Ddim | Method::Dpmpp2m | Method::Dpmpp3m);
        let options = [
            ("steps", self.steps.is_some(), !adaptive),
            ("predictor", self.predictor.is_some(), pc),
            ("corrector", self.corrector.is_some(), pc),
            ("snr", self.snr.is_some(), pc),
            ("corrector-steps", self.corrector_steps.is_some(), pc || method == Method::Ald),
            ("schedule", self.schedule.is_some(), method.has_grid()),
            ("sigma-min", self.sigma_min.is_some(), method.has_grid()),
            ("rtol", self.rtol.is_some(), adaptive),
            ("atol", self.atol.is_some(), adaptive),
            ("error-norm", self.error_norm.is_some(), adaptive),
            ("churn", self.churn.is_some(), method == Method::StochasticHeun),
            ("eta", self.eta.is_some(), multistep),
        ];
        refuse_idle(method, &options)?;
        let corrected = !pc || corrector != CorrectorName::None;
        for (option, asked) in
            [("snr", self.snr.is_some()), ("corrector-steps", self.corrector_steps.is_some())]
        {
            anyhow::ensure!(
                !asked || corrected,
                "--{option}: there is no corrector that takes it; leave it out, or add --corrector langevin"
            );
        }
        Ok(())
    }

    /// Reads a model, with these options in the place of its own.
    pub fn open(&self, model: &Path, gpu: &Gpu) -> anyhow::Result<Opened> {
        let checkpoint = open_score_model(model)?;
        let mut config = checkpoint.config().clone();
        override_sampling(&mut config.sampling, self);
        config.sampling.steps = steps(&config, self.steps);
        let asked = [("steps", self.steps.is_some()), ("sigma-min", self.sigma_min.is_some())];
        config.check().map_err(|error| of_option(error, &asked))?;
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(Opened { scorer: checkpoint.scorer(gpu, self.weights)?, config })
    }

    /// Draws `n` samples of a score in batches: `run` is given the states to begin at, in a sampler of so many steps if that is known.
    pub fn draw(
        &self,
        Opened { config, .. }: &Opened,
        score: &dyn Score,
        n: u32,
        steps: Option<usize>,
        run: &mut dyn FnMut(Batch, Tensor, &mut Watch<'_>) -> anyhow::Result<Sampled>,
    ) -> anyhow::Result<Drawn<'_>> {
        let (first, last) = (self.first, self.first.checked_add(n));
        anyhow::ensure!(
            last.is_some(),
            "--first {first}: samples are numbered up to {}; begin before",
            u32::MAX
        );
        let taken = Images::bytes(n, shape(config, 1));
        anyhow::ensure!(
            crate::memory::fits(taken),
            "-n {n}: so many samples take {}, more than this machine has memory for; draw them in parts, with --first",
            Bytes(taken)
        );
        let started = Instant::now();
        let batches = batches(n as usize, self.batch as usize);
        let bar = progress(steps.map(|steps| (steps * batches.len()) as u64));
        let mut film = self.film.start(steps, config.data.centered);
        let (mut values, mut evaluations, mut acceptance) = (Vec::new(), 0.0, None);
        for (first, size) in batches {
            let (first, size) = (first as u32, size as u32);
            let draw = Draw::new(config.seed).from(self.first + first);
            let x = sample::prior(score, shape(config, size), draw)?;
            // The first batch is what a film shows.
            let mut film = film.as_mut().filter(|_| first == 0);
            if let Some(film) = &mut film {
                film.see(score, &Progress { step: 0, t: 1.0, state: &x })?;
            }
            let mut watch = |progress: Progress<'_>| {
                bar.inc(1);
                film.as_mut().map_or(Ok(()), |film| film.see(score, &progress))
            };
            let sampled = run(Batch { draw, first, n: size }, x, &mut watch)?;
            values.extend(sampled.x.read()?);
            let share = f64::from(size) / f64::from(n);
            evaluations += sampled.evaluations * share;
            acceptance = sampled.acceptance.map(|accepted| acceptance.unwrap_or(0.0) + accepted * share);
        }
        bar.finish_and_clear();
        anyhow::ensure!(
            values.iter().all(|v| v.is_finite()),
            "the sampler has diverged: some samples are not finite; use more --steps or a smaller --snr"
        );
        let images = Images::new(shape(config, n), values, config.data.centered);
        Ok(Drawn {
            n: n as usize,
            images,
            evaluations,
            acceptance,
            film,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Writes what was drawn.
    pub fn save(&self, drawn: &Drawn<'_>) -> anyhow::Result<()> {
        self.out.iter().try_for_each(|path| drawn.images.write(path, self.first))?;
        drawn.film.as_ref().map_or(Ok(()), |film| film.write())
    }

    /// Says that it has been written: `what` it is, and `more` for machines.
    pub fn report(
        &self,
        json: bool,
        drawn: &Drawn<'_>,
        what: &str,
        more: serde_json::Value,
    ) -> anyhow::Result<()> {
        let Drawn { n, evaluations, acceptance, seconds, .. } = drawn;
        let written: Vec<String> = self.paths().map(|path| path.display().to_string()).collect();
        if !json {
            let files = written.join(", ");
            let evaluations = (10.0 * evaluations).round() / 10.0;
            let accepted = acceptance.map(|share| format!(", {:.1} % accepted", 100.0 * share));
            let accepted = accepted.unwrap_or_default();
            return crate::cli::print(format!(
                "{what}, {evaluations} score evaluations each{accepted}, {seconds:.1} s: {files}"
            ));
        }
        let mut report = serde_json::json!({
            "n": n, "evaluations": evaluations, "acceptance": acceptance, "seconds": seconds, "written": written,
        });
        crate::cli::extend(&mut report, more);
        crate::cli::print(report)
    }
}

/// A model that is drawn from.
pub struct Opened {
    /// Its configuration, with what the command line says of sampling.
    pub config: Config,
    /// The model on the device.
    pub scorer: Scorer,
}

impl Opened {
    /// The sampler that the configuration describes, if it has a use for all that is asked for.
    pub fn sampler(&self, asked: &Drawing) -> anyhow::Result<Box<dyn Sampler>> {
        let sampling = &self.config.sampling;
        asked.refuse_idle(sampling.method, sampling.corrector)?;
        Ok(sample::sampler(sampling, sampling.steps)?)
    }

    /// A sampler into which known values can be put: the configuration's, or predictor–corrector if that is none.
    pub fn constrained(&self, asked: &Drawing) -> anyhow::Result<Box<dyn Constrained>> {
        let takes_known = |method| matches!(method, Method::Pc | Method::Ald);
        anyhow::ensure!(
            asked.sampler.is_none_or(takes_known),
            "--sampler: known values are put into the samplers pc and ald; name one of them, or leave it out"
        );
        let mut config = self.config.clone();
        if !takes_known(config.sampling.method) {
            config.sampling.set_method(Method::Pc);
        }
        let Sampling { method, corrector, .. } = config.sampling;
        asked.refuse_idle(method, corrector)?;
        let steps = steps(&config, asked.steps);
        Ok(match method {
            Method::Ald => Box::new(AnnealedLangevin::new(&config.sampling, steps)?),
            _ => Box::new(PredictorCorrector::new(&config.sampling, steps)?),
        })
    }
}

/// Some of a run's samples.
#[derive(Clone, Copy)]
pub struct Batch {
    /// Their numbers.
    pub draw: Draw,
    /// The first of them, counted from the run's first.
    pub first: u32,
    /// How many.
    pub n: u32,
}

/// What was drawn.
pub struct Drawn<'a> {
    /// How many samples.
    pub n: usize,
    /// The samples.
    pub images: Images,
    /// Evaluations of the score for one sample.
    evaluations: f64,
    /// The share of proposals that a corrector accepted, if it tests them.
    acceptance: Option<f64>,
    film: Option<Film<'a>>,
    seconds: f64,
}

impl<'a> Drawn<'a> {
    /// One or more lots of as many samples, one after the other; the first is what a film shows.
    pub fn join(mut lots: Vec<Drawn<'a>>) -> Drawn<'a> {
        if lots.len() == 1 {
            return lots.remove(0);
        }
        let mean = |f: fn(&Drawn<'_>) -> f64| lots.iter().map(f).sum::<f64>() / lots.len() as f64;
        let images = Images::join(&lots.iter().map(|lot| &lot.images).collect::<Vec<_>>());
        let acceptance = lots.iter().all(|lot| lot.acceptance.is_some());
        Drawn {
            n: lots.iter().map(|lot| lot.n).sum(),
            images,
            evaluations: mean(|lot| lot.evaluations),
            acceptance: acceptance.then(|| mean(|lot| lot.acceptance.unwrap_or_default())),
            seconds: lots.iter().map(|lot| lot.seconds).sum(),
            film: lots.first_mut().and_then(|lot| lot.film.take()),
        }
    }
}

/// Refuses options that a sampler has no use for: of each its name, whether it is asked for, and whether the sampler uses it.
pub fn refuse_idle(method: Method, options: &[(&str, bool, bool)]) -> anyhow::Result<()> {
    for (option, asked, used) in options {
        anyhow::ensure!(!asked || *used, "--{option}: the sampler {method} has no use for it; leave it out");
    }
    Ok(())
}

/// What is wrong with a key of `sampling`, told of the option that has set it: of each its name, and whether it is asked for.
pub fn of_option(error: ConfigError, options: &[(&str, bool)]) -> anyhow::Error {
    if let ConfigError::Value { key, value, why } = &error {
        let name = key.strip_prefix("sampling.").unwrap_or_default().replace('_', "-");
        if options.contains(&(name.as_str(), true)) {
            return anyhow::anyhow!("--{name} {value}: {why}");
        }
    }
    error.into()
}

/// The images that a model makes.
pub fn shape(config: &Config, n: u32) -> Shape {
    let size = config.data.image_size;
    Shape::new(n as usize, size, size, config.data.num_channels)
}

/// Steps of a sampler: those asked for, else the configuration's, else those of the method or of the process.
pub fn steps(config: &Config, asked: Option<usize>) -> usize {
    let configured = Some(config.sampling.steps).filter(|steps| *steps > 0);
    let usual = || config.sampling.method.default_steps().unwrap_or(config.model.num_scales);
    asked.or(configured).unwrap_or_else(usual)
}

/// What is asked for in place of what the model's configuration says.
fn override_sampling(sampling: &mut Sampling, asked: &Drawing) {
    fn set<T: Copy>(value: &mut T, asked: Option<T>) {
        *value = asked.unwrap_or(*value);
    }
    sampling.set_method(asked.sampler.unwrap_or(sampling.method));
    set(&mut sampling.predictor, asked.predictor);
    set(&mut sampling.corrector, asked.corrector);
    set(&mut sampling.snr, asked.snr);
    set(&mut sampling.n_steps_each, asked.corrector_steps);
    set(&mut sampling.error_norm, asked.error_norm);
    set(&mut sampling.s_churn, asked.churn);
    set(&mut sampling.eta, asked.eta);
    for rtol in [&mut sampling.rtol, &mut sampling.sde_rtol] {
        set(rtol, asked.rtol);
    }
    for atol in [&mut sampling.atol, &mut sampling.sde_atol] {
        set(atol, asked.atol);
    }
    sampling.schedule = asked.schedule.or(sampling.schedule);
    sampling.sigma_min = asked.sigma_min.or(sampling.sigma_min);
}

/// A bar of so many steps on a terminal, nothing elsewhere.
pub fn progress(steps: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let Some(steps) = steps else {
        let style = ProgressStyle::with_template("{spinner} {pos} steps{msg}, {elapsed}");
        return ProgressBar::new_spinner().with_style(style.unwrap_or(ProgressStyle::default_spinner()));
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, ETA {eta}");
    ProgressBar::new(steps).with_style(style.unwrap_or(ProgressStyle::default_bar()))
}
