//! `tweedie sample`.

use super::{Common, open_model, output, whole};
use crate::config::{Config, CorrectorName, Method, PredictorName};
use crate::gpu::{Bytes, Gpu};
use crate::kernels::KernelError;
use crate::nn::Scorer;
use crate::sample::{self, Draw, Progress, Sampler};
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
    tweedie sample runs/digits -n 8 --first 8 --steps 200 --animate reverse.gif --out pictures/")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, a checkpoint, a folder in Hugging Face's layout, or
    /// hf:OWNER/NAME[@REVISION]
    model: PathBuf,
    /// How many samples
    #[arg(short, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    n: u32,
    /// Where to write: F.png (a grid), F.npz (`samples`, float32 [n, h, w, c] in [0, 1]) or a folder; may be repeated
    #[arg(long, value_name = "F.png|F.npz|DIR", required = true)]
    out: Vec<PathBuf>,
    /// The number of the first sample
    #[arg(long, value_name = "I", default_value_t = 0, allow_negative_numbers = true)]
    first: u32,
    /// The seed [default: the model's]
    #[arg(long, value_parser = whole::<u64>(), allow_negative_numbers = true)]
    seed: Option<u64>,
    /// The sampler [default: the model's]
    #[arg(long, value_enum)]
    sampler: Option<Method>,
    /// Steps of the predictor [default: the model's sampling.steps]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(), allow_negative_numbers = true)]
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
    /// Which weights
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// Samples that are drawn at once; it changes nothing but speed and memory
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
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
    let taken = output::Images::bytes(args.n, image_shape(&config));
    anyhow::ensure!(
        crate::memory::fits(taken),
        "-n {}: so many samples take {}, more than this machine has memory for; draw them in parts, with --first",
        args.n,
        Bytes(taken)
    );
    config.sampling.predictor = args.predictor.unwrap_or(config.sampling.predictor);
    config.sampling.corrector = args.corrector.unwrap_or(config.sampling.corrector);
    config.sampling.snr = args.snr.unwrap_or(config.sampling.snr);
    let gpu = common.open()?;
    let scorer = checkpoint.scorer(&gpu, args.weights)?;
    let sampler = sample::sampler(&config.sampling, &scorer.model.sde, steps(&config, args.steps))?;
    let started = Instant::now();
    let drawn = draw(&gpu, &scorer, &*sampler, &config, args)?;
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
            "n": args.n, "evaluations": drawn.evaluations, "seconds": seconds, "written": written,
        });
        return super::print(report);
    }
    super::print(format!(
        "{} samples, {} score evaluations each, {seconds:.1} s: {}",
        args.n,
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
    for path in &args.out {
        output::check(path, &["png", "npz"])?;
    }
    let Some(film) = &args.animate else { return Ok(()) };
    let gif = film.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gif"));
    anyhow::ensure!(gif, "--animate writes a GIF: name a file that ends in .gif");
    output::check(film, &["gif"])
}

/// `[1, h, w, c]`.
fn image_shape(config: &Config) -> Shape {
    let (size, channels) = (config.data.image_size, config.data.num_channels);
    Shape::new(1, size, size, channels)
}

struct Drawn {
    images: output::Images,
    /// Evaluations of the score for one sample.
    evaluations: f64,
    /// The state along the reverse process, if it is to be shown.
    frames: Vec<output::Images>,
}

/// Frames of an animation, at most.
const FRAMES: usize = 60;
/// Samples that an animation shows, at most.
const SHOWN: u32 = 64;

fn draw(
    gpu: &Gpu,
    scorer: &Scorer,
    sampler: &dyn Sampler,
    config: &Config,
    args: &Args,
) -> anyhow::Result<Drawn> {
    let shape = |n: u32| image_shape(config).with_n(n as usize);
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
        let x = sample::prior(scorer, shape(n), draw)?;
        let sampled = sampler.run(scorer, x, draw, &mut watch)?;
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
