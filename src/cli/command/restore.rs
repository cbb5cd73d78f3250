//! `tweedie restore`.

use crate::cli::Common;
use crate::cli::arguments::MANY;
use crate::cli::io::images::Images;
use crate::cli::io::measurement_io::{self, Residual, of_ones};
use crate::cli::io::model::MODEL;
use crate::cli::io::observed::{Observed, mask_file};
use crate::cli::io::paths::{self, ends_in};
use crate::cli::report::{count, note};
use crate::cli::sampling::options::{ConditionalArgs, Model};
use crate::cli::sampling::sampling_loop::Samples;
use crate::config::{self, Measure, PredictorName, Problem};
use crate::random::{Key, Purpose};
use crate::sample::{
    Differentiable, Draw, Guidance, Guided, Measurement, Operator, Particles, PredictorCorrector, Sampled,
    Sampler, Watch, feasible, prior,
};
use crate::tensor::Tensor;
use anyhow::{Context, bail, ensure};
use std::path::PathBuf;

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
    mut_arg("input", |arg| arg.value_name("Y").help(
        "The measurements: F.npz (`samples`, [n, h, w, c]), F.png or F.safetensors; with --simulate the images themselves, \
         or data:digits:I, or I-J for several")),
    after_help = "Examples:\n  \
    tweedie restore runs/digits --problem super.toml --in data:digits:3 --simulate -n 8 --out restored.png\n  \
    tweedie restore runs/digits --problem super.toml --in measured.npz --out restored.npz"
)]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The measurement and its noise
    #[arg(long, value_name = "P.toml")]
    problem: PathBuf,
    /// Treat the input as images, and measure them first
    #[arg(long)]
    simulate: bool,
    /// Also write the measurements: F.npz, which --in takes, or F.png to look at if they are images
    #[arg(long, value_name = "F.npz|F.png")]
    measurement: Option<PathBuf>,
    /// How the measurement guides the model
    #[arg(long, value_enum, default_value_t = Method::Pigdm)]
    method: Method,
    /// Particles that each sample is selected from step by step (Wu 2023): more are closer to the posterior and cost more
    /// evaluations. Only for pigdm with the sampler pc [default: 4, and 1 otherwise]
    #[arg(long, value_name = "P")]
    particles: Option<usize>,
    #[command(flatten)]
    given: ConditionalArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Method {
    /// Noisy states are held against noisy measurements (Song 2021, appendix I.4); one evaluation of the network
    Paper,
    /// Pseudo-inverse guidance through the network's adjoint (Song 2023); closer, an evaluation and its adjoint
    Pigdm,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let problem = problem(args)?;
    let mut model = args.given.sampling.open(common, &args.model, false)?;
    if model.args.flags.get("predictor").is_none() {
        prefer_ancestral_sampling(&mut model.config.sampling);
    }
    let operator = measurement_io::operator(&model.gpu, &problem.measure, model.shape(1))
        .with_context(|| args.problem.display().to_string())?;
    let y = measurements(args, &model, &*operator, problem.noise_std)?.each(args.given.n)?;
    let restoring = Restoring::new(args, &model, &*operator, problem.noise_std)?;
    let mut samples = model.draw(y.samples(), restoring.sampler.steps(), &|score, part, watch| {
        let given = y.upload(&model.gpu, part.first, part.n, measurement_io::UNIT)?;
        restoring.draw(score, &given, part.x, part.draw, watch)
    })?;
    samples.images = samples.images.in_columns(y.columns());
    if let Some(path) = &args.measurement {
        Images::unclamped(y.images()).write(path, model.args.first)?;
    }
    let batch = model.args.batch as usize;
    let residual = measurement_io::residual(&model.gpu, &*operator, &samples.images, &y, batch)?;
    report(common, args, &model, &samples, &residual, problem.noise_std)
}

/// The problem, after every check that needs no model.
fn problem(args: &Args) -> anyhow::Result<Problem> {
    let name = args.problem.display();
    let outputs = || args.given.sampling.paths().chain(&args.measurement);
    let read = [args.model.as_path(), &args.problem, args.given.input.as_ref()];
    args.given.check(&[&args.model, &args.problem])?;
    paths::apart(&read, outputs())?;
    let text = std::fs::read_to_string(&args.problem).with_context(|| format!("{name} cannot be read"))?;
    let problem = Problem::from_toml(&text).with_context(|| format!("{name}"))?;
    if let Measure::Mask { mask: file } = &problem.measure {
        paths::apart(mask_file(file).as_slice(), outputs())?;
    }
    let image = !matches!(problem.measure, Measure::RandomProjection { .. } | Measure::Matrix { .. });
    if let Some(path) = &args.measurement {
        paths::check(path, &["png", "npz"])?;
        ensure!(
            image || ends_in(path, "npz"),
            "--measurement {}: these measurements are no image; choose a file that ends in .npz",
            path.display()
        );
    }
    Ok(problem)
}

/// The measurements in units of images in [0, 1]: from the input, or of the images in the input.
fn measurements(
    args: &Args,
    model: &Model<'_>,
    operator: &dyn Operator,
    noise_std: f64,
) -> anyhow::Result<Observed> {
    if !args.simulate {
        return measurement_io::read(&args.given.input, operator, &model.config.data);
    }
    let images = Observed::read_like(&args.given.input, &model.config.data)?;
    let noise = (noise_std, Key::new(model.config.seed, Purpose::Measurement));
    measurement_io::simulate(&model.gpu, operator, &images, noise, model.args.batch as usize)
}

/// A solver of the problem.
struct Restoring<'a> {
    operator: &'a dyn Operator,
    sampler: Box<dyn Sampler>,
    particles: Option<Particles>,
    /// The value of --particles.
    requested: Option<usize>,
    method: Method,
    /// The standard deviation of the data.
    sigma_data: f64,
    /// An image x in [0, 1] is `scale` x + `offset` in the model's range.
    scale: f64,
    offset: f64,
    /// The standard deviation of the measurement's noise in the model's range.
    noise_std: f64,
}

impl Restoring<'_> {
    fn new<'a>(
        args: &Args,
        model: &Model<'_>,
        operator: &'a dyn Operator,
        noise_std: f64,
    ) -> anyhow::Result<Restoring<'a>> {
        let (scale, offset) = (model.config.data.range().width(), model.config.data.range().low());
        Ok(Restoring {
            operator,
            sampler: model.sampler()?,
            particles: particles(args, model)?,
            requested: args.particles,
            method: args.method,
            sigma_data: model.config.model.sigma_data,
            scale,
            offset,
            noise_std: scale * noise_std,
        })
    }

    /// Restores the images of the measurements `given`, in units of images in [0, 1], from states `x` of the prior. The residual
    /// noise of a sample takes it out of the range of images: the result is projected onto it. Samples that have diverged are
    /// returned as they are, and refused later.
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
        match self.requested {
            Some(count) => sampled.with_context(|| format!("--particles {count}")),
            None => Ok(sampled?),
        }
    }
}

/// Reports the distance between the samples' measurements and the given ones.
fn report(
    common: &Common,
    args: &Args,
    model: &Model<'_>,
    samples: &Samples<'_>,
    Residual { off, given }: &Residual,
    noise_std: f64,
) -> anyhow::Result<()> {
    if *off > 1.5 * noise_std + 1e-3 * given {
        note(
            "the restorations are further from the measurements than the noise explains, and no image near the samples is \
             closer; check the measurements, the problem, noise_std and --steps",
        );
    }
    let shown = if *off < 1e-3 { format!("{off:.1e}") } else { format!("{off:.4}") };
    let what = count(samples.n, "restoration");
    let what = format!("{what} whose measurements are {shown} from those given (rms; noise {noise_std:?})");
    let mut more = serde_json::json!({ "residual": off, "noise_std": noise_std });
    if let Some(path) = &args.measurement {
        more["measurement"] = path.display().to_string().into();
    }
    model.finish(common, samples, &what, more)
}

/// Replaces reverse diffusion by ancestral sampling. Steps of reverse diffusion add noise of the forward step's variance. On VE
/// that exceeds the variance of the state's posterior, by 5 % of σ² in 60 steps, and the residual of the measurement shows it.
/// On VP DDPM's steps add as much as the forward step.
fn prefer_ancestral_sampling(sampling: &mut config::Sampling) {
    if sampling.predictor == PredictorName::ReverseDiffusion && !sampling.probability_flow {
        sampling.predictor = PredictorName::AncestralSampling;
    }
}

/// The default number of particles.
const PARTICLES: usize = 4;

/// The requested particles, or the default for the method and the sampler.
fn particles(args: &Args, model: &Model<'_>) -> anyhow::Result<Option<Particles>> {
    let sampling = &model.config.sampling;
    let alone = matches!(args.method, Method::Paper) || sampling.method != config::Method::Pc;
    let of = |count| {
        let of_all = PredictorCorrector::new(sampling, sampling.steps)?;
        Ok(Particles::new(of_all, count, &*model.scorer.model.process)?)
    };
    match args.particles {
        // A predictor without noise cannot be combined with particles.
        None if !alone => Ok(of(PARTICLES).ok()),
        None | Some(1) => Ok(None),
        Some(0) => bail!("--particles 0: it must be at least 1"),
        Some(count) if count > MANY => bail!("--particles {count}: it must be at most {MANY}"),
        Some(count) if alone => {
            bail!("--particles {count}: particles need --method pigdm and --sampler pc; leave the option out")
        }
        Some(count) => of(count).map(Some),
    }
}
