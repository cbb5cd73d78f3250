//! `tweedie init`.

use super::data::surveyed;
use crate::choice::Choice;
use crate::cli::arguments::{choice, image_size};
use crate::cli::io::data;
use crate::cli::report::say;
use crate::cli::{Common, paths, print, with_adapter};
use crate::config::{BuiltIn, Config, Fit, ImageSize};
use crate::data::{Dataset, Survey};
use crate::gpu::{Adapter, Bytes, choose};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// Write a configuration for data of your own: sizes, network and noise levels, with the reasons.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie init photos/ --out my.toml\n  \
    tweedie init photos.zip --out my.toml --size 48x64\n  \
    tweedie train my.toml --out runs/mine")]
pub struct Args {
    /// The images: a data set in the program, or a path
    #[arg(value_name = data::DATA)]
    data: String,
    /// The configuration, F.toml
    #[arg(long, value_name = "F.toml")]
    out: PathBuf,
    /// The size of the model's images: N for squares, or HEIGHTxWIDTH [default: the images' own, if all have the same and it is
    /// at most 64, else a power of 2]
    #[arg(long, value_name = "N|HxW", value_parser = image_size)]
    size: Option<ImageSize>,
    /// The way in which a picture of another shape becomes an image
    #[arg(long, value_parser = choice::<Fit>(), default_value_t = Fit::Crop)]
    fit: Fit,
    /// Replace the file
    #[arg(long)]
    overwrite: bool,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let out = &args.out;
    ensure!(paths::ends_in(out, "toml"), "--out {}: a configuration ends in .toml", out.display());
    ensure!(
        args.overwrite || !out.exists(),
        "{} exists; add --overwrite, or choose another --out",
        out.display()
    );
    paths::writable(out)?;
    let adapter = choose(common.adapter.as_deref()).map_err(with_adapter)?;
    let (what, survey, some) = surveyed(&args.data, args.size, args.fit)?;
    let plan = Plan::new(&adapter, &survey, &some)?;
    let text = plan.toml(&args.data, &what, &survey, args.fit)?;
    Config::from_toml(&text, &[]).context("this should not have happened; please report it")?;
    paths::written(out, text.as_bytes())?;
    if common.json {
        return print(serde_json::to_string(&Config::from_toml(&text, &[])?)?);
    }
    say(format!("{}: a configuration for {} images; look through it, then", out.display(), survey.images));
    print(format!(
        "tweedie train {} --out runs/{}",
        out.display(),
        out.file_stem().unwrap_or_default().display()
    ))
}

/// The choices of a configuration.
struct Plan {
    size: ImageSize,
    channels: usize,
    network: Network,
    batch: usize,
    /// Bytes of a training step of one image, roughly.
    each: u64,
    /// The name of the adapter.
    adapter: String,
    /// Its memory, if it is known.
    memory: Option<u64>,
    /// The largest distance between two images in [0, 1], and the number of images compared.
    distance: (f64, usize),
    software: bool,
}

/// The sizes of an NCSN++.
struct Network {
    nf: usize,
    ch_mult: Vec<usize>,
    num_res_blocks: usize,
}

/// The largest number of images whose distances are measured: 500,000 pairs.
const COMPARED: usize = 1000;

/// Tensors that a training step keeps for each residual block, roughly: measured on the digits and on CIFAR-10.
const KEPT: usize = 14;

impl Plan {
    fn new(adapter: &Adapter, survey: &Survey, some: &Dataset) -> anyhow::Result<Plan> {
        let (size, channels) = (some.size, survey.channels);
        let compared = COMPARED.min(some.len());
        let distance = some.largest_distance(compared) / 255.0;
        ensure!(compared > 1, "a model needs more than one image");
        ensure!(distance > 0.0, "all of the images are equal");
        let (software, memory) = (adapter.is_cpu(), adapter.memory());
        let network = Network::new(size, software);
        let each = network.bytes(size);
        // A half for parameters, their gradients and what else needs memory.
        let fits = |batch: &usize| memory.is_none_or(|memory| *batch as u64 * each <= memory / 2);
        let largest = if software { 32 } else { 128 };
        let batch =
            (0..=7).rev().map(|power| 1 << power).filter(|batch| *batch <= largest).find(fits).unwrap_or(1);
        let (adapter, distance) = (adapter.name().to_string(), (distance, compared));
        Ok(Plan { size, channels, network, batch, each, adapter, memory, distance, software })
    }

    /// σ_max, rounded up to two digits.
    fn sigma_max(&self) -> f64 {
        let digit = 10f64.powf(self.distance.0.log10().floor() - 1.0);
        ((self.distance.0 / digit).ceil() * digit * 1e6).round() / 1e6
    }

    /// The configuration with its reasons.
    fn toml(&self, spec: &str, what: &str, survey: &Survey, fit: Fit) -> anyhow::Result<String> {
        let Plan { size, channels, network, batch, software, .. } = self;
        let Network { nf, ch_mult, num_res_blocks } = network;
        let heights: Vec<usize> = (0..ch_mult.len()).map(|level| size.halved(level).height).collect();
        let attended = heights.iter().find(|height| **height <= 16).or(heights.last()).copied().unwrap_or(1);
        let (n_iters, warmup, snapshot_freq, log_freq, ema) =
            if *software { (2000, 100, 500, 20, 0.999) } else { (100_000, 5000, 5000, 100, 0.9999) };
        let (dataset, path) = match BuiltIn::named(spec) {
            Some(name) => (name.to_string(), String::new()),
            // The run can then be continued from any folder.
            None => {
                let path = std::path::absolute(Path::new(spec))?;
                let path = path.to_str().context("a configuration can only name paths that are UTF-8")?;
                (crate::data::Kind::of(Path::new(spec))?.to_string(), format!("path = {}\n", quoted(path)?))
            }
        };
        let speed = match software {
            true => "Small enough for a software driver; a GPU affords nf = 128 and more blocks",
            false => "As wide as the paper's for CIFAR-10; half of it trains twice as fast",
        };
        let memory = self.memory.map_or("unknown memory".into(), |bytes| Bytes(bytes).to_string());
        let labels = match survey.classes.len() {
            0 | 1 => String::new(),
            n => format!(
                "# The images have {n} classes; to choose among them in `sample --class`:\n# num_classes = {n}\n"
            ),
        };
        let fit = if survey.sizes.len() > 1 || survey.sizes[0].0 != *size {
            format!("fit = \"{fit}\"\n")
        } else {
            String::new()
        };
        let flip = match channels {
            3 => {
                "# Mirror images are as likely in most photographs; not in letters and digits.\nrandom_flip = true\n"
            }
            _ => "",
        };
        Ok(format!(
            "# NCSN++ with the VE SDE (Song 2021) on {count} images: {what}. Written by `tweedie init`; every key: `tweedie help config`.\n\
             \n\
             seed = 42\n\
             \n\
             [data]\n\
             dataset = \"{dataset}\"\n\
             {path}\
             # {sizes}\n\
             image_size = {size}\n\
             num_channels = {channels}\n\
             centered = false\n\
             {fit}\
             {flip}\
             \n\
             [training]\n\
             sde = \"vesde\"\n\
             continuous = true\n\
             # A step takes about {each} an image; {adapter} has {memory}.\n\
             batch_size = {batch}\n\
             n_iters = {n_iters}\n\
             reduce_mean = false\n\
             snapshot_freq = {snapshot_freq}\n\
             log_freq = {log_freq}\n\
             \n\
             [model]\n\
             name = \"ncsnpp\"\n\
             sigma_min = 0.01\n\
             # The largest distance between two of {compared} images is {distance:.2} (Song and Ermon 2020, technique 1).\n\
             sigma_max = {sigma_max:?}\n\
             num_scales = 1000\n\
             # {speed}.\n\
             nf = {nf}\n\
             ch_mult = {ch_mult:?}\n\
             num_res_blocks = {num_res_blocks}\n\
             # The levels have images of heights {heights:?}.\n\
             attn_resolutions = [{attended}]\n\
             fir = true\n\
             progressive_input = \"residual\"\n\
             embedding_type = \"fourier\"\n\
             scale_by_sigma = true\n\
             ema_rate = {ema}\n\
             {labels}\
             \n\
             [optim]\n\
             lr = {lr}\n\
             warmup = {warmup}\n\
             \n\
             [sampling]\n\
             # 20 evaluations of the network a sample; the paper's sampler is `sample --sampler pc --steps 1000`.\n\
             method = \"dpmpp_2m\"\n\
             steps = 20\n\
             eta = 1.0\n",
            count = survey.images,
            sizes = size_reason(survey, *size),
            adapter = self.adapter,
            each = Bytes(self.each),
            compared = self.distance.1,
            distance = self.distance.0,
            sigma_max = self.sigma_max(),
            lr = if *software { "1e-3" } else { "2e-4" },
        ))
    }
}

impl Network {
    /// A network for images of a size: levels down to 4 to 8 pixels, at most four of them.
    fn new(size: ImageSize, software: bool) -> Network {
        let halved = |times: usize| size.can_be_halved(times) && size.height.min(size.width) >> times >= 4;
        let levels = 1 + (1..=3).take_while(|times| halved(*times)).count();
        let ch_mult = (0..levels).map(|level| if level == 0 { 1 } else { 2 }).collect();
        match software {
            true => Network { nf: 16, ch_mult, num_res_blocks: if size.pixels() <= 256 { 2 } else { 1 } },
            false => Network { nf: 128, ch_mult, num_res_blocks: 4 },
        }
    }

    /// Bytes that a training step keeps for each image, roughly.
    fn bytes(&self, size: ImageSize) -> u64 {
        let level = |(level, mult): (usize, &usize)| {
            (size.halved(level).pixels() * self.nf * mult * (2 * self.num_res_blocks + 1) * KEPT * 4) as u64
        };
        self.ch_mult.iter().enumerate().map(level).sum()
    }
}

/// The reason for a size.
fn size_reason(survey: &Survey, size: ImageSize) -> &'static str {
    match survey.sizes[..] {
        [(own, _)] if own == size => "The images' own size.",
        [_] => "The images are larger or cannot be halved often enough; --size chooses another size.",
        _ => "The images have many sizes; --size chooses another size.",
    }
}

/// A string of TOML.
fn quoted(text: &str) -> anyhow::Result<String> {
    Ok(toml::Value::from(text).to_string())
}
