//! `tweedie restore`.

use super::classes::ClassArgs;
use super::drawing::{Drawing, Drawn, Opened, shape};
use super::image_input::{Input, read_mask};
use super::input::floats;
use super::output::Images;
use super::tensors::Batch;
use super::{Common, MODEL, batches, count, ends_in, note};
use crate::config::{self, Measure, PredictorName, Problem};
use crate::gpu::Gpu;
use crate::kernels::concat;
use crate::kernels::sde_step::sde_step;
use crate::random::{Key, Purpose};
use crate::sample::{
    Guidance, Guided, Mask, Matrix, Measurement, Operator, Particles, PredictorCorrector, Resampling,
    Sampled, into_range, prior,
};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Restore images from measurements y = A x + n: linear inverse problems.
///
/// A problem is a small TOML file: `kind`, what belongs to it, and `noise_std`, the standard deviation of n for images in
/// [0, 1], 0 if it is left out. Samples are drawn given the measurement, with any sampler; unless --predictor names one,
/// ancestral sampling takes the place of a model's own reverse diffusion. What is written is in [0, 1] and, where a picture
/// near what was drawn can be, no further from the measurement than the noise.
///
///   kind = "super_resolution"   factor = 4: means of squares of 4x4 pixels
///   kind = "deblur"             sigma = 1.0, size = 5 (pixels); or kernel = [1, 2, 1] along rows and columns
///   kind = "mask"               mask = "left", or the path of a PNG that is white where pixels are measured
///   kind = "random_projection"  rows = 16, seed = 0: orthonormal random directions
///   kind = "matrix"             file = "a.npy": [rows, h, w, c]
///
/// Paths in it are from the folder that the program runs in.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:\n  \
    tweedie restore runs/digits --problem super.toml --in data:digits:3 --simulate -n 8 --out restored.png\n  \
    tweedie restore runs/digits --problem super.toml --in measured.npz --out restored.npz"
)]
pub(super) struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// What was measured, and how noisy
    #[arg(long, value_name = "P.toml")]
    problem: PathBuf,
    /// The measurements: F.npz (`samples`, [n, h, w, c]), F.png or F.safetensors; with --simulate the images themselves,
    /// or data:digits:I, or I-J for several
    #[arg(long = "in", value_name = "Y")]
    input: String,
    /// Measure the images that --in names, instead of taking them for measurements
    #[arg(long)]
    simulate: bool,
    /// Also write the measurements: F.npz, which --in takes, or F.png to look at if they are images
    #[arg(long, value_name = "F.npz|F.png")]
    measurement: Option<PathBuf>,
    /// How the measurement guides the model
    #[arg(long, value_enum, default_value_t = Method::Pigdm)]
    method: Method,
    /// Particles that a sample is chosen from step by step (Wu 2023): the more, the closer draws are to the posterior, and
    /// the more evaluations they cost. They go with pigdm and the sampler pc [default: 4, and 1 otherwise]
    #[arg(long, value_name = "P")]
    particles: Option<usize>,
    /// How many restorations of each measurement [default: 1]
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    drawing: Drawing,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Method {
    /// Noisy states are held against noisy measurements (Song 2021, appendix I.4); one evaluation of the network
    Paper,
    /// Pseudo-inverse guidance through the network's adjoint (Song 2023); closer, an evaluation and its adjoint
    Pigdm,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let drawing = &args.drawing;
    let read = [&args.model, &args.problem, Path::new(&args.input)];
    drawing.check(args.n.unwrap_or(1), &read)?;
    args.measurement.as_ref().map_or(Ok(()), |path| super::output::check(path, &["png", "npz"]))?;
    let name = args.problem.display();
    let text = std::fs::read_to_string(&args.problem).with_context(|| format!("{name} cannot be read"))?;
    let problem = Problem::from_toml(&text).with_context(|| format!("{name}"))?;
    let image = !matches!(problem.measure, Measure::RandomProjection { .. } | Measure::Matrix { .. });
    if let Some(path) = args.measurement.as_ref().filter(|path| !image && !ends_in(path, "npz")) {
        bail!(
            "--measurement {}: these measurements are no image; name a file that ends in .npz",
            path.display()
        );
    }
    super::output::apart(&read, drawing.paths().chain(&args.measurement))?;
    let gpu = common.open()?;
    let mut model = drawing.open(&args.model, &gpu)?;
    if drawing.predictor.is_none() {
        prefer_the_posteriors_step(&mut model.config.sampling);
    }
    let operator =
        operator(&gpu, &problem.measure, shape(&model.config, 1)).with_context(|| format!("{name}"))?;
    let y = measurements(args, &model, &gpu, &*operator, problem.noise_std)?;
    let y = y.each(args.n)?;
    let asked = args.classes.open(&gpu, &args.model, &model.config)?;
    let sampler = model.sampler(drawing)?;
    let particles = particles(args, &model)?;
    let guidance = match args.method {
        Method::Paper => Guidance::Measured,
        Method::Pigdm => Guidance::PseudoInverse { sigma_data: model.config.model.sigma_data },
    };
    // In the model's range, 2 x − 1 if it is centred, y is 2 y − A 1.
    let centered = model.config.data.centered;
    let scale = if centered { 2.0 } else { 1.0 };
    let (shift, noise_std) = (of_ones(&gpu, &*operator)?, scale * problem.noise_std);
    let offset = if centered { -1.0 } else { 0.0 };
    // Pictures hold no more than their range, which a draw leaves by its last noise. One that has diverged is refused later.
    let finish = |y: Tensor, sampled: Sampled| -> anyhow::Result<Sampled> {
        if sampled.x.read()?.iter().any(|v| !v.is_finite()) {
            return Ok(sampled);
        }
        let measurement = Measurement { operator: &*operator, y, noise_std };
        let x = into_range(&measurement, &sampled.x, (offset as f32, 1.0))?;
        Ok(Sampled { x, ..sampled })
    };
    let drawn = asked.each(&model.scorer, |score| {
        drawing.draw(&model, score, y.samples(), sampler.steps(), &mut |batch, x, watch| {
            let given = y.upload(&gpu, batch.first, batch.n, false)?;
            let shift = concat::gather(&shift, &shift, &vec![0; batch.n as usize])?;
            let y = sde_step(&[(&given, scale), (&shift, offset)], None)?;
            let guided = |y, draw| {
                Guided::new(score, Measurement { operator: &*operator, y, noise_std }, guidance, draw)
            };
            let Some(particles) = &particles else {
                let guided = guided(y.clone(), batch.draw)?;
                return finish(y, sampler.run(&guided, x, batch.draw, watch)?);
            };
            let (each, draw) = (particles.repeat(&y)?, particles.of(batch.draw, batch.n as usize)?);
            let x = prior(score, shape(&model.config, each.shape().n() as u32), draw)?;
            let sampled = particles.run(&guided(each, draw)?, x, batch.draw, watch);
            let sampled = match args.particles {
                Some(count) => sampled.with_context(|| format!("--particles {count}"))?,
                None => sampled?,
            };
            finish(y, sampled)
        })
    })?;
    let mut drawn = Drawn::join(drawn);
    drawn.images = drawn.images.in_columns(y.columns());
    if let Some(path) = &args.measurement {
        Images::unclamped(y.images()).write(path, drawing.first)?;
    }
    drawing.save(&drawn)?;
    let Residual { off: residual, given } =
        residual(&gpu, &*operator, &drawn.images, &y, drawing.batch as usize)?;
    if residual > 1.5 * problem.noise_std + 1e-3 * given {
        note(
            "the restorations are further from the measurements than the noise explains: no pictures near those drawn \
             measure so; are the measurements, what was measured and noise_std right?",
        );
    }
    let shown = if residual < 1e-3 { format!("{residual:.1e}") } else { format!("{residual:.4}") };
    let what = format!(
        "{} whose measurements are {shown} from those given (rms; noise {})",
        count(drawn.n, "restoration"),
        problem.noise_std
    );
    let mut more = serde_json::json!({ "residual": residual, "noise_std": problem.noise_std });
    if let Some(path) = &args.measurement {
        more["measurement"] = path.display().to_string().into();
    }
    if !asked.classes.is_empty() {
        more["classes"] = asked.classes.into();
    }
    drawing.report(common.json, &drawn, &what, more)
}

/// Takes ancestral sampling in the place of reverse diffusion, whose steps add noise of the variance that the forward
/// step has. On VE that is more than the state's posterior has: 5 % of σ² in 60 steps, which a measurement that is looked
/// at again shows. On VP DDPM's steps add as much as it does.
fn prefer_the_posteriors_step(sampling: &mut config::Sampling) {
    if sampling.predictor == PredictorName::ReverseDiffusion && !sampling.probability_flow {
        sampling.predictor = PredictorName::AncestralSampling;
    }
}

/// Particles that are chosen from, if more than one.
const PARTICLES: usize = 4;
/// More than a device holds, and few enough to count.
const MOST_PARTICLES: usize = 65_535;

/// The particles that are asked for, or go with the method and the sampler.
fn particles(args: &Args, model: &Opened) -> anyhow::Result<Option<Particles>> {
    let sampling = &model.config.sampling;
    let alone = matches!(args.method, Method::Paper) || sampling.method != config::Method::Pc;
    let of = |count| {
        let of_all = PredictorCorrector::new(model.scorer.model.sde, sampling, sampling.steps)?;
        Ok(Particles::new(of_all, count)?)
    };
    match args.particles {
        // A predictor without noise has no use for them.
        None if !alone => Ok(of(PARTICLES).ok()),
        None | Some(1) => Ok(None),
        Some(0) => bail!("--particles 0: a sample is chosen from at least one"),
        Some(count) if count > MOST_PARTICLES => bail!("--particles {count}: at most {MOST_PARTICLES}"),
        Some(count) if alone => {
            bail!("--particles {count}: they go with --method pigdm and --sampler pc; leave them out")
        }
        Some(count) => of(count).map(Some),
    }
}

/// What a problem measures of images `[1, h, w, c]`.
fn operator(gpu: &Gpu, measure: &Measure, input: Shape) -> anyhow::Result<Box<dyn Operator>> {
    Ok(match measure {
        Measure::SuperResolution { factor } => Box::new(Resampling::mean(input, *factor)?),
        Measure::Deblur { .. } => Box::new(Resampling::blur(input, &measure.kernel()?)?),
        Measure::Mask { mask } => Box::new(Mask::new(gpu, input, &read_mask(mask, input)?)?),
        Measure::RandomProjection { rows, seed } => Box::new(Matrix::random(gpu, input, *rows, *seed)?),
        Measure::Matrix { file } => Box::new(Matrix::new(gpu, input, &read_rows(file, input)?)?),
    })
}

/// The rows of a matrix of images in a file, one after the other.
fn read_rows(path: &Path, input: Shape) -> anyhow::Result<Vec<f64>> {
    let read = || -> anyhow::Result<_> {
        let bytes = std::fs::read(path)?;
        floats(npyz::NpyFile::new(&bytes[..])?)
    };
    let (shape, values) = read().with_context(|| format!("{} cannot be read as .npy", path.display()))?;
    let row = [input.h(), input.w(), input.c()];
    let fits = shape.split_first().is_some_and(|(_, rest)| rest == row || rest == [input.len()]);
    anyhow::ensure!(
        fits,
        "{} is an array {shape:?} and does not fit: [rows, {}, {}, {}] or [rows, {}] does",
        path.display(),
        row[0],
        row[1],
        row[2],
        input.len()
    );
    Ok(values)
}

/// The measurements in units of images in [0, 1]: those given, or those of the images given.
fn measurements(
    args: &Args,
    model: &Opened,
    gpu: &Gpu,
    operator: &dyn Operator,
    noise_std: f64,
) -> anyhow::Result<Input> {
    if !args.simulate {
        let expected = operator.output();
        let y = Input::read(&args.input, expected.c(), &model.config.data)?;
        let is = y.shape.with_n(1);
        if is != expected {
            let told = |Shape([_, h, w, c]): Shape| format!("{h}x{w}x{c}");
            let hint = if is == operator.input() { "; with --simulate an image is measured" } else { "" };
            bail!(
                "{} holds {} numbers each, a measurement has {}{hint}",
                args.input,
                told(is),
                told(expected)
            );
        }
        return Ok(y);
    }
    let images = Input::read_like(&args.input, &model.config.data)?;
    let key = Key::new(model.config.seed, Purpose::Measurement);
    let mut values = Vec::new();
    for (first, n) in batches(images.shape.n(), args.drawing.batch as usize) {
        let (first, n) = (first as u32, n as u32);
        let image = operator.apply(&images.upload(gpu, first, n, false)?)?;
        let noisy = sde_step(&[(&image, 1.0)], Some((noise_std, key.from(first))))?;
        values.extend(operator.measured(noisy)?.read()?);
    }
    Ok(Input::new(Batch { shape: operator.output().with_n(images.shape.n()), values }))
}

/// A 1.
fn of_ones(gpu: &Gpu, operator: &dyn Operator) -> anyhow::Result<Tensor> {
    let input = operator.input();
    Ok(operator.apply(&Tensor::from_slice(gpu, input, &vec![1.0; input.len()])?)?)
}

/// Root mean squares over all that is measured.
struct Residual {
    /// Of A x − y, for images as they are written.
    off: f64,
    /// Of y.
    given: f64,
}

/// How far images, as they are written, are from their measurements; `batch` of them are looked at at once.
fn residual(
    gpu: &Gpu,
    operator: &dyn Operator,
    images: &Images,
    y: &Input,
    batch: usize,
) -> anyhow::Result<Residual> {
    let one = operator.input();
    let square = |x: &Tensor| anyhow::Ok(x.read()?.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>());
    let all = images.values().len() / one.len();
    let (mut off, mut given) = (0.0, 0.0);
    for (first, n) in batches(all, batch) {
        let drawn = &images.values()[first * one.len()..][..n * one.len()];
        let x = Tensor::from_slice(gpu, one.with_n(n), drawn)?;
        let y = operator.measured(y.upload(gpu, first as u32, n as u32, false)?)?;
        off += square(&sde_step(&[(&operator.apply(&x)?, 1.0), (&y, -1.0)], None)?)?;
        given += square(&y)?;
    }
    let ones = Tensor::from_slice(gpu, operator.output(), &vec![1.0; operator.output().len()])?;
    let measured = square(&operator.measured(ones)?)? * all as f64;
    Ok(Residual { off: (off / measured).sqrt(), given: (given / measured).sqrt() })
}
