//! `tweedie restore`.

use crate::cli::io::{
    Batch, Images, Observed, mask_file, measurement_io, measurement_io::Residual, measurement_io::of_ones,
};
use crate::cli::report::say;
use crate::cli::sampling::{ConditionalArgs, Drawn, Model, Samples};
use crate::cli::{Common, MANY, MODEL, count, ends_in, note, paths};
use crate::config::{self, Measure, PredictorName, Problem};
use crate::random::{Key, Purpose};
use crate::sample::{
    Differentiable, Draw, Guidance, Guided, Measurement, Operator, Particles, PredictorCorrector, Sampled,
    Sampler, Watch, feasible, prior,
};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, bail, ensure};
use std::path::PathBuf;

/// Restore images from measurements y = A x + n: linear inverse problems.
///
/// A problem is a small TOML file: `kind`, its keys, and `noise_std`, the standard deviation of n for images in [0, 1] (0 by
/// default). Samples are drawn given the measurement, with any sampler; without --predictor, ancestral sampling replaces a
/// model's reverse diffusion. The output is the nearest image inside [0, 1] whose measurement matches the sample's; if the sample
/// misses the given measurement by more than the noise, the target is first moved to the noise level.
///
///   kind = "super_resolution"   factor = 4: means of squares of 4x4 pixels
///   kind = "deblur"             sigma = 1.0, size = 5 (pixels); or kernel = [1, 2, 1] along rows and columns
///   kind = "mask"               mask = "left", or the path of a PNG that is white where pixels are measured
///   kind = "random_projection"  rows = 16, seed = 0: orthonormal random directions
///   kind = "matrix"             file = "a.npy": [rows, h, w, c]
///
/// Paths in it are relative to the working directory.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    mut_arg("input", |arg| arg.value_name("Y").help(
        "The measurements: F.npz (`samples`, [n, h, w, c]), F.png or F.safetensors; with --simulate the images themselves, \
         or data:digits:I, or I-J for several")),
    after_help = "Examples:\n  \
    tweedie restore runs/digits --problem configs/problems/super_resolution_4x.toml --in data:digits:3 --simulate -n 8 --out restored.png\n  \
    tweedie restore runs/digits --problem configs/problems/super_resolution_4x.toml --in measured.npz --out restored.npz"
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
    /// The guidance by the measurement
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
    /// Compare noisy states with noisy measurements (Song 2021, appendix I.4); one evaluation of the network
    Paper,
    /// Pseudo-inverse guidance through the network's adjoint (Song 2023); closer, one evaluation and its adjoint
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
    let (sampler, particles) = (model.sampler()?, particles(args, &model)?);
    if let (Some(_), Some(most)) = (&particles, model.config.sampling.clip_denoised) {
        note(format!("sampling.clip_denoised = {most} of this model is not followed by particles"));
    }
    let (operator, model, noise_std) = (&*operator, &model, problem.noise_std);
    let restoring = Restoring { args, model, operator, sampler, particles, noise_std };
    let problem = format!("{problem:?}");
    let given = [bytemuck::cast_slice(&y.batch.values), problem.as_bytes()];
    let drawn = Drawn { n: y.samples(), steps: restoring.sampler.steps(), given: &given };
    let mut samples = model.draw(&drawn, &|score, part, watch| {
        let given = y.upload(&model.gpu, part.first, part.n, measurement_io::UNIT)?;
        restoring.draw(score, &given, part.x, part.draw, watch)
    })?;
    samples.images = args.given.rows(samples.images, &y, || enlarged(&y.batch, model.shape(1)));
    if let Some(path) = &args.measurement {
        Images::unclamped(y.batch.clone()).write(path, model.args.first)?;
    }
    let batch = model.args.evaluation.batch(&model.config.data);
    let residual = measurement_io::residual(&model.gpu, operator, &samples.images, &y, batch)?;
    report(common, args, model, samples, &residual, noise_std)
}

/// Measurements that are images, enlarged to the model's.
fn enlarged(Batch { shape, values }: &Batch, image: Shape) -> Batch {
    let (h, w, c) = (image.h(), image.w(), image.c());
    let pixel = |i: usize| {
        let (n, y, x) = (i / (h * w), i / w % h * shape.h() / h, i % w * shape.w() / w);
        &values[((n * shape.h() + y) * shape.w() + x) * c..][..c]
    };
    let enlarged = (0..shape.n() * h * w).flat_map(|i| pixel(i).iter().map(|v| v.clamp(0.0, 1.0)));
    Batch { shape: image.with_n(shape.n()), values: enlarged.collect() }
}

/// The problem, after every check that needs no model.
fn problem(args: &Args) -> anyhow::Result<Problem> {
    let name = args.problem.display();
    let outputs = || args.given.sampling.paths().chain(&args.measurement);
    let read = [args.model.as_path(), &args.problem, args.given.input.as_ref()];
    args.given.check(&[&args.model, &args.problem])?;
    paths::apart(&read, outputs())?;
    let text =
        crate::files::read_to_string(&args.problem).with_context(|| format!("{name} cannot be read"))?;
    let problem = Problem::from_toml(&text).with_context(|| format!("{name}"))?;
    if let Measure::Mask { mask: file } = &problem.measure {
        paths::apart(mask_file(file).as_slice(), outputs())?;
    }
    let image = !matches!(problem.measure, Measure::RandomProjection { .. } | Measure::Matrix { .. });
    ensure!(
        image || !args.given.show_input,
        "--show-input: these measurements are not an image; leave it out"
    );
    ensure!(
        args.simulate || args.given.fit.is_none(),
        "--fit: measurements are used as they are; leave it out, or add --simulate"
    );
    if let Some(path) = &args.measurement {
        paths::check(path, &["png", "npz"])?;
        ensure!(
            image || ends_in(path, "npz"),
            "--measurement {}: these measurements are not an image; choose a file that ends in .npz",
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
    let images = Observed::read_like(&args.given.input, &model.config.data, args.given.fit)?;
    let noise = (noise_std, Key::new(model.config.seed, Purpose::Measurement));
    measurement_io::simulate(
        &model.gpu,
        operator,
        &images,
        noise,
        model.args.evaluation.batch(&model.config.data),
    )
}

/// A solver of the problem.
struct Restoring<'a> {
    args: &'a Args,
    model: &'a Model<'a>,
    operator: &'a dyn Operator,
    sampler: Box<dyn Sampler>,
    particles: Option<Particles>,
    /// The standard deviation of the measurement's noise, for images in [0, 1].
    noise_std: f64,
}

impl Restoring<'_> {
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
        // An image x in [0, 1] is width x + low in the model's range.
        let range = self.model.config.data.range();
        let ones = of_ones(given.gpu(), self.operator, given.shape().n())?;
        let y = (given * range.width() + &ones * range.low()).run()?;
        let sampled = self.posterior(score, &y, x, draw, watch)?;
        if sampled.x.read()?.iter().any(|v| !v.is_finite()) {
            return Ok(sampled);
        }
        let x = feasible(&self.measurement(y), &sampled.x, (range.low() as f32, 1.0))?;
        Ok(Sampled { x, ..sampled })
    }

    fn measurement(&self, y: Tensor) -> Measurement<'_> {
        let noise_std = self.model.config.data.range().width() * self.noise_std;
        Measurement { operator: self.operator, y, noise_std }
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
        let sigma_data = self.model.config.model.sigma_data;
        let guidance = || match self.args.method {
            Method::Paper => Guidance::Measured(score),
            Method::Pigdm => Guidance::PseudoInverse { score, sigma_data },
        };
        let guided = |y: Tensor, draw| Guided::new(self.measurement(y), guidance(), draw);
        let Some(particles) = &self.particles else {
            return Ok(self.sampler.run(&guided(y.clone(), draw)?, x, draw, watch)?);
        };
        let (each, own) = (particles.repeat(y)?, particles.of(draw, y.shape().n())?);
        let x = prior(score, x.shape().with_n(each.shape().n()), own)?;
        let sampled = particles.run(&guided(each, own)?, x, draw, watch);
        match self.args.particles {
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
    samples: Samples<'_>,
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
        let path = path.display().to_string();
        if !common.json {
            say(format!("the measurements are in {path}"));
        }
        more["measurement"] = path.into();
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
