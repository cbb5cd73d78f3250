//! `model`: the network and the process's parameters.

use super::ImageSize;
use crate::sde::BetaSchedule;
use serde::{Deserialize, Serialize};

/// The largest number of taps of `model.fir_kernel`. `nn` asserts that the kernel takes as many.
pub(crate) const MAX_TAPS: usize = 12;

/// `model`: the network and the process's parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
    /// The normalisation: `InstanceNorm++` for `ncsn` and `ncsnv2`, `none` for `mlp`, `GroupNorm` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<String>,
    /// The nonlinearity.
    #[serde(default = "defaults::nonlinearity")]
    pub nonlinearity: Nonlinearity,
    /// Channels of the first level; `mlp`: the width of every layer.
    pub nf: usize,
    /// `ncsnpp`, `ddpm`: multiplies `nf`, level by level.
    #[serde(default)]
    pub ch_mult: Vec<usize>,
    /// `ncsnpp`, `ddpm`: residual blocks in a level; `mlp`: residual blocks.
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
    /// The time embedding of `ncsnpp` and `mlp`.
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
    /// The number of classes, of the classifier `wideresnet` or of the class-conditional `ncsnpp` and `mlp`; 0 for none.
    #[serde(default)]
    pub num_classes: usize,
    /// `ncsnpp` and `mlp` with classes: the probability that training withholds the class, so that the network also learns the unconditional
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
    /// Residual blocks of dense layers, for points.
    Mlp,
    /// A network that the program gives, see [`Architecture`](crate::nn::Architecture).
    Given,
}

impl ModelName {
    /// The network for images of a size, of which the larger extent counts, if the name leaves its own size open.
    pub fn for_images(self, size: ImageSize) -> ModelName {
        match (self, size.longest()) {
            (ModelName::Ncsnv2, ..96) => ModelName::Ncsnv2Size64,
            (ModelName::Ncsnv2, 96..=128) => ModelName::Ncsnv2Size128,
            (ModelName::Ncsnv2, _) => ModelName::Ncsnv2Size256,
            (name, _) => name,
        }
    }

    /// Its normalisation; none for a network that the program gives.
    pub(super) fn normalization(self) -> Option<&'static str> {
        match self {
            ModelName::Ncsnpp | ModelName::Ddpm | ModelName::WideResNet => Some("GroupNorm"),
            ModelName::Mlp => Some("none"),
            ModelName::Given => None,
            _ => Some("InstanceNorm++"),
        }
    }

    /// The number of times that it halves the image, if that does not depend on `ch_mult`.
    pub(super) fn halvings(self) -> usize {
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
pub(super) const MAX_CLASSES: usize = 256;

/// The prediction of a network, with x = m x₀ + s z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ResblockType {
    /// DDPM's, with resampling between the blocks.
    Ddpm,
    /// BigGAN's, which resamples within.
    Biggan,
}

/// The output's pyramids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// As more channels.
    Cat,
    /// By adding.
    Sum,
}

/// The time embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
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

    /// The time embedding of the network: only `ncsnpp` and `mlp` have a choice.
    pub fn embedding(&self) -> EmbeddingType {
        match self.name {
            ModelName::Ncsnpp | ModelName::WideResNet | ModelName::Mlp | ModelName::Given => {
                self.embedding_type
            }
            _ => EmbeddingType::Positional,
        }
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
