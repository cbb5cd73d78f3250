//! Configurations: TOML with the reference implementation's keys.

use crate::sde::{Sde, SdeKind};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML, or a key is unknown, missing or of another type.
    #[error("{0}")]
    Text(String),
    /// A value that cannot be.
    #[error("{key} = {value}: {why}")]
    Value {
        /// The key, as `section.key`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        why: String,
    },
}

/// An error about one key.
pub(crate) fn refuse(key: &'static str, value: impl std::fmt::Debug, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: format!("{value:?}").replace('"', ""), why: why.into() }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// All randomness derives from it: 0 to 2⁶³ − 1.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    /// How to train.
    pub training: Training,
    /// How to sample.
    #[serde(default)]
    pub sampling: Sampling,
    /// What to train on.
    pub data: Data,
    /// The network and the process.
    pub model: Model,
    /// The optimiser.
    #[serde(default)]
    pub optim: Optim,
}

/// `training`: the objective and the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The forward process.
    pub sde: SdeName,
    /// Continuous times, or the discretisation's.
    #[serde(default = "defaults::yes")]
    pub continuous: bool,
    /// Images in a step.
    pub batch_size: usize,
    /// Steps in all.
    pub n_iters: u64,
    /// Average the squared error over pixels instead of half of its sum.
    #[serde(default)]
    pub reduce_mean: bool,
    /// Weight the loss by g(t)², which bounds the likelihood (Song 2021b).
    #[serde(default)]
    pub likelihood_weighting: bool,
    /// Steps between checkpoints.
    #[serde(default = "defaults::snapshot_freq")]
    pub snapshot_freq: u64,
    /// Steps between rows of `metrics.csv`.
    #[serde(default = "defaults::log_freq")]
    pub log_freq: u64,
    /// Draw samples with every checkpoint.
    #[serde(default)]
    pub snapshot_sampling: bool,
}

/// The names of the forward processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdeName {
    /// Variance exploding.
    Vesde,
    /// Variance preserving.
    Vpsde,
    /// Sub-variance preserving.
    Subvpsde,
}

/// `sampling`: the defaults of `tweedie sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// `pc`.
    pub method: Method,
    /// The predictor.
    pub predictor: PredictorName,
    /// The corrector.
    pub corrector: CorrectorName,
    /// Corrector steps at each time.
    pub n_steps_each: u16,
    /// The corrector's target signal-to-noise ratio.
    pub snr: f64,
    /// Leave the noise of the last step out.
    pub noise_removal: bool,
    /// Run the predictor on the probability flow instead of the reverse-time SDE.
    pub probability_flow: bool,
    /// Steps of the predictor; 0 means `model.num_scales`.
    pub steps: usize,
    /// Whether the Langevin step's norms are those of a sample or, as in the reference, means over the batch.
    pub langevin_norms: LangevinNorms,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            method: Method::Pc,
            predictor: PredictorName::ReverseDiffusion,
            corrector: CorrectorName::Langevin,
            n_steps_each: 1,
            snr: 0.16,
            noise_removal: true,
            probability_flow: false,
            steps: 0,
            langevin_norms: LangevinNorms::Sample,
        }
    }
}

/// Families of samplers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Predictor and corrector.
    Pc,
}

/// The predictors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum PredictorName {
    /// Euler–Maruyama on the reverse-time SDE.
    EulerMaruyama,
    /// The forward discretisation reversed.
    ReverseDiffusion,
    /// Ancestral sampling: the posterior of the discrete chain.
    AncestralSampling,
    /// No predictor.
    None,
}

/// The correctors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum CorrectorName {
    /// Langevin dynamics.
    Langevin,
    /// No corrector.
    None,
}

/// Over what the Langevin step's norms are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LangevinNorms {
    /// Each sample: it does not depend on its batch.
    Sample,
    /// Mean over the batch, as in the reference.
    Batch,
}

/// `data`: the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `digits`, which is built in; `idx`, from files; or the name of one that has to be brought as files.
    pub dataset: String,
    /// Height and width.
    pub image_size: usize,
    /// Channels.
    pub num_channels: usize,
    /// Whether images are scaled to [−1, 1] instead of [0, 1].
    pub centered: bool,
    /// Flip half of the training images left to right.
    #[serde(default)]
    pub random_flip: bool,
    /// Add uniform noise of one grey level.
    #[serde(default)]
    pub uniform_dequantization: bool,
    /// `idx`: the training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// `idx`: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// `idx`: the test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<PathBuf>,
    /// `idx`: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<PathBuf>,
}

/// `model`: the network and the process's parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The architecture.
    pub name: ModelName,
    /// VE: the smallest standard deviation.
    #[serde(default = "defaults::sigma_min")]
    pub sigma_min: f64,
    /// VE: the largest.
    #[serde(default = "defaults::sigma_max")]
    pub sigma_max: f64,
    /// Steps of the discretisation.
    #[serde(default = "defaults::num_scales")]
    pub num_scales: usize,
    /// VP, sub-VP: β(0).
    #[serde(default = "defaults::beta_min")]
    pub beta_min: f64,
    /// VP, sub-VP: β(1).
    #[serde(default = "defaults::beta_max")]
    pub beta_max: f64,
    /// Dropout in the residual blocks.
    #[serde(default)]
    pub dropout: f64,
    /// The kind of normalisation: `ncsnpp` always has group norm.
    #[serde(default = "defaults::normalization")]
    pub normalization: String,
    /// The nonlinearity.
    #[serde(default = "defaults::nonlinearity")]
    pub nonlinearity: Nonlinearity,
    /// Channels of the first level.
    pub nf: usize,
    /// Multiplies `nf`, level by level.
    pub ch_mult: Vec<usize>,
    /// Residual blocks in a level.
    pub num_res_blocks: usize,
    /// Image sizes at which there is attention.
    #[serde(default)]
    pub attn_resolutions: Vec<usize>,
    /// Whether DDPM's resampling has a convolution.
    #[serde(default = "defaults::yes")]
    pub resamp_with_conv: bool,
    /// Whether the network is told the time.
    #[serde(default = "defaults::yes")]
    pub conditional: bool,
    /// FIR resampling instead of nearest neighbour and mean.
    #[serde(default)]
    pub fir: bool,
    /// Its filter.
    #[serde(default = "defaults::fir_kernel")]
    pub fir_kernel: Vec<f64>,
    /// Divide the sum of a skip connection by √2.
    #[serde(default = "defaults::yes")]
    pub skip_rescale: bool,
    /// The residual block.
    #[serde(default = "defaults::resblock_type")]
    pub resblock_type: ResblockType,
    /// The output's pyramid.
    #[serde(default = "defaults::progressive")]
    pub progressive: Progressive,
    /// The input's pyramid.
    #[serde(default = "defaults::progressive_input")]
    pub progressive_input: ProgressiveInput,
    /// How the input's pyramid is joined.
    #[serde(default = "defaults::progressive_combine")]
    pub progressive_combine: Combine,
    /// The only kind of attention there is: `ddpm`.
    #[serde(default = "defaults::attention_type")]
    pub attention_type: String,
    /// How the network is told the time.
    pub embedding_type: EmbeddingType,
    /// Standard deviation of the Fourier frequencies.
    #[serde(default = "defaults::fourier_scale")]
    pub fourier_scale: f64,
    /// Scale of the initial weights that end a residual branch; 0 means 1e-10.
    #[serde(default)]
    pub init_scale: f64,
    /// The only window there is: 3.
    #[serde(default = "defaults::conv_size")]
    pub conv_size: usize,
    /// Divide the output by σ.
    #[serde(default)]
    pub scale_by_sigma: bool,
    /// The moving average's rate.
    #[serde(default = "defaults::ema_rate")]
    pub ema_rate: f64,
}

/// The architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelName {
    /// NCSN++ and DDPM++.
    Ncsnpp,
}

/// The nonlinearities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nonlinearity {
    /// x σ(x)
    Swish,
    /// eˣ − 1 below 0
    Elu,
    /// 0 below 0
    Relu,
    /// 0.2 x below 0
    Lrelu,
}

/// The residual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResblockType {
    /// DDPM's, with resampling between the blocks.
    Ddpm,
    /// BigGAN's, which resamples within.
    Biggan,
}

/// The output's pyramids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progressive {
    /// None.
    None,
    /// The image is a sum of upsampled images, one from each level.
    OutputSkip,
    /// Features are upsampled and added, level by level.
    Residual,
}

/// The input's pyramids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressiveInput {
    /// None.
    None,
    /// Each level is shown the downsampled image.
    InputSkip,
    /// Features are downsampled and added, level by level.
    Residual,
}

/// How a level takes the input's pyramid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// As more channels.
    Cat,
    /// By adding.
    Sum,
}

/// How the network is told the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// Gaussian Fourier features of log σ.
    Fourier,
    /// Sinusoids of the label.
    Positional,
}

/// `optim`: Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optim {
    /// The only optimiser there is: `Adam`.
    pub optimizer: String,
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Times the weight, added to the gradient.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// The largest global norm of the gradient; a negative one allows any.
    pub grad_clip: f64,
}

impl Default for Optim {
    fn default() -> Self {
        Optim {
            optimizer: "Adam".into(),
            lr: 2e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            warmup: 5000,
            grad_clip: 1.0,
        }
    }
}

/// The reference's defaults (`configs/default_*_configs.py`).
mod defaults {
    use super::*;

    pub fn seed() -> u64 {
        42
    }
    pub fn yes() -> bool {
        true
    }
    pub fn snapshot_freq() -> u64 {
        50_000
    }
    pub fn log_freq() -> u64 {
        50
    }
    pub fn sigma_min() -> f64 {
        0.01
    }
    pub fn sigma_max() -> f64 {
        50.0
    }
    pub fn num_scales() -> usize {
        1000
    }
    pub fn beta_min() -> f64 {
        0.1
    }
    pub fn beta_max() -> f64 {
        20.0
    }
    pub fn normalization() -> String {
        "GroupNorm".into()
    }
    pub fn nonlinearity() -> Nonlinearity {
        Nonlinearity::Swish
    }
    pub fn fir_kernel() -> Vec<f64> {
        vec![1.0, 3.0, 3.0, 1.0]
    }
    pub fn resblock_type() -> ResblockType {
        ResblockType::Biggan
    }
    pub fn progressive() -> Progressive {
        Progressive::None
    }
    pub fn progressive_input() -> ProgressiveInput {
        ProgressiveInput::None
    }
    pub fn progressive_combine() -> Combine {
        Combine::Sum
    }
    pub fn attention_type() -> String {
        "ddpm".into()
    }
    pub fn fourier_scale() -> f64 {
        16.0
    }
    pub fn conv_size() -> usize {
        3
    }
    pub fn ema_rate() -> f64 {
        0.999
    }
}

impl Config {
    /// A configuration from TOML with `section.key=value` assignments on top, checked.
    ///
    /// # Errors
    /// If the text cannot be read, or a value cannot be; the message names the key and what it must be.
    pub fn from_toml(text: &str, assignments: &[String]) -> Result<Config, ConfigError> {
        let mut table: toml::Table = text.parse().map_err(|e| in_line(text, &e))?;
        for assignment in assignments {
            assign(&mut table, assignment)?;
        }
        let config: Config = match assignments.is_empty() {
            // From the text itself, so that a message can name the line.
            true => toml::from_str(text).map_err(|e| in_line(text, &e))?,
            false => table.try_into().map_err(|e: toml::de::Error| in_line("", &e))?,
        };
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is made of what TOML can say")
    }

    /// The forward process.
    pub fn sde(&self) -> Sde {
        let Model { sigma_min, sigma_max, beta_min, beta_max, num_scales, .. } = self.model;
        let kind = match self.training.sde {
            SdeName::Vesde => SdeKind::Ve { sigma_min, sigma_max },
            SdeName::Vpsde => SdeKind::Vp { beta_min, beta_max },
            SdeName::Subvpsde => SdeKind::SubVp { beta_min, beta_max },
        };
        Sde { kind, n: num_scales }
    }

    /// Checks every value that some other part would trip over.
    fn check(&self) -> Result<(), ConfigError> {
        self.check_training()?;
        self.check_process()?;
        self.check_network()
    }

    fn check_training(&self) -> Result<(), ConfigError> {
        let (t, o) = (&self.training, &self.optim);
        count("training.batch_size", t.batch_size as u64, MAX_STEPS)?;
        count("training.n_iters", t.n_iters, MAX_STEPS)?;
        count("training.snapshot_freq", t.snapshot_freq, u64::MAX)?;
        count("training.log_freq", t.log_freq, u64::MAX)?;
        if o.optimizer != "Adam" {
            return Err(refuse("optim.optimizer", &o.optimizer, "the only optimiser is Adam"));
        }
        within("optim.lr", o.lr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("optim.beta1", o.beta1, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.beta2", o.beta2, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.eps", o.eps, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("optim.weight_decay", o.weight_decay, 0.0..f64::INFINITY, "a number from 0 up")?;
        if !o.grad_clip.is_finite() || o.grad_clip == 0.0 {
            let why = "it must be a number above 0, or below 0 to clip nothing";
            return Err(refuse("optim.grad_clip", o.grad_clip, why));
        }
        if !t.continuous && t.sde == SdeName::Subvpsde {
            return Err(refuse(
                "training.continuous",
                false,
                "sub-VP has no discrete chain; it must be true",
            ));
        }
        if self.sampling.steps == 1 {
            let why = "a sampler needs at least 2; 0 means model.num_scales";
            return Err(refuse("sampling.steps", 1, why));
        }
        within("sampling.snr", self.sampling.snr, 0.0..f64::INFINITY, "a number from 0 up")
    }

    fn check_process(&self) -> Result<(), ConfigError> {
        let m = &self.model;
        within("model.sigma_min", m.sigma_min, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within(
            "model.sigma_max",
            m.sigma_max,
            m.sigma_min.next_up()..f64::INFINITY,
            "a number above model.sigma_min",
        )?;
        within("model.beta_min", m.beta_min, 0.0..f64::INFINITY, "a number from 0 up")?;
        within(
            "model.beta_max",
            m.beta_max,
            m.beta_min.next_up()..f64::INFINITY,
            "a number above model.beta_min",
        )?;
        within("model.ema_rate", m.ema_rate, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.dropout", m.dropout, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.init_scale", m.init_scale, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("model.fourier_scale", m.fourier_scale, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        if m.num_scales < 2 {
            return Err(refuse("model.num_scales", m.num_scales, "a discretisation needs at least 2 steps"));
        }
        count("model.num_scales", m.num_scales as u64, 1_000_000)
    }

    fn check_network(&self) -> Result<(), ConfigError> {
        let (m, d) = (&self.model, &self.data);
        count("data.image_size", d.image_size as u64, 1 << 16)?;
        count("data.num_channels", d.num_channels as u64, MAX_CHANNELS)?;
        count("model.nf", m.nf as u64, MAX_CHANNELS)?;
        count("model.num_res_blocks", m.num_res_blocks as u64, 1000)?;
        if m.ch_mult.is_empty() || m.ch_mult.contains(&0) {
            return Err(refuse("model.ch_mult", &m.ch_mult, "it needs one number from 1 up for each level"));
        }
        let widest = m.ch_mult.iter().max().map_or(1, |mult| (*mult as u64).saturating_mul(m.nf as u64));
        count("model.nf times model.ch_mult", widest, MAX_CHANNELS)?;
        let halvings = m.ch_mult.len() - 1;
        if halvings >= usize::BITS as usize || d.image_size % (1 << halvings) != 0 {
            let why = format!(
                "model.ch_mult has {} levels, so the size must divide by 2 to the power {halvings}; \
                 change it or the number of levels",
                m.ch_mult.len()
            );
            return Err(refuse("data.image_size", d.image_size, why));
        }
        let levels: Vec<usize> = (0..=halvings).map(|level| d.image_size >> level).collect();
        if !m.attn_resolutions.iter().all(|size| levels.contains(size)) {
            let why = format!("the levels have the sizes {levels:?}; name some of them");
            return Err(refuse("model.attn_resolutions", &m.attn_resolutions, why));
        }
        if m.attention_type != "ddpm" {
            return Err(refuse("model.attention_type", &m.attention_type, "the only attention is ddpm"));
        }
        if m.conv_size != 3 {
            return Err(refuse("model.conv_size", m.conv_size, "the only window is 3"));
        }
        if m.normalization != "GroupNorm" {
            return Err(refuse("model.normalization", &m.normalization, "ncsnpp has GroupNorm"));
        }
        let taps = m.fir_kernel.len();
        let sum: f64 = m.fir_kernel.iter().sum();
        if !(2..=crate::kernels::upfirdn2d::MAX_TAPS).contains(&taps) || !sum.is_finite() || sum == 0.0 {
            return Err(refuse(
                "model.fir_kernel",
                &m.fir_kernel,
                "it needs 2 to 12 numbers whose sum is not 0",
            ));
        }
        if m.embedding_type == EmbeddingType::Fourier && !self.training.continuous {
            let why =
                "fourier embeds a continuous noise level; set training.continuous = true, or use positional";
            return Err(refuse("model.embedding_type", "fourier", why));
        }
        Ok(())
    }
}

/// Steps, and images in one, are counted in 32 bits by the random numbers.
const MAX_STEPS: u64 = u32::MAX as u64;
/// More channels than any device has room for, and few enough that no count of parameters overflows.
const MAX_CHANNELS: u64 = 1 << 20;

fn count(key: &'static str, value: u64, most: u64) -> Result<(), ConfigError> {
    match value {
        0 => Err(refuse(key, value, "it must be at least 1")),
        _ if value > most => Err(refuse(key, value, format!("it must be at most {most}"))),
        _ => Ok(()),
    }
}

fn within(key: &'static str, value: f64, range: std::ops::Range<f64>, what: &str) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(refuse(key, value, format!("it must be {what}"))) }
}

/// What Rust calls a type, and what anyone does.
const TYPES: [(&str, &str); 5] = [
    ("expected usize", "expected a whole number from 0 up"),
    ("expected u64", "expected a whole number from 0 to 9223372036854775807"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected f64", "expected a number"),
    ("expected struct ", "expected section "),
];

/// A parser's message in one line, with the key or the line it is about.
fn in_line(text: &str, error: &toml::de::Error) -> ConfigError {
    let message = error.message().replace('\n', " ");
    let message = TYPES.iter().fold(message, |message, (theirs, ours)| message.replace(theirs, ours));
    // The key stands only in the whole message: "…\nin `section.key`\n".
    let whole = error.to_string();
    let key = whole.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let message = key.map_or(message.clone(), |key| format!("{key}: {message}"));
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    match line {
        Some(line) if !text.is_empty() => ConfigError::Text(format!("line {line}: {message}")),
        _ => ConfigError::Text(message),
    }
}

/// Applies `section.key=value` to a table.
fn assign(table: &mut toml::Table, assignment: &str) -> Result<(), ConfigError> {
    let wrong = |why: &str| ConfigError::Text(format!("--set {assignment}: {why}"));
    let form = || wrong("write it as section.key=value");
    let (path, value) = assignment.split_once('=').ok_or_else(form)?;
    if path.split('.').any(|part| part.trim().is_empty()) {
        return Err(form());
    }
    // A bare word is a string: nobody wants to quote in a shell.
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let (sections, key) = path.trim().rsplit_once('.').map_or((None, path.trim()), |(s, k)| (Some(s), k));
    let mut place = table;
    for section in sections.into_iter().flat_map(|s| s.split('.')) {
        let entry = place.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| wrong("the part before the last dot is no section"))?;
    }
    place.insert(key.to_string(), value);
    Ok(())
}
