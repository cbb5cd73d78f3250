//! `tweedie score`.

use super::{Common, open_model, output, print};
use crate::gpu::Gpu;
use crate::kernels::hutchinson::{Probe, Probes};
use crate::kernels::inner_product::lanes;
use crate::kernels::random::Noise;
use crate::nn::{Label, Scorer};
use crate::random::{Key, Purpose};
use crate::sample::{Score, probability_flow};
use crate::tensor::{Shape, Tensor};
use crate::train::Weights;
use anyhow::{Context, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::{Path, PathBuf};

/// Evaluate a model's score at given points and times.
///
/// Reads `x` [n, c, h, w] in the model's own range and `t` [n], SDE times in (0, 1]; writes `score` [n, c, h, w]. All are
/// float32.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie score runs/digits --in points.safetensors --out score.safetensors\n  \
    tweedie score runs/digits --in points.safetensors --out flow.safetensors --divergence --probes 8\n  \
    tweedie score runs/digits --in points.safetensors --out net.safetensors --network")]
pub(super) struct Args {
    /// A run folder, whose newest checkpoint is taken, a checkpoint, a folder in Hugging Face's layout, or
    /// hf:OWNER/NAME[@REVISION]
    model: PathBuf,
    /// Where to read `x`, `t`, and `eps` if it is given
    #[arg(long = "in", value_name = "F.safetensors")]
    input: PathBuf,
    /// Where to write
    #[arg(long, value_name = "G.safetensors")]
    out: PathBuf,
    /// Also write `drift` and `divergence` [n] of the probability flow, for the probes `eps` [n, c, h, w] or [k, n, c, h, w] of the
    /// input, else drawn ones
    #[arg(long)]
    divergence: bool,
    /// Probes that are drawn for each sample
    #[arg(long, value_name = "K", default_value_t = 1)]
    probes: usize,
    /// The seed that they are drawn by
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which weights
    #[arg(long, value_enum, default_value_t = Weights::Ema)]
    weights: Weights,
    /// Evaluate the bare network at its own conditioning value: `t` is then σ or the timestep label, the output `out`
    #[arg(long, conflicts_with = "divergence")]
    network: bool,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    ensure!(args.probes > 0, "--probes 0: at least one is needed");
    ensure!(
        args.out.extension().is_some_and(|e| e == "safetensors"),
        "--out {}: name a file that ends in .safetensors",
        args.out.display()
    );
    let checkpoint = open_model(&args.model)?;
    let data = &checkpoint.config().data;
    let input = Input::read(&args.input, [data.num_channels, data.image_size, data.image_size])
        .with_context(|| format!("{} cannot be used", args.input.display()))?;
    if !args.network {
        ensure!(
            input.t.iter().all(|t| *t > 0.0 && *t <= 1.0),
            "{}: `t` must be SDE times in (0, 1]; for σ or labels of the bare network say --network",
            args.input.display()
        );
    }
    let gpu = common.open()?;
    let scorer = checkpoint.scorer(&gpu, args.weights)?;
    let arrays = evaluate(&gpu, &scorer, &input, args)?;
    for (name, array) in &arrays {
        ensure!(array.values.iter().all(|v| v.is_finite()), "`{name}` is not finite for this input");
    }
    write(&args.out, &arrays)?;
    let names: Vec<&str> = arrays.iter().map(|(name, _)| *name).collect();
    let out = args.out.display().to_string();
    if common.json {
        return print(serde_json::json!({ "n": input.t.len(), "tensors": names, "written": out }));
    }
    print(format!("{} of {} points: {out}", names.join(", "), input.t.len()))
}

/// An array in NCHW, or of one number a sample.
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Array {
    /// A tensor `[n, h, w, c]`.
    fn images(tensor: &Tensor) -> anyhow::Result<Array> {
        let [n, h, w, c] = tensor.shape().0;
        Ok(Array { shape: vec![n, c, h, w], values: transposed(&tensor.read()?, [n, h * w, c]) })
    }
}

/// `[n, a, b]` → `[n, b, a]`.
fn transposed(values: &[f32], [n, a, b]: [usize; 3]) -> Vec<f32> {
    let at = |i: usize| {
        let (sample, rest) = (i / (a * b), i % (a * b));
        values[sample * a * b + rest % a * b + rest / a]
    };
    (0..n * a * b).map(at).collect()
}

/// The input file's tensors.
struct Input {
    shape: Shape,
    /// `[n, h, w, c]`.
    x: Vec<f32>,
    t: Vec<f64>,
    /// `[k, n, h, w, c]`, and how many probes that is.
    eps: Option<(usize, Vec<f32>)>,
}

impl Input {
    fn read(path: &Path, [c, h, w]: [usize; 3]) -> anyhow::Result<Input> {
        let bytes = std::fs::read(path)?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| anyhow::anyhow!("it is truncated or no safetensors file ({e})"))?;
        let (shape, x) = floats(&file, "x")?.context("it holds no tensor `x`")?;
        ensure!(
            shape.len() == 4 && shape[1..] == [c, h, w] && shape[0] > 0,
            "`x` has shape {shape:?}, the model takes [n, {c}, {h}, {w}]"
        );
        let n = shape[0];
        let (times, t) = floats(&file, "t")?.context("it holds no tensor `t`")?;
        ensure!(times == [n], "`t` has shape {times:?}, one number for each of the {n} samples is needed");
        ensure!(t.iter().chain(&x).all(|v| v.is_finite()), "it holds numbers that are not finite");
        let pixels = h * w;
        let to_ours = |values: &[f32], n: usize| transposed(values, [n, c, pixels]);
        let eps = match floats(&file, "eps")? {
            None => None,
            Some((shape, values)) => {
                let probes = match shape.len() {
                    4 if shape == [n, c, h, w] => 1,
                    5 if shape[0] > 0 && shape[1..] == [n, c, h, w] => shape[0],
                    _ => bail!(
                        "`eps` has shape {shape:?}, [{n}, {c}, {h}, {w}] or [k, {n}, {c}, {h}, {w}] is needed"
                    ),
                };
                Some((probes, to_ours(&values, probes * n)))
            }
        };
        let t = t.into_iter().map(f64::from).collect();
        Ok(Input { shape: Shape::new(n, h, w, c), x: to_ours(&x, n), t, eps })
    }
}

/// A tensor's shape and values, if it is there.
fn floats(file: &SafeTensors<'_>, name: &str) -> anyhow::Result<Option<(Vec<usize>, Vec<f32>)>> {
    let Ok(view) = file.tensor(name) else { return Ok(None) };
    let values = match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
        Dtype::F64 => {
            bytemuck::pod_collect_to_vec::<u8, f64>(view.data()).into_iter().map(|v| v as f32).collect()
        }
        other => bail!("`{name}` holds {other:?}; float32 is needed"),
    };
    Ok(Some((view.shape().to_vec(), values)))
}

fn evaluate(
    gpu: &Gpu,
    scorer: &Scorer,
    input: &Input,
    args: &Args,
) -> anyhow::Result<Vec<(&'static str, Array)>> {
    let x = Tensor::from_slice(gpu, input.shape, &input.x)?;
    if args.network {
        let labels: Vec<Label> = input.t.iter().map(|t| scorer.model.network_label(*t)).collect();
        return Ok(vec![("out", Array::images(&Score::network(scorer, &x, &labels)?)?)]);
    }
    let mut arrays = vec![("score", Array::images(&scorer.score(&x, &input.t)?)?)];
    if args.divergence {
        let key = Key::new(args.seed, Purpose::Probe);
        let (count, given) = match &input.eps {
            Some((count, eps)) => {
                let shape = input.shape.with_n(count * input.shape.n());
                (*count, Some(Tensor::from_slice(gpu, shape, eps)?))
            }
            None => (args.probes, None),
        };
        let noise = given.as_ref().map_or(Noise::Drawn(key), Noise::Given);
        let probes = Probes { count, kind: Probe::Rademacher, noise };
        let flow = probability_flow(scorer, &x, &input.t, Some(probes))?;
        arrays.push(("drift", Array::images(&flow.drift)?));
        let sums = flow.divergence.as_ref().map(lanes).transpose()?.unwrap_or_default();
        let n = input.t.len();
        let mean = |i: usize| sums.iter().skip(i).step_by(n).sum::<f64>() / count as f64;
        let values = (0..n).map(|i| mean(i) as f32).collect();
        arrays.push(("divergence", Array { shape: vec![n], values }));
    }
    Ok(arrays)
}

fn write(path: &Path, arrays: &[(&'static str, Array)]) -> anyhow::Result<()> {
    let views = arrays
        .iter()
        .map(|(name, array)| {
            let bytes = bytemuck::cast_slice(&array.values);
            Ok((*name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    output::written(path, &safetensors::serialize(views, None)?)
}
