//! `model`: the network and the process's parameters.

use super::{ConfigError, Data, MAX_CHANNELS, ObjectiveName, SdeName, Training, count, refuse, within};
use crate::sde::BetaSchedule;
use serde::{Deserialize, Serialize};

/// The largest number of taps of `model.fir_kernel`. `nn` asserts that the kernel takes as many.
pub(crate) const MAX_TAPS: usize = 12;

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
    /// VP: the schedule of β. Any but `linear` is a table of `num_scales` β from `beta_min` / `num_scales` to `beta_max` /
    /// `num_scales`; `squaredcos_cap_v2` reads neither.
    #[serde(default)]
    pub beta_schedule: BetaSchedule,
    /// Dropout in the residual blocks.
    #[serde(default)]
    pub dropout: f64,
    /// The normalisation: `InstanceNorm++` for `ncsn` and `ncsnv2`, `GroupNorm` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<String>,
    /// The nonlinearity.
    #[serde(default = "defaults::nonlinearity")]
    pub nonlinearity: Nonlinearity,
    /// Channels of the first level.
    pub nf: usize,
    /// `ncsnpp`, `ddpm`: multiplies `nf`, level by level.
    #[serde(default)]
    pub ch_mult: Vec<usize>,
    /// `ncsnpp`, `ddpm`: residual blocks in a level.
    #[serde(default)]
    pub num_res_blocks: usize,
    /// Image sizes with attention.
    #[serde(default)]
    pub attn_resolutions: Vec<usize>,
    /// Resample with a convolution, as DDPM does.
    #[serde(default = "super::yes")]
    pub resamp_with_conv: bool,
    /// Condition the network on the time.
    #[serde(default = "super::yes")]
    pub conditional: bool,
    /// FIR resampling instead of nearest neighbour and mean.
    #[serde(default)]
    pub fir: bool,
    /// Its filter.
    #[serde(default = "defaults::fir_kernel")]
    pub fir_kernel: Vec<f64>,
    /// Divide the sum of a skip connection by √2.
    #[serde(default = "super::yes")]
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
    /// The way in which the input's pyramid is merged.
    #[serde(default = "defaults::progressive_combine")]
    pub progressive_combine: Combine,
    /// The attention; only `ddpm` is supported.
    #[serde(default = "defaults::attention_type")]
    pub attention_type: String,
    /// Image sizes with attention in the decoder, if they differ from those of the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_resolutions_up: Option<Vec<usize>>,
    /// Attention after each block of the decoder, as in DDPM's first implementation, not only after the last one of a level.
    #[serde(default)]
    pub attn_up_each: bool,
    /// Groups of every norm; by default 32 for `ddpm`, and for `ncsnpp` at most 32, with at least four channels each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_groups: Option<usize>,
    /// Groups of the norms in the levels' attention, and of the first norm of each block of such a level in the decoder, if they
    /// differ from those of other norms: 32 in `UNet2DModel`'s AttnSkip blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_num_groups: Option<usize>,
    /// `ncsnpp`, `ddpm`: channels of an attention head, one number for all levels or one for each; left out, attention has
    /// one head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attn_head_dim: Vec<usize>,
    /// Added to the variance in every group norm.
    #[serde(default = "defaults::norm_eps")]
    pub norm_eps: f64,
    /// Padding of DDPM's convolution with stride 2: 0, below and to the right only; 1, on every side.
    #[serde(default)]
    pub downsample_padding: usize,
    /// Sinusoids have the frequencies 10000^(−i / (m − freq_shift)).
    #[serde(default = "defaults::freq_shift")]
    pub freq_shift: f64,
    /// The time embedding of `ncsnpp`.
    #[serde(default = "defaults::embedding_type")]
    pub embedding_type: EmbeddingType,
    /// Standard deviation of the Fourier frequencies.
    #[serde(default = "defaults::fourier_scale")]
    pub fourier_scale: f64,
    /// Scale of the initial weights that end a residual branch; 0 means 1e-10.
    #[serde(default)]
    pub init_scale: f64,
    /// Kernel size; only 3 is supported.
    #[serde(default = "defaults::conv_size")]
    pub conv_size: usize,
    /// The prediction of the network; by default the score for VE, the noise for VP and sub-VP, as in the reference, and EDM's with
    /// `training.objective = edm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    /// `prediction = edm`: standard deviation of the data.
    #[serde(default = "defaults::sigma_data")]
    pub sigma_data: f64,
    /// Divide the output by σ; `ncsnv2` always does, `ncsn` never.
    #[serde(default)]
    pub scale_by_sigma: bool,
    /// The number of classes, of the classifier `wideresnet` or of the class-conditional `ncsnpp`; 0 for none.
    #[serde(default)]
    pub num_classes: usize,
    /// `ncsnpp` with classes: the probability that training withholds the class, so that the network also learns the unconditional
    /// score.
    #[serde(default = "defaults::label_dropout")]
    pub label_dropout: f64,
    /// `wideresnet`: residual blocks in a group.
    #[serde(default = "defaults::blocks_per_group")]
    pub blocks_per_group: usize,
    /// `wideresnet`: multiplies `nf` in the first group.
    #[serde(default = "defaults::channel_multiplier")]
    pub channel_multiplier: usize,
    /// `wideresnet`: frequencies of the noise's Fourier features.
    #[serde(default = "defaults::embedding_size")]
    pub embedding_size: usize,
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
    /// The plain U-Net of DDPM.
    Ddpm,
    /// NCSN: a RefineNet whose norms are conditioned on the number of the noise level.
    Ncsn,
    /// NCSNv2, of a size that depends on the images'.
    Ncsnv2,
    /// NCSNv2 for images of less than 96 pixels.
    #[serde(rename = "ncsnv2_64")]
    Ncsnv2Size64,
    /// NCSNv2 for images of 96 to 128 pixels.
    #[serde(rename = "ncsnv2_128")]
    Ncsnv2Size128,
    /// NCSNv2 for images of up to 256 pixels.
    #[serde(rename = "ncsnv2_256")]
    Ncsnv2Size256,
    /// The noise-conditional wide residual network, a classifier.
    WideResNet,
    /// A network that the program gives, see [`Architecture`](crate::nn::Architecture).
    Given,
}

impl ModelName {
    /// The network for images of a size, if the name leaves its own size open.
    pub fn for_images(self, image_size: usize) -> ModelName {
        match (self, image_size) {
            (ModelName::Ncsnv2, ..96) => ModelName::Ncsnv2Size64,
            (ModelName::Ncsnv2, 96..=128) => ModelName::Ncsnv2Size128,
            (ModelName::Ncsnv2, _) => ModelName::Ncsnv2Size256,
            (name, _) => name,
        }
    }

    /// Its normalisation; none for a network that the program gives.
    fn normalization(self) -> Option<&'static str> {
        match self {
            ModelName::Ncsnpp | ModelName::Ddpm | ModelName::WideResNet => Some("GroupNorm"),
            ModelName::Given => None,
            _ => Some("InstanceNorm++"),
        }
    }

    /// The number of times that it halves the image, if that does not depend on `ch_mult`.
    fn halvings(self) -> usize {
        match self {
            ModelName::Ncsnv2Size256 => 3,
            ModelName::Ncsnv2Size128 => 2,
            _ => 1,
        }
    }
}

/// `wideresnet`: groups of blocks, each with twice the channels of the one before at half its size.
pub(crate) const GROUPS: usize = 3;
/// Labels are bytes.
const MAX_CLASSES: usize = 256;

/// The prediction of a network, with x = m x₀ + s z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// ∇ log p(x).
    Score,
    /// z (Ho 2020).
    Eps,
    /// x₀.
    X0,
    /// m z − s x₀ (Salimans and Ho 2022).
    V,
    /// x₀ through EDM's preconditioning (Karras 2022, eq. 7).
    Edm,
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
    /// Each level merges the downsampled image.
    InputSkip,
    /// Features are downsampled and added, level by level.
    Residual,
}

/// The ways in which a level merges the input's pyramid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// As more channels.
    Cat,
    /// By adding.
    Sum,
}

/// The time embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// Gaussian Fourier features of log σ.
    Fourier,
    /// Sinusoids of the label.
    Positional,
}

impl Model {
    /// The same for a network that the program gives.
    pub(crate) fn given(&self) -> Model {
        Model { name: ModelName::Given, ..self.clone() }
    }

    /// Heads of the attention in a level.
    pub(crate) fn heads(&self, level: usize) -> usize {
        let channels = self.nf * self.ch_mult.get(level).copied().unwrap_or(1);
        let own = self.attn_head_dim.get(level).or(self.attn_head_dim.first());
        own.map_or(1, |dim| channels / (*dim).max(1)).max(1)
    }

    /// The β of DDPM's chain, if its schedule is a table.
    pub(crate) fn betas(&self) -> Option<Vec<f64>> {
        let n = self.num_scales;
        let [first, last] = [self.beta_min, self.beta_max].map(|beta| beta / n as f64);
        (self.beta_schedule != BetaSchedule::Linear).then(|| self.beta_schedule.betas(n, first, last))
    }

    pub(super) fn check(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        self.check_process()?;
        self.check_schedule(training)?;
        self.check_network(training, data)
    }

    fn check_process(&self) -> Result<(), ConfigError> {
        within("model.sigma_min", self.sigma_min, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within(
            "model.sigma_max",
            self.sigma_max,
            self.sigma_min.next_up()..f64::INFINITY,
            "a number above model.sigma_min",
        )?;
        within("model.beta_min", self.beta_min, 0.0..f64::INFINITY, "a number from 0 up")?;
        within(
            "model.beta_max",
            self.beta_max,
            self.beta_min.max(f64::MIN_POSITIVE)..f64::INFINITY,
            "a number above 0, and not below model.beta_min",
        )?;
        within("model.ema_rate", self.ema_rate, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.dropout", self.dropout, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.sigma_data", self.sigma_data, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("model.init_scale", self.init_scale, 0.0..f64::INFINITY, "a number from 0 up")?;
        within(
            "model.fourier_scale",
            self.fourier_scale,
            f64::MIN_POSITIVE..f64::INFINITY,
            "a number above 0",
        )?;
        if self.num_scales < 2 {
            return Err(refuse(
                "model.num_scales",
                self.num_scales,
                "a discretisation needs at least 2 steps",
            ));
        }
        count("model.num_scales", self.num_scales as u64, 1_000_000)
    }

    /// Every step of a table adds noise, and leaves something of the image.
    fn check_schedule(&self, training: &Training) -> Result<(), ConfigError> {
        let Some(betas) = self.betas() else { return Ok(()) };
        let schedule = self.beta_schedule;
        if training.sde != SdeName::Vpsde {
            let why = "a schedule of β is a chain of vpsde's; leave it out, or set training.sde = vpsde";
            return Err(refuse("model.beta_schedule", schedule.to_string(), why));
        }
        if betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0) {
            return Ok(());
        }
        let (key, beta) = match betas[0] > 0.0 {
            true => ("model.beta_max", self.beta_max),
            false => ("model.beta_min", self.beta_min),
        };
        let most = self.num_scales;
        let why =
            format!("with model.beta_schedule = {schedule} it must be above 0 and below num_scales = {most}");
        Err(refuse(key, beta, why))
    }

    /// The time embedding of the network: only `ncsnpp` has a choice.
    pub fn embedding(&self) -> EmbeddingType {
        match self.name {
            ModelName::Ncsnpp | ModelName::WideResNet | ModelName::Given => self.embedding_type,
            _ => EmbeddingType::Positional,
        }
    }

    fn check_network(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        count("model.nf", self.nf as u64, MAX_CHANNELS)?;
        if let (Some(named), Some(own)) = (&self.normalization, self.name.normalization())
            && named != own
        {
            return Err(refuse("model.normalization", named, format!("this network has {own}")));
        }
        let classifier = training.objective == ObjectiveName::Classifier;
        if self.name != ModelName::Given && (self.name == ModelName::WideResNet) != classifier {
            let why = "the objective classifier and model.name = wideresnet require each other";
            return Err(refuse("training.objective", training.objective.to_string(), why));
        }
        if self.num_classes > MAX_CLASSES {
            let why = format!("labels are bytes, so there are at most {MAX_CLASSES}");
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.embedding() == EmbeddingType::Fourier && !training.continuous {
            let why =
                "fourier embeds a continuous noise level; set training.continuous = true, or use positional";
            return Err(refuse("model.embedding_type", "fourier", why));
        }
        match self.name {
            // Its own constructor checks it.
            ModelName::Given => Ok(()),
            ModelName::Ncsnpp | ModelName::Ddpm => self.check_unet(data),
            ModelName::WideResNet => self.check_classifier(data),
            _ => self.check_refinenet(training, data),
        }
    }

    fn check_classifier(&self, data: &Data) -> Result<(), ConfigError> {
        count("model.blocks_per_group", self.blocks_per_group as u64, 1000)?;
        count("model.embedding_size", self.embedding_size as u64, MAX_CHANNELS)?;
        count("model.channel_multiplier", self.channel_multiplier as u64, MAX_CHANNELS)?;
        let widest = (self.nf as u64 * self.channel_multiplier as u64) << (GROUPS - 1);
        count("model.nf times model.channel_multiplier times 4", widest, MAX_CHANNELS)?;
        if self.num_classes < 2 {
            let why = "a classifier needs at least 2 classes";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.embedding_type != EmbeddingType::Fourier || !self.conditional {
            let why = "wideresnet is conditioned on the noise level by fourier features, with model.conditional = true";
            return Err(refuse("model.embedding_type", "positional", why));
        }
        if !data.image_size.is_multiple_of(1 << (GROUPS - 1)) {
            let why = format!(
                "wideresnet halves the image {} times, so its size must be divisible by {}",
                GROUPS - 1,
                1 << (GROUPS - 1)
            );
            return Err(refuse("data.image_size", data.image_size, why));
        }
        Ok(())
    }

    fn check_unet(&self, data: &Data) -> Result<(), ConfigError> {
        count("model.num_res_blocks", self.num_res_blocks as u64, 1000)?;
        within("model.label_dropout", self.label_dropout, 0.0..1.0, "a number from 0 to below 1")?;
        if self.num_classes > 0 && !self.conditional {
            let why =
                "a network is told classes along with the time; set model.conditional = true, or 0 classes";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.ch_mult.is_empty() || self.ch_mult.contains(&0) {
            return Err(refuse(
                "model.ch_mult",
                &self.ch_mult,
                "it needs one number from 1 up for each level",
            ));
        }
        let widest =
            self.ch_mult.iter().max().map_or(1, |mult| (*mult as u64).saturating_mul(self.nf as u64));
        count("model.nf times model.ch_mult", widest, MAX_CHANNELS)?;
        let halvings = self.ch_mult.len() - 1;
        if halvings >= usize::BITS as usize || !data.image_size.is_multiple_of(1 << halvings) {
            let why = format!(
                "model.ch_mult has {} levels, so the size must divide by 2 to the power {halvings}; \
                 change it or the number of levels",
                self.ch_mult.len()
            );
            return Err(refuse("data.image_size", data.image_size, why));
        }
        let sizes: Vec<usize> = (0..=halvings).map(|level| data.image_size >> level).collect();
        let up = self.attn_resolutions_up.as_deref().unwrap_or(&[]);
        for (key, asked) in
            [("model.attn_resolutions", &self.attn_resolutions[..]), ("model.attn_resolutions_up", up)]
        {
            if let Some(size) = asked.iter().find(|size| !sizes.contains(size)) {
                let why = format!("no level has images of that size; the levels have {sizes:?}");
                return Err(refuse(key, size, why));
            }
        }
        if self.attention_type != "ddpm" {
            return Err(refuse("model.attention_type", &self.attention_type, "only ddpm is supported"));
        }
        within("model.norm_eps", self.norm_eps, f64::MIN_POSITIVE..1.0, "a number above 0 and below 1")?;
        if self.num_groups.is_some_and(|groups| groups == 0) {
            return Err(refuse("model.num_groups", 0, "it must be at least 1"));
        }
        if self.attn_num_groups.is_some_and(|groups| groups == 0) {
            return Err(refuse("model.attn_num_groups", 0, "it must be at least 1"));
        }
        self.check_heads(data)?;
        if self.downsample_padding > 1 {
            let why = "it must be 0 (below and to the right only) or 1 (on every side)";
            return Err(refuse("model.downsample_padding", self.downsample_padding, why));
        }
        within(
            "model.freq_shift",
            self.freq_shift,
            0.0..(self.nf / 2).max(2) as f64,
            "a number from 0 to below nf / 2",
        )?;
        if self.conv_size != 3 {
            return Err(refuse("model.conv_size", self.conv_size, "only 3 is supported"));
        }
        let taps = self.fir_kernel.len();
        let sum: f64 = self.fir_kernel.iter().sum();
        if !(2..=MAX_TAPS).contains(&taps) || !sum.is_finite() || sum == 0.0 {
            let why = format!("it needs 2 to {MAX_TAPS} numbers whose sum is not 0");
            return Err(refuse("model.fir_kernel", &self.fir_kernel, why));
        }
        Ok(())
    }

    /// Heads divide the channels of the attention in every level that has some, as the deepest always does.
    fn check_heads(&self, data: &Data) -> Result<(), ConfigError> {
        let (dims, levels) = (&self.attn_head_dim, self.ch_mult.len());
        if ![0, 1, levels].contains(&dims.len()) {
            let why = format!("it needs one number, or one for each of the {levels} levels");
            return Err(refuse("model.attn_head_dim", dims, why));
        }
        let up = self.attn_resolutions_up.as_deref().unwrap_or(&self.attn_resolutions);
        for (level, mult) in self.ch_mult.iter().enumerate() {
            let size = data.image_size >> level;
            let attends = self.attn_resolutions.contains(&size) || up.contains(&size) || level + 1 == levels;
            let Some(dim) = dims.get(level).or(dims.first()).filter(|_| attends) else { continue };
            let channels = self.nf * mult;
            if *dim == 0 || !channels.is_multiple_of(*dim) {
                let why = format!("it must divide the {channels} channels of the attention at size {size}");
                return Err(refuse("model.attn_head_dim", dims, why));
            }
        }
        Ok(())
    }

    fn check_refinenet(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        if self.nf < 2 {
            return Err(refuse("model.nf", self.nf, "InstanceNorm++ compares channels and needs at least 2"));
        }
        if self.name == ModelName::Ncsnv2 && data.image_size > 256 {
            let why =
                "there is no ncsnv2 for images beyond 256 pixels; set model.name = ncsnv2_256 to try that";
            return Err(refuse("data.image_size", data.image_size, why));
        }
        let halvings = self.name.for_images(data.image_size).halvings();
        if !data.image_size.is_multiple_of(1 << halvings) {
            let why =
                format!("this network halves images, so their size must be divisible by {}", 1 << halvings);
            return Err(refuse("data.image_size", data.image_size, why));
        }
        if self.num_classes > 0 {
            let why = "this network has no class conditioning; leave it out, or choose ncsnpp";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.name == ModelName::Ncsn && training.continuous {
            let why =
                "ncsn is conditioned on the number of the noise level; set it to false, or choose ncsnv2";
            return Err(refuse("training.continuous", true, why));
        }
        Ok(())
    }
}

/// The reference's defaults (`configs/default_*_configs.py`).
mod defaults {
    use super::*;

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
    pub fn embedding_type() -> EmbeddingType {
        EmbeddingType::Positional
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
    pub fn sigma_data() -> f64 {
        0.5
    }
    pub fn label_dropout() -> f64 {
        0.1
    }
    pub fn blocks_per_group() -> usize {
        4
    }
    pub fn channel_multiplier() -> usize {
        10
    }
    pub fn embedding_size() -> usize {
        128
    }
    pub fn norm_eps() -> f64 {
        1e-6
    }
    pub fn freq_shift() -> f64 {
        1.0
    }
    pub fn ema_rate() -> f64 {
        0.999
    }
}
