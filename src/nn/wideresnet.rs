//! The noise-conditional wide residual network (the reference's `wideresnet_noise_conditional`, JAX): a
//! classifier p_t(y | x) of diffused images.
//!
//! It is conditioned on the noise of each sample by Gaussian Fourier features of log (s / m), which is log
//! σ(t) for VE. It differs from the reference's in three points: group norm instead of batch norm, so that a
//! sample's gradient does not depend on its batch; the mean of 2 × 2 pixels to halve the size; and inputs
//! scaled by 1 / √(m² + s²).

use super::blocks::{ResBlock, Resample};
use super::conditioning::{Conditioning, TimeEmbedding};
use super::layers::{Conv, Norm, Pass, Style, TIME_WIDTH};
use super::network::Architecture;
use super::parameters::Registry;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, GROUPS, Model, ResblockType};
use crate::kernels::Result;

/// The network. [`WideResNet::build`] registers its parameters.
#[derive(Debug, Clone)]
pub struct WideResNet {
    time: TimeEmbedding,
    stem: Conv,
    blocks: Vec<ResBlock>,
    norm: Norm,
    dense: Conv,
    classes: usize,
}

impl WideResNet {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<(WideResNet, Registry), ConfigError> {
        let model: &Model = &config.model;
        let style = Style {
            fir: None,
            block: ResblockType::Biggan,
            time_features: TIME_WIDTH * model.embedding_size,
            ..Style::new(model)
        };
        let mut r = Registry::default();
        let mut parts = ["fourier", "time.0", "time.1"].into_iter();
        let name = || parts.next().unwrap_or_default().to_string();
        let time = TimeEmbedding::new(&mut r, name, model, model.embedding_size, style.act);
        let mut channels = model.nf;
        let stem = Conv::three(&mut r, "stem", config.data.num_channels, channels, 1.0);
        let mut blocks = Vec::new();
        for group in 0..GROUPS {
            let width = (model.nf * model.channel_multiplier) << group;
            for block in 0..model.blocks_per_group {
                let resample = if group > 0 && block == 0 { Resample::Down } else { Resample::Keep };
                let name = format!("groups.{group}.{block}");
                blocks.push(ResBlock::new(&mut r, &name, [channels, width], resample, &style)?);
                channels = width;
            }
        }
        let norm = Norm::new(&mut r, "norm", channels, &style, style.act)?;
        let dense = Conv::dense(&mut r, "dense", channels, model.num_classes);
        Ok((WideResNet { time, stem, blocks, norm, dense, classes: model.num_classes }, r))
    }
}

impl Architecture for WideResNet {
    fn name(&self) -> &str {
        "wideresnet"
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        Some(&self.time)
    }

    fn logits(&self) -> Option<usize> {
        Some(self.classes)
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let time = self.time.forward(pass, conditioning)?;
        let mut h = self.stem.forward(pass, &x)?;
        for block in &self.blocks {
            h = block.forward(pass, &h, time.as_ref())?;
        }
        h = self.norm.forward(pass, &h)?;
        h = pass.engine.mean_pixels(&h)?;
        self.dense.forward(pass, &h)
    }
}
