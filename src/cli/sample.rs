//! `tweedie sample`.

use super::{Common, classes, open_model, output};
use crate::config::{Config, CorrectorName, Method, PredictorName};
use crate::gpu::Gpu;
use crate::kernels::KernelError;
use crate::sample::{self, Draw, Progress, Sampler, Score};
use crate::tensor::Shape;
use crate::train::Weights;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

/// Draw samples from a model.
///
/// Samples are numbered: sample 7 of a seed is the same picture whether it is drawn alone or among a thousand.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie sample runs/digits -n 64 --out samples.png\n  \
    tweedie sample runs/digits -n 400 --out samples.npz --out samples.png --seed 1\n  \
    tweedie sample runs/digits -n 10 --class all --classifier runs/classifier --out classes.png\n  \
    tweedie sample runs/digits -n 8 --first 8 --steps 200 --animate reverse.gif --out pictures/")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, or a checkpoint
    model: PathBuf,
    /// How many samples, of each class if several are asked for
    #[arg(short, value_name = "N", default_value_t = 64)]
    n: u32,
    /// Where to write: F.png (a grid), F.npz (`samples`, float32 [n, h, w, c] in [0, 1]) or a folder; may be repeated
    #[arg(long, value_name = "F.png|F.npz|DIR", required = true)]
    out: Vec<PathBuf>,
    /// The number of the first sample
    #[arg(long, value_name = "I", default_value_t = 0)]
    first: u32,
    /// The seed [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    /// The sampler [default: the model's]
    #[arg(long, value_enum)]
    sampler: Option<Method>,
    /// Steps of the predictor [default: the model's sampling.steps]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The predictor [default: the model's]
    #[arg(long, value_enum)]
    predictor: Option<PredictorName>,
    /// The corrector [default: the model's]
    #[arg(long, value_enum)]
    corrector: Option<CorrectorName>,
    /// The corrector's signal-to-noise ratio [default: the model's]
    #[arg(long, allow_negative_numbers = true)]
    snr: Option<f64>,
    #[command(flatten)]
    classes: classes::ClassArgs,
    /// Which weights
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// Samples that are drawn at once; it changes nothing but speed and memory
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: u32,
    /// Also write the reverse process as an animation
    #[arg(long, value_name = "F.gif")]
    animate: Option<PathBuf>,
}

/// Steps of a sampler: those asked for, else the configuration's, else those of the process.
pub(super) fn steps(config: &Config, asked: Option<usize>) -> usize {
    let configured = Some(config.sampling.steps).filter(|steps| *steps > 0);
    asked.or(configured).unwrap_or(config.model.num_scales)
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    check(args)?;
    let checkpoint = open_model(&args.model)?;
    let mut config = checkpoint.config().clone();
    config.sampling.method = args.sampler.unwrap_or(config.sampling.method);
    config.sampling.predictor = args.predictor.unwrap_or(config.sampling.predictor);
    config.sampling.corrector = args.corrector.unwrap_or(config.sampling.corrector);
    config.sampling.snr = args.snr.unwrap_or(config.sampling.snr);
    let gpu = common.open()?;
    let scorer = checkpoint.scorer(&gpu, args.weights)?;
    let asked = args.classes.open(&gpu, &args.model, &config)?;
    let sampler = sample::sampler(&config.sampling, &scorer.model.sde, steps(&config, args.steps))?;
    let started = Instant::now();
    let draw = |score: &dyn Score| draw(&gpu, score, &*sampler, &config, args);
    let lots = match &asked {
        Some(asked) => asked.each(&scorer, draw)?,
        None => vec![draw(&scorer)?],
    };
    let (drawn, n) = (Drawn::join(&lots), args.n as usize * lots.len());
    for out in &args.out {
        drawn.images.write(out, args.first)?;
    }
    if let Some(path) = &args.animate {
        output::write_gif(path, &drawn.frames)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let written: Vec<String> =
        args.out.iter().chain(&args.animate).map(|p| p.display().to_string()).collect();
    if common.json {
        let report = serde_json::json!({
            "n": n, "classes": asked.map(|asked| asked.classes), "evaluations": drawn.evaluations, "seconds": seconds, "written": written,
        });
        return super::print(report);
    }
    super::print(format!(
        "{} samples, {} score evaluations each, {seconds:.1} s: {}",
        n,
        drawn.evaluations,
        written.join(", ")
    ))
}

fn check(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.n > 0, "-n 0: ask for at least one sample");
    anyhow::ensure!(args.batch > 0, "--batch 0: at least one sample has to be drawn at once");
    anyhow::ensure!(
        args.first.checked_add(args.n).is_some(),
        "--first {}: there are no such samples",
        args.first
    );
    if let Some(snr) = args.snr {
        anyhow::ensure!(snr.is_finite() && snr >= 0.0, "--snr {snr}: it must be a number from 0 up");
    }
    for path in args.out.iter().chain(&args.animate) {
        output::check(path)?;
    }
    let gif = args.animate.as_ref().is_none_or(|path| path.extension().is_some_and(|e| e == "gif"));
    anyhow::ensure!(gif, "--animate writes a GIF: name a file that ends in .gif");
    Ok(())
}

/// What was drawn at once: all samples, or those of one class.
struct Drawn {
    images: output::Images,
    /// Evaluations of the score for one sample.
    evaluations: f64,
    /// The state along the reverse process, if it is to be shown.
    frames: Vec<output::Images>,
}

impl Drawn {
    /// Lots of as many samples in one.
    fn join(lots: &[Drawn]) -> Drawn {
        let images = |of: &dyn Fn(&Drawn) -> &output::Images| {
            output::Images::join(&lots.iter().map(of).collect::<Vec<_>>())
        };
        let frames = lots.iter().map(|lot| lot.frames.len()).min().unwrap_or(0);
        Drawn {
            images: images(&|lot| &lot.images),
            evaluations: lots.iter().map(|lot| lot.evaluations).sum::<f64>() / lots.len() as f64,
            frames: (0..frames).map(|i| images(&|lot| &lot.frames[i])).collect(),
        }
    }
}

/// Frames of an animation, at most.
const FRAMES: usize = 60;
/// Samples that an animation shows, at most.
const SHOWN: u32 = 64;

fn draw(
    gpu: &Gpu,
    score: &dyn Score,
    sampler: &dyn Sampler,
    config: &Config,
    args: &Args,
) -> anyhow::Result<Drawn> {
    let (size, channels) = (config.data.image_size, config.data.num_channels);
    let shape = |n: u32| Shape::new(n as usize, size, size, channels);
    let seed = args.seed.unwrap_or(config.seed);
    let centered = config.data.centered;
    let batches = (0..args.n).step_by(args.batch as usize);
    let bar = progress(sampler.steps().map(|steps| (steps * batches.len()) as u64));
    let mut values = Vec::new();
    let mut frames = Vec::new();
    let mut evaluations = 0.0;
    let every = sampler.steps().map_or(1, |steps| steps.div_ceil(FRAMES));
    for start in batches {
        let n = args.batch.min(args.n - start);
        let mut watch = |progress: Progress<'_>| {
            bar.inc(1);
            let wanted = progress.step.is_multiple_of(every) || Some(progress.step) == sampler.steps();
            if args.animate.is_some() && start == 0 && wanted {
                let shown = shape(n.min(SHOWN));
                let state = progress.state.read().map_err(KernelError::from)?;
                frames.push(output::Images::new(shown, state[..shown.len()].to_vec(), centered));
            }
            Ok(())
        };
        let draw = Draw { seed, first: args.first + start };
        let x = sample::prior(score, shape(n), draw)?;
        let sampled = sampler.run(score, x, draw, &mut watch)?;
        values.extend(sampled.x.read()?);
        evaluations += sampled.evaluations * f64::from(n) / f64::from(args.n);
    }
    gpu.synchronize()?;
    bar.finish_and_clear();
    anyhow::ensure!(
        values.iter().all(|v| v.is_finite()),
        "the sampler has diverged: some samples are not finite; use more --steps or a smaller --snr"
    );
    Ok(Drawn { images: output::Images::new(shape(args.n), values, centered), evaluations, frames })
}

fn progress(steps: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let Some(steps) = steps else {
        let style = ProgressStyle::with_template("{spinner} {pos} steps, {elapsed}");
        return ProgressBar::new_spinner().with_style(style.unwrap_or(ProgressStyle::default_spinner()));
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, ETA {eta}");
    ProgressBar::new(steps).with_style(style.unwrap_or(ProgressStyle::default_bar()))
}
