//! `tweedie bound`.

use crate::choice::Choice;
use crate::cli::arguments::Evaluation;
use crate::cli::io::{DATA, data, pictures};
use crate::cli::unfinished::{self, Unfinished};
use crate::cli::{Common, MODEL, batches, choice, count, ends_in, open_score_model, paths, print, progress};
use crate::config::{Range, SdeName};
use crate::data::Dataset;
use crate::eval::{Bound, Terms};
use crate::nn::Scorer;
use crate::random::{Key, Purpose};
use crate::sde::{BetaSchedule, Chain, DdpmChain, PosteriorVariance, bits_per_dim};
use anyhow::ensure;
use std::path::PathBuf;

/// Bound the likelihood of test images by DDPM's chain, term by term: bits/dim, and rate against distortion.
///
/// Works for VP models, trained on the chain or in continuous time.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie bound runs/ddpm -n 100\n  \
    tweedie bound runs/ddpm --data digits --variance beta_tilde --terms terms.csv")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The data: `digits`, `digits_color`, or a file or folder of images [default: the model's test images]
    #[arg(long, value_name = DATA)]
    data: Option<String>,
    /// The number of images, from the first [default: 64]
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// The variance of the reverse steps [default: both]
    #[arg(long, value_parser = choice::<PosteriorVariance>())]
    variance: Option<PosteriorVariance>,
    /// Also write every term, with rate and distortion, as a table
    #[arg(long, value_name = "F.csv")]
    terms: Option<PathBuf>,
    /// The seed of the noise [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    evaluation: Evaluation,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.terms {
        ensure!(ends_in(path, "csv"), "--terms {}: the terms are written as .csv", path.display());
        paths::check_file(path)?;
        paths::apart(&[&args.model], [path])?;
    }
    let checkpoint = open_score_model(&args.model)?;
    let config = checkpoint.config();
    ensure!(
        config.training.sde == SdeName::Vpsde,
        "{}: the bound needs DDPM's chain; train a model with training.sde = vpsde",
        args.model.display()
    );
    ensure!(
        config.model.beta_schedule != BetaSchedule::Linear
            || config.model.beta_max < config.model.num_scales as f64,
        "{}: its chain of model.num_scales = {} steps ends with β ≥ 1; train a model with more",
        args.model.display(),
        config.model.num_scales
    );
    let set = data::of_model(args.data.as_deref(), config)?;
    let n = data::first(&set, args.n, 64)?;
    let scorer = checkpoint.scorer(&common.open()?, args.evaluation.weights)?;
    let chain = DdpmChain::new(Chain::new(&*config.process(), config.model.num_scales));
    let key = Key::new(args.seed.unwrap_or(config.seed), Purpose::Perturbation);
    let mut unfinished = Unfinished::open(unfinished::Options {
        resume: args.evaluation.resume,
        output: args.terms.as_deref(),
        parts: batches(n, args.evaluation.batch(&config.data)).len(),
        contents: &[&checkpoint.checksum().to_le_bytes(), &set.pixels],
    })?;
    let images = (&set, n, args.evaluation.batch(&config.data));
    let bound = measure(&scorer, &chain, images, config.data.range(), key, &mut unfinished)?;
    let kinds = args.variance.map_or(PosteriorVariance::ALL.to_vec(), |kind| vec![kind]);
    let column = |kind| Column::new(&bound, kind, set.image_len());
    let columns: Vec<Column> = kinds.into_iter().map(column).collect();
    if let Some(path) = &args.terms {
        paths::written(path, table(&columns, &bound, chain.len()).as_bytes())?;
    }
    unfinished.finish();
    if common.json {
        let column = |c: &Column| {
            serde_json::json!({
                "variance": c.kind, "bits_per_dim": c.bits(c.terms.total()), "standard_error": c.error,
                "prior": c.bits(c.terms.prior), "steps": c.bits(c.terms.steps.iter().sum()),
                "decoder": c.bits(c.terms.decoder),
            })
        };
        let columns: Vec<_> = columns.iter().map(column).collect();
        return print(serde_json::json!({ "n": n, "bounds": columns, "distortion": bound.distortion(0) }));
    }
    show(&columns, &bound, n, chain.len())
}

/// The bound with one variance, in bits per dimension.
struct Column {
    kind: PosteriorVariance,
    terms: Terms,
    error: f64,
    dimensions: usize,
}

impl Column {
    fn new(bound: &Bound, kind: PosteriorVariance, dimensions: usize) -> Column {
        let error = bits_per_dim(bound.standard_error(kind), dimensions);
        Column { kind, terms: bound.terms(kind), error, dimensions }
    }

    fn bits(&self, nats: f64) -> f64 {
        bits_per_dim(nats, self.dimensions)
    }
}

/// The bound on the first `n` images of a set, computed in batches.
fn measure(
    scorer: &Scorer,
    chain: &DdpmChain,
    (set, n, batch): (&Dataset, usize, usize),
    range: Range,
    key: Key,
    unfinished: &mut Unfinished,
) -> anyhow::Result<Bound> {
    let time = |i: usize| scorer.model.chain_time(i, chain.len(), chain.marginal(i));
    let times: Vec<f64> = (0..chain.len()).map(time).collect();
    let gpu = scorer.gpu();
    let batches = batches(n, batch);
    let parameters = scorer.model.registry.count();
    progress::announce(gpu, &format!("bounding {} under {parameters} parameters", count(n, "image")));
    let steps = progress::steps(Some(unfinished.left(batches.len()) * chain.len()));
    let stop = unfinished.stop().clone();
    let mut bound = Bound::new(chain.clone(), range.low());
    for (first, length) in batches {
        let measured = unfinished.figures(|| {
            let numbers: Vec<usize> = (first..first + length).collect();
            let x0 = pictures::members(set, &numbers, range)?.upload(gpu)?;
            let mut watch = || {
                steps.step();
                stop.check()
            };
            Ok(bound.measure(scorer, &times, &x0, key.from(first as u32), &mut watch)?)
        })?;
        bound.add(&measured);
    }
    steps.finish();
    Ok(bound)
}

fn show(columns: &[Column], bound: &Bound, n: usize, steps: usize) -> anyhow::Result<()> {
    let row = |name: &str, value: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns.iter().map(|c| format!("{:>18}", value(c))).collect();
        print(format!("{name:<32}{}", cells.concat()))
    };
    row(&format!("bits/dim of {}", count(n, "image")), &|c| format!("σ² = {}", c.kind))?;
    row("L_T, the prior", &|c| format!("{:.4}", c.bits(c.terms.prior)))?;
    row(&format!("L_{} … L_1, the reverse steps", steps - 1), &|c| {
        format!("{:.4}", c.bits(c.terms.steps.iter().sum()))
    })?;
    row("L_0, the decoder", &|c| format!("{:.4}", c.bits(c.terms.decoder)))?;
    row("the bound", &|c| match c.error.is_nan() {
        true => format!("{:.4}", c.bits(c.terms.total())),
        false => format!("{:.4} ± {:.4}", c.bits(c.terms.total()), c.error),
    })?;
    row("rate, without L_0", &|c| format!("{:.4}", c.bits(c.terms.rate(0))))?;
    print(format!(
        "distortion: x̂₀ is {:.2} grey levels of 0 to 255 off (root mean square)",
        bound.distortion(0)
    ))
}

/// Every step from the last to the first: its term, the rate before it, and the distortion of x̂₀.
fn table(columns: &[Column], bound: &Bound, steps: usize) -> String {
    let names =
        |prefix: &str| columns.iter().map(|c| format!("{prefix}_{}", c.kind)).collect::<Vec<_>>().join(",");
    let mut text = format!("t,{},{},distortion\n", names("bits"), names("rate"));
    for i in (0..steps).rev() {
        // The term of step 0 is the decoder's.
        let term = |c: &Column| if i == 0 { c.terms.decoder } else { c.terms.steps[i - 1] };
        let cells = |value: &dyn Fn(&Column) -> f64| {
            columns.iter().map(|c| c.bits(value(c)).to_string()).collect::<Vec<_>>().join(",")
        };
        let rate = |c: &Column| c.terms.rate(i);
        text += &format!("{},{},{},{}\n", i + 1, cells(&term), cells(&rate), bound.distortion(i));
    }
    text
}
