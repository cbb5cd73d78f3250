//! `tweedie score`.

use crate::cli::io::{Batch, Named, Tensors, pictures, tensors};
use crate::cli::{Common, MANY, MODEL, choice, count, open_model, open_score_model, paths, print, progress};
use crate::config::Data;
use crate::gpu::Gpu;
use crate::kernels::hutchinson::{Probe, Probes};
use crate::kernels::inner_product::lanes;
use crate::kernels::random::Noise;
use crate::nn::Scorer;
use crate::random::{Key, Purpose};
use crate::sample::{Score, Times, divergence};
use crate::tensor::Tensor;
use crate::train::Weights;
use anyhow::ensure;
use std::path::PathBuf;

/// Evaluate a model's score at given points and times.
///
/// Reads `x` [n, c, h, w] in the model's range and `t` [n], SDE times in (0, 1]; writes `score` [n, c, h, w]. All are
/// float32.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie score runs/digits --in points.safetensors --out score.safetensors\n  \
    tweedie score runs/digits --in points.safetensors --out flow.safetensors --divergence --probes 8\n  \
    tweedie score runs/digits --in points.safetensors --out net.safetensors --network")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// Input: `x`, `t`, and optionally `eps`
    #[arg(long = "in", value_name = "F.safetensors")]
    input: PathBuf,
    /// Output
    #[arg(long, value_name = "G.safetensors")]
    out: PathBuf,
    /// Also write `drift` and `divergence` [n] of the probability flow, with the probes `eps` [n, c, h, w] or [k, n, c, h, w] of the
    /// input, else random ones
    #[arg(long)]
    divergence: bool,
    /// Random probes for each sample [default: 1]
    #[arg(long, value_name = "K", requires = "divergence")]
    probes: Option<usize>,
    /// The seed of the probes [default: 0]
    #[arg(long, requires = "divergence")]
    seed: Option<u64>,
    /// The weights
    #[arg(long, value_parser = choice::<Weights>(), default_value_t = Weights::Ema)]
    weights: Weights,
    /// Evaluate the bare network at its own conditioning value: `t` is then σ or the timestep label, the output `out`
    #[arg(long, conflicts_with = "divergence")]
    network: bool,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let probes = args.probes.unwrap_or(1);
    ensure!((1..=MANY).contains(&probes), "--probes {probes}: it must be from 1 to {MANY}");
    paths::check_tensors(&args.out)?;
    paths::apart(&[&args.model, &args.input], [&args.out])?;
    let checkpoint = if args.network { open_model(&args.model)? } else { open_score_model(&args.model)? };
    let input = Input::read(args, &checkpoint.config().data)?;
    if !args.network {
        ensure!(
            input.t.iter().all(|t| *t > 0.0 && *t <= 1.0),
            "{}: `t` must be SDE times in (0, 1]; σ or labels of the bare network need --network",
            args.input.display()
        );
    }
    let gpu = common.open()?;
    let scorer = checkpoint.scorer(&gpu, args.weights)?;
    let (points, parameters) = (count(input.t.len(), "point"), scorer.model.registry.count());
    progress::announce(&gpu, &format!("evaluating {parameters} parameters at {points}"));
    let arrays = evaluate(&gpu, &scorer, &input, args)?;
    for (name, _, values) in &arrays {
        ensure!(values.iter().all(|v| v.is_finite()), "`{name}` is not finite for this input");
    }
    tensors::write(&args.out, &arrays)?;
    let names: Vec<&str> = arrays.iter().map(|(name, ..)| *name).collect();
    let out = args.out.display().to_string();
    if common.json {
        return print(serde_json::json!({ "n": input.t.len(), "tensors": names, "written": out }));
    }
    print(format!("{} of {}: {out}", names.join(", "), count(input.t.len(), "point")))
}

/// The input file's tensors.
struct Input {
    x: Batch,
    t: Vec<f64>,
    /// The number of probes for each sample, and the probes.
    eps: Option<(usize, Batch)>,
}

impl Input {
    fn read(args: &Args, data: &Data) -> anyhow::Result<Input> {
        let path = &args.input;
        let file = Tensors::read(path)?;
        file.only(if args.divergence { &["x", "t", "eps"] } else { &["x", "t"] });
        let x = pictures::tensor(&file, "x", path, data)?;
        let (shape, t) = file.tensor("t")?;
        let n = x.shape.n();
        ensure!(
            shape == [n],
            "`t` of {} has shape {shape:?}; it must have one number for each of the {n} samples",
            path.display()
        );
        let drawn = [("probes", args.probes.is_some()), ("seed", args.seed.is_some())];
        let eps = file.probes("eps", x.shape, &drawn)?;
        Ok(Input { x, t: t.into_iter().map(f64::from).collect(), eps })
    }
}

fn evaluate(gpu: &Gpu, scorer: &Scorer, input: &Input, args: &Args) -> anyhow::Result<Vec<Named<'static>>> {
    let x = input.x.upload(gpu)?;
    let images = |name, tensor: &Tensor| anyhow::Ok(tensors::images(name, &Batch::download(tensor)?));
    if args.network {
        return Ok(vec![images("out", &scorer.bare(&x, &input.t)?)?]);
    }
    let t = Times::from(input.t.clone());
    let mut arrays = vec![images("score", &scorer.at(&x, &t)?.score().run()?)?];
    if args.divergence {
        let key = Key::new(args.seed.unwrap_or(0), Purpose::Probe);
        let (count, given) = match &input.eps {
            Some((count, eps)) => (*count, Some(eps.upload(gpu)?)),
            None => (args.probes.unwrap_or(1), None),
        };
        let noise = given.as_ref().map_or(Noise::Drawn(key), Noise::Given);
        let probes = Probes { count, kind: Probe::Rademacher, noise };
        let flow = divergence(scorer, &x, &t, probes)?;
        arrays.push(images("drift", &flow.drift)?);
        let sums = lanes(&flow.divergence)?;
        let n = input.t.len();
        let mean = |i: usize| sums.iter().skip(i).step_by(n).sum::<f64>() / count as f64;
        arrays.push(("divergence", vec![n], (0..n).map(|i| mean(i) as f32).collect()));
    }
    Ok(arrays)
}
