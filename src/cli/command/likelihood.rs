//! `tweedie likelihood`.

use crate::cli::io::{Batch, DATA, Tensors, data, pictures, tensors};
use crate::cli::sampling::{Flow, Tolerances, flow};
use crate::cli::stop::Stop;
use crate::cli::{Common, MANY, MODEL, batches, choice, count, extend, paths, print, report};
use crate::config::Method;
use crate::data::{Mixture, dequantised};
use crate::eval::{Estimate, Exact, bits, nats};
use crate::kernels::hutchinson::Probe;
use crate::random::{Key, Purpose};
use crate::sample::Draw;
use crate::sample::likelihood::{EPS, Likelihood, LogLikelihood, Probing, log_likelihood};
use crate::tensor::Shape;
use anyhow::ensure;
use std::path::{Path, PathBuf};

/// Compute the likelihood of data under a model, in bits per dimension of images or in nats of points.
///
/// The probability flow maps dequantised images to latents; log p changes along the path by the integral of the divergence,
/// which is estimated with random probes, or computed exactly with a tangent for every dimension. Points are used as they are, and
/// those of a toy distribution are compared with its exact density.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie likelihood runs/digits --data digits\n  \
    tweedie likelihood runs/digits --data digits -n 32 --exact\n  \
    tweedie likelihood runs/swissroll --exact -n 1000\n  \
    tweedie likelihood runs/digits --data digits --probes 4 --draws 5\n  \
    tweedie likelihood runs/digits --in points.safetensors --error-norm batch --out likelihoods.safetensors")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The data: `digits`, `digits_color` (test images of both), or a file or folder of images; of points a CSV file or an array
    /// [default: the model's test data]
    #[arg(long, value_name = DATA)]
    data: Option<String>,
    /// Points instead of data, for comparison with another program: `x` [n, c, h, w] in the model's range, and optionally the
    /// probes `eps` [n, c, h, w] or [k, n, c, h, w]
    #[arg(long = "in", value_name = "F.safetensors", conflicts_with_all = ["data", "n", "draws"])]
    input: Option<PathBuf>,
    /// Output for the points: bits/dim as `bpd` [n] (of a model of points log p in nats as `logp` [n]), the integral of the divergence as `delta_logp` [n], and the latents
    /// `z` [n, c, h, w]
    #[arg(long, value_name = "G.safetensors", requires = "input")]
    out: Option<PathBuf>,
    /// The number of images, from the first [default: all]
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// Probes for each image [default: 1]
    #[arg(long, value_name = "K", conflicts_with = "exact")]
    probes: Option<usize>,
    /// The probes' distribution [default: rademacher]
    #[arg(long, value_parser = choice::<Probe>(), conflicts_with = "exact")]
    probe: Option<Probe>,
    /// Take the exact trace: a tangent for every dimension
    #[arg(long)]
    exact: bool,
    /// Draws of dequantisation noise for each image
    #[arg(long, value_name = "M", default_value_t = 1)]
    draws: u32,
    /// The seed of the probes and of the dequantisation [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    flow: flow::Args<Tolerances>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    // The parser drops the requirement of --out where -n is given, which --in excludes.
    ensure!(args.out.is_none() || args.input.is_some(), "--out needs --in; leave it out");
    let (probes, draws) = (args.probes.unwrap_or(1), args.draws);
    ensure!((1..=MANY).contains(&probes), "--probes {probes}: it must be from 1 to {MANY}");
    ensure!((1..=MANY).contains(&(draws as usize)), "--draws {draws}: it must be from 1 to {MANY}");
    args.out.as_deref().map_or(Ok(()), paths::check_tensors)?;
    if let Some(input) = &args.input {
        paths::apart(&[&args.model, input], &args.out)?;
    }
    let flow = Flow::open(common, &args.model, Method::Ode, &args.flow)?;
    match &args.input {
        Some(path) => of_points(common, &flow, path, args),
        None if flow.config.data.is_points() => of_plane(common, &flow, args),
        None => of_data(common, &flow, args),
    }
}

/// The likelihood of points of the plane, and that of their own distribution where it is known.
fn of_plane(common: &Common, flow: &Flow, args: &Args) -> anyhow::Result<()> {
    ensure!(args.draws == 1, "--draws {}: points are not dequantised; leave it out", args.draws);
    let Batch { shape, values } = data::points_of_model(args.data.as_deref(), &flow.config)?;
    let n = args.n.unwrap_or(shape.n());
    ensure!(n <= shape.n(), "-n {n}: the data set has only {}", count(shape.n(), "point"));
    let x = Batch { shape, values }.part(0, n);
    let mut unfinished = flow.unfinished(None, &[n], bytemuck::cast_slice(&x.values))?;
    let stop = unfinished.stop().clone();
    let seed = args.seed.unwrap_or(flow.config.seed);
    let (mut samples, mut evaluations) = (Vec::new(), Vec::new());
    for (first, count) in batches(n, flow.batch) {
        let (own, calls): (Vec<_>, Vec<_>) = unfinished.figures(|| {
            let likelihood = follow(flow, &x.part(first, count), &stop, || args.drawn(seed, first, 0))?;
            Ok((likelihood.samples, likelihood.evaluations))
        })?;
        samples.extend(own);
        evaluations.extend(calls);
    }
    unfinished.finish();
    let toy = flow.config.data.distribution.filter(|_| args.data.is_none());
    let exact = toy.map(|toy| exact_mean(&Mixture::of(toy), flow, &x.values));
    print_nats(common, &samples, &evaluations, serde_json::json!({ "exact_logp": exact }))
}

/// The mean of the exact log density at points, at the time at which the flow starts.
fn exact_mean(mixture: &Mixture, flow: &Flow, points: &[f32]) -> f64 {
    let marginal = flow.scorer.model.process.marginal_prob(EPS);
    let log = |x: &[f32]| Exact::at(mixture, marginal, [x[0], x[1]].map(f64::from)).log_density;
    points.chunks_exact(2).map(log).sum::<f64>() / (points.len() / 2) as f64
}

/// Prints the mean of log p over points; `more` is for machines, its `exact_logp` for people, too.
fn print_nats(
    common: &Common,
    samples: &[LogLikelihood],
    evaluations: &[usize],
    more: serde_json::Value,
) -> anyhow::Result<()> {
    let Estimate { mean, error, of_probes, .. } = nats(samples);
    let nfev = evaluations.iter().sum::<usize>() as f64 / evaluations.len() as f64;
    if common.json {
        let mut report = serde_json::json!({
            "logp": mean, "standard_error": error, "standard_error_of_probes": of_probes, "nfev": nfev,
            "n": samples.len(),
        });
        extend(&mut report, more);
        return print(report);
    }
    let error = error.map_or(String::new(), |e| format!(" ± {e:.4}"));
    let probes = of_probes.map_or(String::new(), |e| format!(", ± {e:.4} from the probes"));
    let exact = more["exact_logp"]
        .as_f64()
        .map_or(String::new(), |exact| format!(", of the distribution {exact:.4}"));
    let (points, evaluations) = (count(samples.len(), "point"), report::evaluations(nfev));
    print(format!("log p = {mean:.4}{error} nats{probes}{exact}, {points}, {evaluations} each"))
}

/// The likelihood of images of a data set, dequantised.
fn of_data(common: &Common, flow: &Flow, args: &Args) -> anyhow::Result<()> {
    let set = data::of_model(args.data.as_deref(), &flow.config)?;
    let n = data::first(&set, args.n, set.len())?;
    let mut unfinished = flow.unfinished(None, &vec![n; args.draws as usize], &set.pixels)?;
    let stop = unfinished.stop().clone();
    let seed = args.seed.unwrap_or(flow.config.seed);
    let (mut draws, mut evaluations) = (Vec::new(), Vec::new());
    for draw in 0..args.draws {
        let key = Key::new(seed, Purpose::Dequantisation).at(draw);
        let mut samples = Vec::new();
        for (first, count) in batches(n, flow.batch) {
            let one = |i| dequantised(&set, i, key, flow.config.data.centered);
            let values = (first..first + count).flat_map(one).collect();
            let x = Batch { shape: Shape::of_images(count, set.shape()), values };
            let (own, calls): (Vec<_>, Vec<_>) = unfinished.figures(|| {
                let likelihood = follow(flow, &x, &stop, || args.drawn(seed, first, draw))?;
                Ok((likelihood.samples, likelihood.evaluations))
            })?;
            samples.extend(own);
            evaluations.extend(calls);
        }
        draws.push(samples);
    }
    unfinished.finish();
    print_bits(common, flow, &draws, &evaluations, serde_json::json!({}))
}

/// The likelihood of points in a file.
fn of_points(common: &Common, flow: &Flow, path: &Path, args: &Args) -> anyhow::Result<()> {
    let file = Tensors::read(path)?;
    file.only(&["x", "eps"]);
    let x = pictures::tensor(&file, "x", path, &flow.config.data)?;
    let eps = file.probes("eps", x.shape, &args.about_drawn())?;
    let seed = args.seed.unwrap_or(flow.config.seed);
    let (n, mut z) = (x.shape.n(), Batch { shape: x.shape, values: Vec::new() });
    let given: Vec<f32> = eps.iter().flat_map(|(_, eps)| &eps.values).chain(&x.values).copied().collect();
    let mut unfinished = flow.unfinished(args.out.as_deref(), &[n], bytemuck::cast_slice(&given))?;
    let stop = unfinished.stop().clone();
    let (mut samples, mut evaluations) = (Vec::new(), Vec::new());
    for (first, count) in batches(n, flow.batch) {
        let given = eps.as_ref().map(|(k, eps)| {
            let values = (0..*k).flat_map(|probe| eps.part(probe * n + first, count).values).collect();
            let own = Batch { shape: x.shape.with_n(k * count), values };
            own.upload(&flow.gpu).map(|eps| (eps, *k))
        });
        let given = given.transpose()?;
        let (latents, (own, calls)) = unfinished.part(x.shape.with_n(count).len(), false, || {
            let likelihood = follow(flow, &x.part(first, count), &stop, || match &given {
                Some((eps, count)) => Probing::Given { eps: eps.clone(), count: *count },
                None => args.drawn(seed, first, 0),
            })?;
            Ok((likelihood.latent.read()?, (likelihood.samples, likelihood.evaluations)))
        })?;
        samples.extend(own);
        evaluations.extend(calls);
        z.values.extend(latents);
    }
    let (dimensions, centered) = (x.shape.with_n(1).len(), flow.config.data.centered);
    let plane = flow.config.data.is_points();
    let of = |log: &LogLikelihood| if plane { log.logp() } else { log.bits_per_dim(dimensions, centered) };
    let (name, unit) = if plane { ("logp", "nats") } else { ("bpd", "bits/dim") };
    let values: Vec<f64> = samples.iter().map(of).collect();
    let changes: Vec<f64> = samples.iter().map(LogLikelihood::change).collect();
    if let Some(out) = &args.out {
        let each = |name, values: &[f64]| (name, vec![n], values.iter().map(|v| *v as f32).collect());
        tensors::write(out, &[each(name, &values), each("delta_logp", &changes), tensors::images("z", &z)])?;
    }
    unfinished.finish();
    if !common.json {
        let what = if plane { "point" } else { "image" };
        for (i, (value, change)) in values.iter().zip(&changes).enumerate() {
            print(format!("{what} {i}: {value:.4} {unit}, Δ log p = {change:.4}"))?;
        }
    }
    let written: Vec<String> = args.out.iter().map(|out| out.display().to_string()).collect();
    if plane {
        let more = serde_json::json!({ "logps": values, "delta_logp": changes, "written": written });
        return print_nats(common, &samples, &evaluations, more);
    }
    let more = serde_json::json!({ "bpd": values, "delta_logp": changes, "written": written });
    print_bits(common, flow, &[samples], &evaluations, more)
}

/// log p of `x` along the model's flow.
fn follow(flow: &Flow, x: &Batch, stop: &Stop, probing: impl Fn() -> Probing) -> anyhow::Result<Likelihood> {
    let x = x.upload(&flow.gpu)?;
    let likelihood = flow
        .with(|score| Ok(log_likelihood(score, &x, probing(), &flow.ode, &mut flow.watch(stop.clone()))?))?;
    ensure!(
        likelihood.samples.iter().all(|log| log.logp().is_finite()),
        "log p is not finite for some of these points; are they in the model's range?"
    );
    Ok(likelihood)
}

impl Args {
    /// The options of random probes, and whether they are given.
    fn about_drawn(&self) -> [(&'static str, bool); 4] {
        let seed = ("seed", self.seed.is_some());
        [("probes", self.probes.is_some()), ("probe", self.probe.is_some()), ("exact", self.exact), seed]
    }

    /// The estimator of the trace for images from number `first`, if the input has no probes.
    fn drawn(&self, seed: u64, first: usize, draw: u32) -> Probing {
        if self.exact {
            return Probing::Exact;
        }
        let count = self.probes.unwrap_or(1);
        Probing::Drawn {
            count,
            kind: self.probe.unwrap_or(Probe::Rademacher),
            draw: Draw::new(seed).from(first as u32),
            first: draw * count as u32,
        }
    }
}

/// Prints the mean over images and its standard error; `more` is for machines.
fn print_bits(
    common: &Common,
    flow: &Flow,
    draws: &[Vec<LogLikelihood>],
    evaluations: &[usize],
    more: serde_json::Value,
) -> anyhow::Result<()> {
    let (n, data) = (draws.first().map_or(0, Vec::len), &flow.config.data);
    let dimensions = data.shape().iter().product();
    let Estimate { mean, error, of_probes, of_draws } = bits(draws, dimensions, data.centered);
    let nfev = evaluations.iter().sum::<usize>() as f64 / evaluations.len() as f64;
    if common.json {
        let mut report = serde_json::json!({
            "bits_per_dim": mean, "standard_error": error, "standard_error_of_probes": of_probes,
            "standard_error_of_draws": of_draws, "nfev": nfev, "n": n, "dimensions": dimensions,
        });
        extend(&mut report, more);
        return print(report);
    }
    let error = error.map_or(String::new(), |e| format!(" ± {e:.4}"));
    let parts = [(of_probes, "the probes"), (of_draws, "dequantisation")];
    let parts = parts.map(|(part, whose)| part.map_or(String::new(), |e| format!(", ± {e:.4} from {whose}")));
    let (parts, images) = (parts.concat(), count(n, "image"));
    print(format!("{mean:.4}{error} bits/dim{parts}, {images}, {} each", report::evaluations(nfev)))
}
