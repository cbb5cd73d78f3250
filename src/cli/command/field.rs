//! `tweedie field`.

mod drawing;

use crate::cli::io::{images, paths::ends_in, paths::written, plane, plane::tiled};
use crate::cli::report::count;
use crate::cli::{Common, MODEL, choice, note, open_score_model, paths, print, progress};
use crate::config::Data;
use crate::data::{Mixture, Split, load_points};
use crate::eval::score_error;
use crate::nn::Scorer;
use crate::sample::Draw;
use crate::sde::{Level, Process};
use crate::train::Weights;
use anyhow::{bail, ensure};
use drawing::Field;
use std::path::PathBuf;

/// Draw the score of a model of points as arrows over the density, the learned beside the exact.
///
/// The toy distributions are mixtures, which stay mixtures under a process: density and score are exact. For points of your
/// own, those of at most 2000 of them stand in their place. The relative error of the score is √(E |s − ŝ|² / E |s|²) over points
/// of the perturbed distribution.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie field runs/swissroll --out field.png\n  \
    tweedie field runs/swissroll --out field.png --sigma 0.5,0.1 --trajectories\n  \
    tweedie field runs/swissroll --out reverse.gif\n  \
    tweedie field runs/swissroll --out field.png --json")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// Output: F.png (arrows), F.gif (the reverse process by the model's sampler); may be repeated
    #[arg(long, value_name = "F.png|F.gif", required = true)]
    out: Vec<PathBuf>,
    /// The noise levels σ = s / m [default: those of 1, 0.3, 0.1 and 0.03 that the process has]
    #[arg(long, value_name = "S,S,…", value_delimiter = ',', conflicts_with = "t")]
    sigma: Vec<f64>,
    /// The times, in (0, 1], instead of noise levels
    #[arg(long, value_name = "T,T,…", value_delimiter = ',')]
    t: Vec<f64>,
    /// Also draw trajectories of every sampler from the same states
    #[arg(long)]
    trajectories: bool,
    /// The points of an animation
    #[arg(short, value_name = "N", default_value_t = 1000)]
    n: u32,
    /// The seed [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    /// The weights
    #[arg(long, value_parser = choice::<Weights>(), default_value_t = Weights::Ema)]
    weights: Weights,
}

/// The noise levels that are drawn.
const SIGMAS: [f64; 4] = [1.0, 0.3, 0.1, 0.03];
/// The largest number of levels: a picture has a panel for each.
const LEVELS: usize = 12;
/// The largest number of points that stand for an unknown distribution.
const STAND_IN: usize = 2000;
/// Points of an error, and of an animation at most.
const POINTS: usize = 4096;
const MOST: u32 = 100_000;

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    for out in &args.out {
        let known = ends_in(out, "png") || ends_in(out, "gif");
        ensure!(known, "{}: a field is drawn as F.png, or F.gif", out.display());
        paths::check_file(out)?;
    }
    paths::apart(&[&args.model], &args.out)?;
    ensure!(args.n <= MOST, "-n {}: it must be at most {MOST}", args.n);
    let pictures = args.out.iter().any(|out| ends_in(out, "png"));
    let arrows = args.trajectories || !args.sigma.is_empty() || !args.t.is_empty();
    ensure!(pictures || !arrows, "--sigma, --t and --trajectories need --out F.png; leave them out");
    let checkpoint = open_score_model(&args.model)?;
    let config = checkpoint.config();
    ensure!(
        config.data.is_points(),
        "{}: a field is drawn of a model of points, as of `tweedie train toy_swissroll`, and this one is of images",
        args.model.display()
    );
    let levels = args.levels(&*config.process())?;
    let known = Distribution::of(&config.data)?;
    let gpu = common.open()?;
    let scorer = checkpoint.scorer(&gpu, args.weights)?;
    progress::announce(&gpu, &format!("drawing the field of {} parameters", scorer.model.registry.count()));
    let draw = Draw::new(args.seed.unwrap_or(config.seed));
    let errors = errors(&scorer, &known, &levels, draw)?;
    let field = Field { scorer: &scorer, config, mixture: known.mixture(), exact: known.is_exact(), draw };
    for out in &args.out {
        let bytes = match ends_in(out, "gif") {
            true => images::gif(field.animation(args.n as usize)?)?,
            false => {
                let mut panels = field.arrows(&levels, &errors)?;
                if args.trajectories {
                    panels.extend(field.trajectories()?);
                }
                images::png(&tiled(&panels, levels.len())?.into())?
            }
        };
        written(out, &bytes)?;
    }
    report(common, args, &levels, &errors)
}

/// Prints the errors, if the distribution is known, and the outputs.
fn report(common: &Common, args: &Args, levels: &[Level], errors: &[f64]) -> anyhow::Result<()> {
    let written: Vec<String> = args.out.iter().map(|out| out.display().to_string()).collect();
    let levels: Vec<_> = levels.iter().enumerate().map(|(i, level)| (level, errors.get(i))).collect();
    if common.json {
        let levels = levels.iter().map(|(level, error)| {
            serde_json::json!({ "t": level.t, "sigma": level.sigma, "relative_error": error })
        });
        return print(serde_json::json!({ "levels": levels.collect::<Vec<_>>(), "written": written }));
    }
    for (level, error) in levels.iter().filter_map(|(level, error)| Some((level, (*error)?))) {
        let percent = 100.0 * error;
        print(format!(
            "σ = {:.4}, t = {:.4}: relative error of the score {percent:.1} %",
            level.sigma, level.t
        ))?;
    }
    print(format!("field: {}", written.join(", ")))
}

/// The relative error of the score at each level; none if the distribution is not known.
fn errors(scorer: &Scorer, known: &Distribution, levels: &[Level], draw: Draw) -> anyhow::Result<Vec<f64>> {
    let Distribution::Toy(mixture) = known else { return Ok(Vec::new()) };
    let error = |level: &Level| Ok(score_error(scorer, mixture, level.t, POINTS, draw)?);
    levels.iter().map(error).collect()
}

impl Args {
    /// The noise levels of a process that are drawn.
    fn levels(&self, process: &dyn Process) -> anyhow::Result<Vec<Level>> {
        if let Some(t) = self.t.iter().find(|t| !(**t > 0.0 && **t <= 1.0)) {
            bail!("--t {t}: it must be in (0, 1]");
        }
        let [least, most] = [process.sampling_eps(), 1.0].map(|t| process.level(t).sigma);
        let level = |sigma: &f64| process.level_within(*sigma);
        if let Some(sigma) = self.sigma.iter().find(|sigma| level(sigma).is_none()) {
            bail!(
                "--sigma {sigma}: the process has noise levels from {least:.3e} to below {most:.3}; take one of them"
            );
        }
        let chosen: Vec<Level> = match (&self.sigma[..], &self.t[..]) {
            ([], []) => SIGMAS.iter().filter_map(level).collect(),
            (sigmas, []) => sigmas.iter().filter_map(level).collect(),
            (_, times) => times.iter().map(|t| process.level(*t)).collect(),
        };
        ensure!(
            !chosen.is_empty(),
            "the process has none of the noise levels {SIGMAS:?}; choose some with --sigma"
        );
        ensure!(
            chosen.len() <= LEVELS,
            "{}: a picture has at most {LEVELS}",
            count(chosen.len(), "noise level")
        );
        Ok(chosen)
    }
}

/// The distribution of a model's data.
enum Distribution {
    /// A toy distribution.
    Toy(Mixture),
    /// Points that stand for an unknown one.
    Points(Mixture),
}

impl Distribution {
    fn of(data: &Data) -> anyhow::Result<Distribution> {
        if let Some(toy) = data.distribution {
            return Ok(Distribution::Toy(Mixture::of(toy)));
        }
        ensure!(
            data.dataset != Data::GIVEN,
            "the program that trained this model gave its points, so that their density is not known here"
        );
        let all = plane::points(load_points(data, Split::Train)?.values());
        let chosen: Vec<_> = all.iter().copied().step_by(all.len().div_ceil(STAND_IN).max(1)).collect();
        note(format!(
            "the density and the score beside the model's are those of {} of the {} training points",
            chosen.len(),
            all.len()
        ));
        Ok(Distribution::Points(Mixture::of_points(&chosen)))
    }

    fn mixture(&self) -> &Mixture {
        match self {
            Distribution::Toy(mixture) | Distribution::Points(mixture) => mixture,
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Distribution::Toy(_))
    }
}
