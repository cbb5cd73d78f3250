//! The noise-conditional wide residual network (the reference's `wideresnet_noise_conditional`, JAX): a classifier
//! p_t(y | x) of diffused images.
//!
//! It is told the noise of each sample by Gaussian Fourier features of log (s / m), which is log σ(t) for VE. Unlike the
//! reference's it has group norm in place of batch norm, so that a sample's gradient does not depend on its batch, halves
//! the size by the mean of 2 × 2 pixels, and scales its input by 1 / √(m² + s²).

use super::conditioning::{Conditioning, Time};
use super::layers::{Conv, Norm, Pass, ResBlock, Resample, Style, TIME_WIDTH};
use super::parameters::Registry;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, GROUPS, Model, ResblockType};
use crate::kernels::Result;

/// The network. [`WideResNet::build`] registers its parameters; [`WideResNet::forward`] runs it on any engine.
#[derive(Debug, Clone)]
pub struct WideResNet {
    time: Time,
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
        let time = Time::new(&mut r, name, model, model.embedding_size, style.act);
        let mut channels = model.nf;
        let stem = Conv::three(&mut r, "stem", config.data.num_channels, channels, 1.0);
        let mut blocks = Vec::new();
        for group in 0..GROUPS {
            let width = (model.nf * model.channel_multiplier) << group;
            for block in 0..model.blocks_per_group {
                let resample = if group > 0 && block == 0 { Resample::Down } else { Resample::Keep };
                let (name, number) = (format!("groups.{group}.{block}"), blocks.len() as u16);
                blocks.push(ResBlock::new(&mut r, &name, [channels, width], resample, None, &style, number)?);
                channels = width;
            }
        }
        let norm = Norm::new(&mut r, "norm", channels, &style, style.act)?;
        let dense = Conv::dense(&mut r, "dense", channels, model.num_classes);
        Ok((WideResNet { time, stem, blocks, norm, dense, classes: model.num_classes }, r))
    }

    /// Classes that it tells apart.
    pub fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn time(&self) -> &Time {
        &self.time
    }

    /// The logits `[n, 1, 1, k]` of `x` `[n, h, w, c]`, which is scaled already.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn forward<E: Engine>(
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
