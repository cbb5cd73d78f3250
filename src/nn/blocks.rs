//! Blocks of the reference's U-Nets: self-attention, residual blocks, and resampling between levels.

use super::layers::{Conv, Norm, Pass, Style};
use super::parameters::{Layout, Registry};
use crate::autodiff::Engine;
use crate::config::{ConfigError, ResblockType};
use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::matmul::Matmul;
use crate::kernels::upfirdn2d::Upfirdn2d;
use crate::random::Purpose;
use crate::tensor::Shape;

/// Self-attention over the pixels (`AttnBlockpp`, `AttnBlock`: with one head).
#[derive(Debug, Clone)]
pub struct Attention {
    norm: Norm,
    query: Conv,
    key: Conv,
    value: Conv,
    out: Conv,
    skip: f32,
    heads: usize,
}

impl Attention {
    /// Attention of `channels` channels.
    ///
    /// # Errors
    /// If the channels cannot be divided into the groups of the norm.
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: usize,
        style: &Style,
    ) -> std::result::Result<Self, ConfigError> {
        Self::of_groups(r, name, channels, None, style)
    }

    /// The same with so many heads, each with its share of the channels, which they must divide.
    #[must_use]
    pub fn with_heads(self, heads: usize) -> Attention {
        Attention { heads: heads.max(1), ..self }
    }

    /// With `groups` in the norm, if other than the style's.
    pub(super) fn of_groups(
        r: &mut Registry,
        name: &str,
        channels: usize,
        groups: Option<usize>,
        style: &Style,
    ) -> std::result::Result<Self, ConfigError> {
        let (norm, groups) = (format!("{name}.GroupNorm_0"), groups.or(style.groups));
        let norm = Norm::of_groups(r, &norm, channels, groups, style, Activation::Identity)?;
        let layout = Layout::Nin { c_in: channels, c_out: channels };
        let mut nin =
            |i: usize, scale| Conv::new(r, &format!("{name}.NIN_{i}"), layout, scale, Conv2d::padded(0));
        let [query, key, value] = [0, 1, 2].map(|i| nin(i, 0.1));
        let out = nin(3, style.init_scale);
        Ok(Attention { norm, query, key, value, out, skip: style.skip, heads: 1 })
    }

    /// `x` is `[n, h, w, channels]`; so is the result.
    ///
    /// # Errors
    /// If `x` has other channels.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let shape = pass.engine.shape(x);
        let tokens = Shape::new(shape.n(), 1, shape.h() * shape.w(), shape.c());
        let h = self.norm.forward(pass, x)?;
        let mut project = |layer: &Conv| {
            let y = layer.forward(pass, &h)?;
            let y = pass.engine.reshape(&y, tokens)?;
            if self.heads > 1 { pass.engine.split_heads(&y, self.heads) } else { Ok(y) }
        };
        let (q, k, v) = (project(&self.query)?, project(&self.key)?, project(&self.value)?);
        let alpha = ((shape.c() / self.heads) as f32).powf(-0.5);
        let scores = pass.engine.matmul(&q, &k, Matmul { a_transposed: false, b_transposed: true, alpha })?;
        let weights = pass.engine.softmax(&scores)?;
        drop(scores);
        let h = pass.engine.matmul(
            &weights,
            &v,
            Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 },
        )?;
        let h = if self.heads > 1 { pass.engine.merge_heads(&h, self.heads)? } else { h };
        let h = pass.engine.reshape(&h, shape)?;
        let h = self.out.forward(pass, &h)?;
        pass.engine.blend(x, self.skip, &h, self.skip)
    }
}

/// Whether a residual block changes the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resample {
    /// The same size.
    Keep,
    /// Twice the size.
    Up,
    /// Half the size.
    Down,
}

/// A residual block, BigGAN's or DDPM's (`ResnetBlockBigGANpp`, `ResnetBlockDDPMpp`, `ResnetBlockDDPM`).
#[derive(Debug, Clone)]
pub struct ResBlock {
    norm0: Norm,
    conv0: Conv,
    time: Conv,
    norm1: Norm,
    conv1: Conv,
    shortcut: Option<Conv>,
    /// Resampling inside the block, BigGAN's only.
    resample: Option<Upfirdn2d>,
    dropout: f32,
    /// The number of its dropout mask in the network.
    mask: u16,
    act: Activation,
    skip: f32,
}

impl ResBlock {
    /// A block of `[c_in, c_out]` channels.
    ///
    /// # Errors
    /// If the channels cannot be divided into the groups of the norms.
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: [usize; 2],
        resample: Resample,
        style: &Style,
    ) -> std::result::Result<Self, ConfigError> {
        Self::of_groups(r, name, channels, resample, None, style)
    }

    /// With `groups` in the first norm, if other than the style's.
    pub(super) fn of_groups(
        r: &mut Registry,
        name: &str,
        [c_in, c_out]: [usize; 2],
        resample: Resample,
        groups: Option<usize>,
        style: &Style,
    ) -> std::result::Result<Self, ConfigError> {
        let part = |suffix: &str| format!("{name}.{suffix}");
        let groups = groups.or(style.groups);
        let norm0 = Norm::of_groups(r, &part("GroupNorm_0"), c_in, groups, style, style.act)?;
        let conv0 = Conv::three(r, &part("Conv_0"), c_in, c_out, 1.0);
        let time = Conv::dense(r, &part("Dense_0"), style.time_features, c_out);
        let norm1 = Norm::new(r, &part("GroupNorm_1"), c_out, style, style.act)?;
        let conv1 = Conv::three(r, &part("Conv_1"), c_out, c_out, style.init_scale);
        let shortcut = match style.block {
            ResblockType::Biggan => (c_in != c_out || resample != Resample::Keep)
                .then(|| Conv::one(r, &part("Conv_2"), c_in, c_out)),
            ResblockType::Ddpm => (c_in != c_out)
                .then(|| Conv::new(r, &part("NIN_0"), Layout::Nin { c_in, c_out }, 0.1, Conv2d::padded(0))),
        };
        let resample = match resample {
            Resample::Keep => None,
            Resample::Up => Some(style.upsample()),
            Resample::Down => Some(style.downsample()),
        };
        let (dropout, act, skip, mask) = (style.dropout, style.act, style.skip, r.dropout_mask());
        Ok(ResBlock { norm0, conv0, time, norm1, conv1, shortcut, resample, dropout, mask, act, skip })
    }

    /// `x` is `[n, h, w, c_in]`, `time` the time embedding `[n, 1, 1, time_features]` if the network has one.
    ///
    /// # Errors
    /// If `x` or `time` has other channels.
    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        time: Option<&E::Value>,
    ) -> Result<E::Value> {
        let mut h = self.norm0.forward(pass, x)?;
        let mut x = x.clone();
        if let Some(spec) = &self.resample {
            h = pass.engine.upfirdn2d(&h, spec)?;
            x = pass.engine.upfirdn2d(&x, spec)?;
        }
        h = self.conv0.forward(pass, &h)?;
        if let Some(time) = time {
            let active = pass.engine.activation(time, self.act)?;
            let shift = self.time.forward(pass, &active)?;
            h = pass.engine.add_channels(&h, &shift)?;
        }
        h = self.norm1.forward(pass, &h)?;
        if let (Some(draw), true) = (pass.dropout, self.dropout > 0.0) {
            let key = draw.key(Purpose::Dropout(self.mask));
            h = pass.engine.dropout(&h, self.dropout, key)?;
        }
        h = self.conv1.forward(pass, &h)?;
        if let Some(shortcut) = &self.shortcut {
            x = shortcut.forward(pass, &x)?;
        }
        pass.engine.blend(&x, self.skip, &h, self.skip)
    }
}

/// Resampling outside of residual blocks, with a 3 × 3 convolution or without (`Upsample`, `Downsample`): a
/// filter, a convolution, or both.
#[derive(Debug, Clone)]
pub(super) struct Resampler {
    filter: Option<Upfirdn2d>,
    conv: Option<Conv>,
}

impl Resampler {
    /// Without a convolution; it has no parameters.
    pub fn plain(up: bool, style: &Style) -> Resampler {
        Resampler { filter: Some(if up { style.upsample() } else { style.downsample() }), conv: None }
    }

    /// With a convolution.
    pub fn with_conv(
        r: &mut Registry,
        name: &str,
        [c_in, c_out]: [usize; 2],
        up: bool,
        style: &Style,
    ) -> Resampler {
        let strided = Conv2d { stride: 2, ..Conv2d::padded(0) };
        let (name, filter, spec) = match (up, &style.fir) {
            (true, None) => (format!("{name}.Conv_0"), Some(Upfirdn2d::nearest()), Conv2d::padded(1)),
            (false, None) => (format!("{name}.Conv_0"), None, Conv2d { pad: style.strided_pad, ..strided }),
            // With FIR the reference fuses filter and convolution, which pad once for both.
            (true, Some(kernel)) => {
                (format!("{name}.Conv2d_0"), Some(Upfirdn2d::upsample_before_conv(kernel)), Conv2d::padded(0))
            }
            (false, Some(kernel)) => {
                (format!("{name}.Conv2d_0"), Some(Upfirdn2d::blur(kernel, kernel.len())), strided)
            }
        };
        let layout = Layout::Conv { k: 3, c_in, c_out };
        Resampler { filter, conv: Some(Conv::new(r, &name, layout, 1.0, spec)) }
    }

    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let x = match &self.filter {
            Some(filter) => pass.engine.upfirdn2d(x, filter)?,
            None => x.clone(),
        };
        match &self.conv {
            Some(conv) => conv.forward(pass, &x),
            None => Ok(x),
        }
    }
}
