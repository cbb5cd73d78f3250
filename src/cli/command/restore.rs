//! `tweedie restore`.

use crate::cli::io::given::{Input, mask_file};
use crate::cli::io::images::{self as output, Images};
use crate::cli::io::measurement_io::{self as measuring, Residual, of_ones};
use crate::cli::sampling::classes::ClassArgs;
use crate::cli::sampling::options::{Drawing, Drawn, Opened, shape};
use crate::cli::{Common, MANY, MODEL, count, ends_in, note};
use crate::config::{self, Measure, PredictorName, Problem};
use crate::gpu::Gpu;
use crate::random::{Key, Purpose};
use crate::sample::{
    Differentiable, Draw, Guidance, Guided, Measurement, Operator, Particles, PredictorCorrector, Sampled,
    Sampler, Watch, feasible, prior,
};
use crate::tensor::Tensor;
use anyhow::{Context, bail, ensure};
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
pub struct Args {
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

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let drawing = &args.drawing;
    let problem = problem(args)?;
    let gpu = common.open()?;
    let mut model = drawing.open(&args.model, &gpu)?;
    if drawing.predictor.is_none() {
        prefer_the_posteriors_step(&mut model.config.sampling);
    }
    let operator = measuring::operator(&gpu, &problem.measure, shape(&model.config, 1))
        .with_context(|| args.problem.display().to_string())?;
    let operator = &*operator;
    let y = measurements(args, &model, &gpu, operator, problem.noise_std)?.each(args.n)?;
    let asked = args.classes.open(&gpu, &args.model, &model.config)?;
    let restoring = Restoring::new(args, &model, operator, problem.noise_std)?;
    let drawn = asked.each(&model.scorer, |score| {
        drawing.draw(&model, score, y.samples(), restoring.sampler.steps(), &mut |batch, x, watch| {
            let given = y.upload(&gpu, batch.first, batch.n, false)?;
            restoring.draw(score, &given, x, batch.draw, watch)
        })
    })?;
    let mut drawn = Drawn::join(drawn);
    drawn.images = drawn.images.in_columns(y.columns());
    if let Some(path) = &args.measurement {
        Images::unclamped(y.images()).write(path, drawing.first)?;
    }
    drawing.save(&drawn)?;
    let residual = measuring::residual(&gpu, operator, &drawn.images, &y, drawing.batch as usize)?;
    report(common, args, &drawn, &residual, problem.noise_std, &asked.classes)
}

/// The problem that is to be solved, and whatever can be refused before a model is opened.
fn problem(args: &Args) -> anyhow::Result<Problem> {
    let (drawing, name) = (&args.drawing, args.problem.display());
    let read = [&args.model, &args.problem, Path::new(&args.input)];
    drawing.check(args.n.unwrap_or(1), &read)?;
    output::apart(&read, drawing.paths().chain(&args.measurement))?;
    let text = std::fs::read_to_string(&args.problem).with_context(|| format!("{name} cannot be read"))?;
    let problem = Problem::from_toml(&text).with_context(|| format!("{name}"))?;
    if let Measure::Mask { mask: file } = &problem.measure {
        output::apart(mask_file(file).as_slice(), drawing.paths().chain(&args.measurement))?;
    }
    let image = !matches!(problem.measure, Measure::RandomProjection { .. } | Measure::Matrix { .. });
    if let Some(path) = &args.measurement {
        output::check(path, &["png", "npz"])?;
        ensure!(
            image || ends_in(path, "npz"),
            "--measurement {}: these measurements are no image; name a file that ends in .npz",
            path.display()
        );
    }
    Ok(problem)
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
        return measuring::read(&args.input, operator, &model.config.data);
    }
    let images = Input::read_like(&args.input, &model.config.data)?;
    let noise = (noise_std, Key::new(model.config.seed, Purpose::Measurement));
    measuring::simulate(gpu, operator, &images, noise, args.drawing.batch as usize)
}

/// The drawing of restorations.
struct Restoring<'a> {
    operator: &'a dyn Operator,
    sampler: Box<dyn Sampler>,
    particles: Option<Particles>,
    /// The particles that were asked for.
    asked: Option<usize>,
    method: Method,
    /// The standard deviation of the data.
    sigma_data: f64,
    /// In the model's range an image is `scale` x + `offset`,
    scale: f64,
    offset: f64,
    /// and the standard deviation of a measurement's noise this.
    noise_std: f64,
}

impl Restoring<'_> {
    fn new<'a>(
        args: &Args,
        model: &Opened,
        operator: &'a dyn Operator,
        noise_std: f64,
    ) -> anyhow::Result<Restoring<'a>> {
        let (scale, offset) = if model.config.data.centered { (2.0, -1.0) } else { (1.0, 0.0) };
        Ok(Restoring {
            operator,
            sampler: model.sampler(&args.drawing)?,
            particles: particles(args, model)?,
            asked: args.particles,
            method: args.method,
            sigma_data: model.config.model.sigma_data,
            scale,
            offset,
            noise_std: scale * noise_std,
        })
    }

    /// Restores the images whose measurements are `given`, in units of images in [0, 1], from states `x` of the prior. Pictures
    /// hold no more than their range, which a draw leaves by its last noise. One that has diverged is refused later.
    fn draw(
        &self,
        score: &dyn Differentiable,
        given: &Tensor,
        x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> anyhow::Result<Sampled> {
        let ones = of_ones(given.gpu(), self.operator, given.shape().n())?;
        let y = (given * self.scale + &ones * self.offset).run()?;
        let sampled = self.posterior(score, &y, x, draw, watch)?;
        if sampled.x.read()?.iter().any(|v| !v.is_finite()) {
            return Ok(sampled);
        }
        let x = feasible(&self.measurement(y), &sampled.x, (self.offset as f32, 1.0))?;
        Ok(Sampled { x, ..sampled })
    }

    fn guidance<'s>(&self, score: &'s dyn Differentiable) -> Guidance<'s> {
        match self.method {
            Method::Paper => Guidance::Measured(score),
            Method::Pigdm => Guidance::PseudoInverse { score, sigma_data: self.sigma_data },
        }
    }

    fn measurement(&self, y: Tensor) -> Measurement<'_> {
        Measurement { operator: self.operator, y, noise_std: self.noise_std }
    }

    /// Draws given measurements `y` in the model's range.
    fn posterior(
        &self,
        score: &dyn Differentiable,
        y: &Tensor,
        x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> anyhow::Result<Sampled> {
        let guided = |y: Tensor, draw| Guided::new(self.measurement(y), self.guidance(score), draw);
        let Some(particles) = &self.particles else {
            return Ok(self.sampler.run(&guided(y.clone(), draw)?, x, draw, watch)?);
        };
        let (each, own) = (particles.repeat(y)?, particles.of(draw, y.shape().n())?);
        let x = prior(score, x.shape().with_n(each.shape().n()), own)?;
        let sampled = particles.run(&guided(each, own)?, x, draw, watch);
        match self.asked {
            Some(count) => sampled.with_context(|| format!("--particles {count}")),
            None => Ok(sampled?),
        }
    }
}

/// Says how near the restorations are to their measurements.
fn report(
    common: &Common,
    args: &Args,
    drawn: &Drawn<'_>,
    Residual { off, given }: &Residual,
    noise_std: f64,
    classes: &[usize],
) -> anyhow::Result<()> {
    if *off > 1.5 * noise_std + 1e-3 * given {
        note(
            "the restorations are further from the measurements than the noise explains: no pictures near those drawn \
             measure so; are the measurements, what was measured and noise_std right, and --steps enough?",
        );
    }
    let shown = if *off < 1e-3 { format!("{off:.1e}") } else { format!("{off:.4}") };
    let what = count(drawn.n, "restoration");
    let what = format!("{what} whose measurements are {shown} from those given (rms; noise {noise_std:?})");
    let mut more = serde_json::json!({ "residual": off, "noise_std": noise_std });
    if let Some(path) = &args.measurement {
        more["measurement"] = path.display().to_string().into();
    }
    if !classes.is_empty() {
        more["classes"] = classes.into();
    }
    args.drawing.report(common.json, drawn, &what, more)
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

/// The particles that are asked for, or go with the method and the sampler.
fn particles(args: &Args, model: &Opened) -> anyhow::Result<Option<Particles>> {
    let sampling = &model.config.sampling;
    let alone = matches!(args.method, Method::Paper) || sampling.method != config::Method::Pc;
    let of = |count| {
        let of_all = PredictorCorrector::new(sampling, sampling.steps)?;
        Ok(Particles::new(of_all, count, &*model.scorer.model.process)?)
    };
    match args.particles {
        // A predictor without noise has no use for them.
        None if !alone => Ok(of(PARTICLES).ok()),
        None | Some(1) => Ok(None),
        Some(0) => bail!("--particles 0: a sample is chosen from at least one"),
        Some(count) if count > MANY => bail!("--particles {count}: at most {MANY}"),
        Some(count) if alone => {
            bail!("--particles {count}: they go with --method pigdm and --sampler pc; leave them out")
        }
        Some(count) => of(count).map(Some),
    }
}
