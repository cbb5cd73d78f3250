//! `tweedie evaluate`.

mod classify;
mod compare;
mod extract;
mod report;
mod side;
mod weights;

use crate::choice::{Choice, choices};
use crate::cli::arguments::Evaluation;
use crate::cli::io::{is_model, paths, pictures::Pictures, statistics};
use crate::cli::report::{count, say};
use crate::cli::sampling::{All, SamplingFlags};
use crate::cli::{Common, choice, ends_in, open_model};
use crate::config::{BuiltIn, Config};
use crate::data::Split;
use crate::train::Weights;
use anyhow::ensure;
use compare::Described;
use extract::Extractor;
use report::Report;
use side::{Content, Side};
use std::path::{Path, PathBuf};
use weights::Convention;

choices! {
    /// The metrics.
    pub enum Metric {
        /// The Fréchet distance; FID on Inception's features.
        Frechet = "frechet",
        /// The kernel distance and its standard error; KID on Inception's features.
        Kernel = "kernel",
        /// Improved precision and recall, k = 3.
        PrecisionRecall = "precision-recall",
        /// The Inception score.
        InceptionScore = "inception-score",
        /// The search for copies of training images.
        Copies = "copies",
    }
}

/// Compare samples, data or models: distances of their features, precision and recall, copies of training images.
///
/// Both sides are samples (F.npz, F.npy, a folder), data (digits, a path; PATH:train for training images), a model, which is
/// sampled, or statistics (F.npz with mu and sigma). For a classifier: its accuracy by noise level. For samples of a class, with
/// --classifier: the share with the requested class.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie sample runs/digits -n 400 --out samples.npz\n  \
    tweedie evaluate samples.npz --data digits\n  \
    tweedie evaluate runs/digits -n 400 --sampler dpmpp_2m --steps 20\n  \
    tweedie evaluate samples.npz photos/ --inception pt_inception-2015-12-05-6726825d.pth\n  \
    tweedie evaluate samples.npz cifar10-32x32.npz --features inception --markdown\n  \
    tweedie evaluate threes.npz --classifier runs/classifier --class 3\n  \
    tweedie evaluate runs/classifier")]
pub struct Args {
    /// Samples, data, a model or statistics; or a classifier
    #[arg(value_name = "A")]
    samples: String,
    /// The reference, in the same forms [default: a model's own data, `own` or `own:train`; else digits]
    #[arg(value_name = "B")]
    reference: Option<String>,
    /// The same as B
    #[arg(long, value_name = "B", conflicts_with = "reference")]
    data: Option<String>,
    /// A file or folder of training images to find copies of, if B is a path
    #[arg(long, value_name = "FILE")]
    train: Option<String>,
    /// The features: pixels, inception, or a classifier, a run folder or a checkpoint [default: pixels; inception with --inception]
    #[arg(long, value_name = "pixels|inception|MODEL")]
    features: Option<String>,
    /// The weights of FID's Inception v3, remembered for later commands
    #[arg(long, value_name = "FILE.pth")]
    inception: Option<PathBuf>,
    /// The way from images to Inception's input [default: that of the program that publishes the file]
    #[arg(long, value_parser = choice::<Convention>())]
    convention: Option<Convention>,
    /// Compare only the K principal components of B's features
    #[arg(long, value_name = "K")]
    components: Option<std::num::NonZeroU32>,
    /// The metrics, with commas between them [default: all that can be computed]
    #[arg(long, value_delimiter = ',', value_parser = choice::<Metric>())]
    metrics: Vec<Metric>,
    /// Also write the mean and the covariance of A's features (mu, sigma)
    #[arg(long, value_name = "F.npz")]
    stats: Option<PathBuf>,
    /// Also write a picture of the first ten samples and their nearest training images
    #[arg(long, value_name = "F.png")]
    neighbors: Option<PathBuf>,
    /// Print a table in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Samples of a model [default: as many as B has, at most 50000]
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    /// The seed of a model's samples [default: the model's]
    #[arg(long)]
    seed: Option<u64>,
    /// The classifier that recognises the class of samples, a run folder or a checkpoint
    #[arg(long, value_name = "MODEL", requires = "class", conflicts_with_all = ["data", "reference", "train"])]
    classifier: Option<PathBuf>,
    /// The requested class, or several with equally many samples each, in order
    #[arg(long, value_name = "K|K,K,…|all", requires = "classifier", allow_negative_numbers = true)]
    class: Option<String>,
    #[command(flatten)]
    flags: SamplingFlags<All>,
    #[command(flatten)]
    evaluation: Evaluation,
}

/// The number of samples by convention.
const SAMPLES: usize = 50_000;

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let resume = args.evaluation.resume;
    let a = Model::open(&args.samples)?;
    if let Some(model) = &a
        && model.config.is_classifier()
    {
        for (option, given) in args.of_comparisons() {
            ensure!(!given, "{option}: a classifier is evaluated alone; leave the option out");
        }
        let data = args.reference.as_deref().or(args.data.as_deref());
        return classify::accuracy(common, Path::new(&args.samples), data, resume);
    }
    if let (Some(classifier), Some(class)) = (&args.classifier, &args.class) {
        for (option, given) in
            args.of_comparisons().into_iter().filter(|(option, _)| option != "--classifier")
        {
            ensure!(
                !given,
                "{option}: with --classifier samples are compared with nothing; leave the option out"
            );
        }
        ensure!(a.is_none(), "--classifier: {} is a model; draw samples with `tweedie sample`", args.samples);
        let pictures = Pictures::read(&args.samples)?;
        let inside = pictures.batch.values.iter().all(|v| (0.0..=1.0).contains(v));
        ensure!(inside, "{}: some values are not in [0, 1]", args.samples);
        return classify::requested(common, pictures, classifier, class, resume);
    }
    args.check_outputs()?;
    let spec = args.reference.as_deref().or(args.data.as_deref());
    let b = spec.filter(|spec| side::own_split(spec).is_none()).map(Model::open).transpose()?.flatten();
    if let Some(b) = b.as_ref().filter(|b| b.config.is_classifier()) {
        anyhow::bail!("{} is a classifier; samples are compared with data, samples or a score model", b.name);
    }
    if a.is_none() && b.is_none() {
        args.refuse_sampling()?;
    }
    compare(common, args, a, b, spec)
}

/// A model on one side.
struct Model {
    name: String,
    config: Config,
}

impl Model {
    /// The model that a specification names, if it names one.
    fn open(spec: &str) -> anyhow::Result<Option<Model>> {
        let path = Path::new(spec);
        if !(is_model(path) || ends_in(path, "safetensors") || spec.starts_with("hf:")) {
            return Ok(None);
        }
        Ok(Some(Model { name: spec.into(), config: open_model(path)?.config().clone() }))
    }
}

fn compare(
    common: &Common,
    args: &Args,
    a: Option<Model>,
    b: Option<Model>,
    spec: Option<&str>,
) -> anyhow::Result<()> {
    let gpu = common.open()?;
    let extractor = Extractor::open(common, &gpu, args)?;
    let drawn = |model: &Model, other: Option<usize>| {
        let n = args.n.unwrap_or(other.unwrap_or(SAMPLES).min(SAMPLES) as u32);
        side::draw(common, args, &model.name, n)
    };
    // What is not drawn is read first: its number is that of the samples.
    let mut first = if a.is_some() { None } else { Some(side::read(&args.samples, true)?) };
    let second = match (&b, spec, &a) {
        (Some(model), ..) => drawn(model, first.as_ref().and_then(Side::len))?,
        (None, Some(spec), model) => match (side::own_split(spec), model) {
            (Some(split), Some(model)) => side::reference_of(&model.name, &model.config, split)?,
            _ => side::read(spec, false)?,
        },
        (None, None, Some(model)) => side::reference_of(&model.name, &model.config, None)?,
        (None, None, None) => side::read("digits", false)?,
    };
    if let Some(model) = &a {
        first = Some(drawn(model, second.len())?);
    }
    let Some(first) = first else { return Ok(()) };
    let training = training(args, a.as_ref(), spec)?;
    say(format!("comparing {} with {}", called(&first), called(&second)));
    let mut sides = [first, second];
    if let (Extractor::Pixels, Content::Images(batch), Content::Images(other)) =
        (&extractor, &sides[0].content, &sides[1].content)
    {
        sides[0].content = Content::Images(side::like(batch.clone(), &sides[0].name, other.shape)?);
    }
    let names = sides.each_ref().map(|side| side.name.clone());
    let names = names.each_ref().map(String::as_str);
    let mut unfinished = Vec::new();
    let mut described = Vec::new();
    for side in &sides {
        described.push(match &side.content {
            Content::Features(features, logits) => Described::Features(features.clone(), logits.clone()),
            Content::Moments(moments) => Described::Moments(moments.clone()),
            Content::Images(batch) => {
                let extracted = extractor.run(batch, &side.name, args.evaluation.resume)?;
                unfinished.extend(extracted.unfinished);
                Described::Features(extracted.features, extracted.logits)
            }
        });
    }
    let (Some(theirs), Some(ours)) = (described.pop(), described.pop()) else { return Ok(()) };
    let mut features = extractor.name();
    if let Some(path) = &args.stats {
        statistics::write(path, &ours.moments(names[0])?)?;
    }
    let [ours, theirs] = match args.components {
        None => [ours, theirs],
        Some(count) => {
            features = format!("{count} principal components of {features}");
            compare::components(count.get() as usize, [ours, theirs], names)?
        }
    };
    let mut report = Report {
        names: names.map(String::from),
        members: sides.each_ref().map(|side| (side.len(), side.what)),
        features,
        convention: extractor.convention(),
        dimensions: theirs.dimensions(),
        frechet: None,
        kernel: None,
        precision_recall: None,
        inception_score: None,
        copies: None,
    };
    sides.iter().for_each(|side| side::warn(side, theirs.dimensions()));
    compare::metrics(&gpu, args, [&ours, &theirs], names, &mut report)?;
    let copies = args.metrics.is_empty() || args.metrics.contains(&Metric::Copies);
    match &training {
        Some(training) if copies => compare::search(&gpu, [&sides[0], &sides[1]], training, &mut report)?,
        None if args.metrics.contains(&Metric::Copies) => {
            anyhow::bail!("--metrics copies: there are no training images; name them with --train");
        }
        _ => {}
    }
    if let Some(path) = &args.neighbors {
        compare::picture(&gpu, path, &sides[0], training.as_ref().unwrap_or(&sides[1]))?;
    }
    report.print(common.json, args.markdown)?;
    let drawn = sides.into_iter().filter_map(|side| side.unfinished);
    drawn.chain(unfinished).for_each(|file| file.finish());
    Ok(())
}

/// The number of members of a side.
fn called(side: &Side) -> String {
    side.len().map_or(side.name.clone(), |n| count(n, side.what))
}

/// The training images to find copies of: those of a built-in data set or of the model, or of --train.
fn training(args: &Args, model: Option<&Model>, spec: Option<&str>) -> anyhow::Result<Option<Side>> {
    let name = spec.map(|spec| spec.split_once(':').map_or(spec, |(name, _)| name));
    let built_in = match (name, model) {
        (None, None) => Some("digits"),
        (name, _) => name.filter(|name| BuiltIn::named(name).is_some()),
    };
    let own = model.filter(|_| spec.is_none_or(|spec| side::own_split(spec).is_some()));
    if let Some(path) = &args.train {
        ensure!(
            built_in.is_none(),
            "--train: {} has its own training images; leave it out",
            built_in.unwrap_or_default()
        );
        return Ok(Some(side::read(path, false)?));
    }
    Ok(match (built_in, own) {
        (Some(name), _) => Some(side::read(&format!("{name}:train"), false)?),
        (None, Some(model)) => side::own(&model.config, Split::Train),
        (None, None) => None,
    })
}

/// The first of the options of [`Args::of_comparisons`] that are about the samples of a model.
const SAMPLING: usize = 10;

impl Args {
    /// The options of comparisons, and whether they are given.
    fn of_comparisons(&self) -> Vec<(String, bool)> {
        let flag = self.flags.any();
        let options = [
            ("--classifier", self.classifier.is_some()),
            ("--train", self.train.is_some()),
            ("--features", self.features.is_some()),
            ("--inception", self.inception.is_some()),
            ("--convention", self.convention.is_some()),
            ("--components", self.components.is_some()),
            ("--metrics", !self.metrics.is_empty()),
            ("--stats", self.stats.is_some()),
            ("--neighbors", self.neighbors.is_some()),
            ("--markdown", self.markdown),
        ];
        let sampling = [
            ("-n", self.n.is_some()),
            ("--seed", self.seed.is_some()),
            ("--weights", self.evaluation.weights != Weights::Ema),
        ];
        let named = options.into_iter().chain(sampling).map(|(option, given)| (option.to_string(), given));
        named.chain(flag.map(|flag| (format!("--{flag}"), true))).collect()
    }

    /// Refuses the options of samples where no side is a model.
    fn refuse_sampling(&self) -> anyhow::Result<()> {
        for (option, given) in self.of_comparisons().into_iter().skip(SAMPLING) {
            ensure!(!given, "{option}: neither side is a model, so nothing is sampled; leave the option out");
        }
        let network =
            self.inception.is_some() || self.features.as_deref().is_some_and(|name| name != "pixels");
        ensure!(
            network || !self.evaluation.resume,
            "--resume: comparing samples with data is not kept in parts; leave it out"
        );
        Ok(())
    }

    fn check_outputs(&self) -> anyhow::Result<()> {
        for (option, path, ending) in [("stats", &self.stats, "npz"), ("neighbors", &self.neighbors, "png")] {
            if let Some(path) = path {
                ensure!(
                    ends_in(path, ending),
                    "--{option} {}: choose a file that ends in .{ending}",
                    path.display()
                );
                paths::check_file(path)?;
            }
        }
        let network = self.inception.is_some() || self.features.as_deref() == Some("inception");
        ensure!(
            network || self.convention.is_none(),
            "--convention is Inception's; add --features inception"
        );
        ensure!(
            self.inception.is_none() || self.features.as_deref().is_none_or(|name| name == "inception"),
            "--inception and --features {} exclude each other",
            self.features.as_deref().unwrap_or_default()
        );
        let read = [Some(&self.samples), self.reference.as_ref(), self.data.as_ref(), self.train.as_ref()];
        let read: Vec<&Path> =
            read.into_iter().flatten().map(Path::new).chain(self.inception.as_deref()).collect();
        paths::apart(&read, self.stats.iter().chain(&self.neighbors))
    }
}
