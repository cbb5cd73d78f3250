//! Layers: convolutions, normalisation, attention, resampling and the residual blocks of the reference's U-Nets,
//! written against any engine.

use super::parameters::{Init, Layout, ParameterId, Parameters, Registry};
use crate::autodiff::Engine;
use crate::config::{self, ConfigError, Model, ModelName, Nonlinearity, ResblockType};
use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::group_norm;
use crate::kernels::matmul::Matmul;
use crate::kernels::upfirdn2d::Upfirdn2d;
use crate::random::{Key, Purpose};
use crate::tensor::Shape;
use std::f32::consts::FRAC_1_SQRT_2;

// The configuration admits the filters that the kernel takes.
const _: () = assert!(config::MAX_TAPS == crate::kernels::upfirdn2d::MAX_TAPS);

/// One evaluation of a network: the engine, the parameters, and the randomness of training.
pub struct Pass<'a, E> {
    /// Where the primitives run.
    pub engine: &'a mut E,
    /// What the layers read.
    pub parameters: &'a Parameters,
    /// Seed, step and first sample of the dropout masks; without it nothing is dropped.
    pub dropout: Option<Dropout>,
}

/// What dropout masks are drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    /// The run's seed.
    pub seed: u64,
    /// The training step.
    pub step: u32,
}

/// Width of the time embedding's hidden layers, in `nf`.
pub(super) const TIME_WIDTH: usize = 4;

/// What all layers of one network have in common.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub act: Activation,
    pub dropout: f32,
    /// Factor of a sum: 1/√2 with `skip_rescale`.
    pub skip: f32,
    pub init_scale: f64,
    /// The FIR filter, or none for nearest neighbour and mean.
    pub fir: Option<Vec<f32>>,
    pub block: ResblockType,
    pub time_features: usize,
    /// Groups of every norm, or none for as many of at least four channels as there are, 32 at most.
    pub groups: Option<usize>,
    /// Added to a norm's variance.
    pub eps: f32,
    /// Zeros around the image that DDPM's convolution with stride 2 sees.
    pub strided_pad: [usize; 4],
}

impl Style {
    pub fn new(model: &Model) -> Style {
        Style {
            act: activation(model.nonlinearity),
            dropout: model.dropout as f32,
            skip: if model.skip_rescale { FRAC_1_SQRT_2 } else { 1.0 },
            init_scale: model.init_scale,
            fir: model.fir.then(|| model.fir_kernel.iter().map(|v| *v as f32).collect()),
            block: model.resblock_type,
            time_features: TIME_WIDTH * model.nf,
            groups: model.num_groups.or((model.name == ModelName::Ddpm).then_some(32)),
            eps: model.norm_eps as f32,
            strided_pad: if model.downsample_padding == 1 { [1; 4] } else { [0, 1, 0, 1] },
        }
    }

    pub fn upsample(&self) -> Upfirdn2d {
        self.fir.as_ref().map_or_else(Upfirdn2d::nearest, |kernel| Upfirdn2d::upsample(kernel))
    }

    pub fn downsample(&self) -> Upfirdn2d {
        self.fir.as_ref().map_or_else(Upfirdn2d::mean, |kernel| Upfirdn2d::downsample(kernel))
    }
}

pub(super) fn activation(nonlinearity: Nonlinearity) -> Activation {
    match nonlinearity {
        Nonlinearity::Swish => Activation::Swish,
        Nonlinearity::Elu => Activation::Elu,
        Nonlinearity::Relu => Activation::Relu,
        Nonlinearity::Lrelu => Activation::LeakyRelu,
    }
}

/// A convolution, a dense layer, or a dense layer over channels.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    weight: ParameterId,
    bias: Option<ParameterId>,
    spec: Conv2d,
}

impl Conv {
    /// A 3 × 3 convolution of stride 1 that keeps the size.
    pub fn three(r: &mut Registry, name: &str, c_in: usize, c_out: usize, scale: f64) -> Conv {
        Self::window(r, name, [3, c_in, c_out], scale, Conv2d::padded(1))
    }

    /// A 1 × 1 convolution.
    pub fn one(r: &mut Registry, name: &str, c_in: usize, c_out: usize) -> Conv {
        Self::window(r, name, [1, c_in, c_out], 1.0, Conv2d::padded(0))
    }

    pub fn window(r: &mut Registry, name: &str, size: [usize; 3], scale: f64, spec: Conv2d) -> Conv {
        let [k, c_in, c_out] = size;
        let layout = Layout::Conv { k, c_in, c_out };
        Self::register(r, [format!("{name}.weight"), format!("{name}.bias")], layout, c_out, scale, spec)
    }

    pub fn dense(r: &mut Registry, name: &str, c_in: usize, c_out: usize) -> Conv {
        let layout = Layout::Dense { c_in, c_out };
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        Self::register(r, names, layout, c_out, 1.0, Conv2d::padded(0))
    }

    pub fn nin(r: &mut Registry, name: &str, c_in: usize, c_out: usize, scale: f64) -> Conv {
        let layout = Layout::Nin { c_in, c_out };
        let names = [format!("{name}.W"), format!("{name}.b")];
        Self::register(r, names, layout, c_out, scale, Conv2d::padded(0))
    }

    fn register(
        r: &mut Registry,
        [weight, bias]: [String; 2],
        layout: Layout,
        c_out: usize,
        scale: f64,
        spec: Conv2d,
    ) -> Conv {
        Conv {
            weight: r.add(weight, layout, Init::FanAverage(scale)),
            bias: Some(r.add(bias, Layout::Vector(c_out), Init::Constant(0.0))),
            spec,
        }
    }

    /// A convolution that keeps the size and starts as PyTorch's do; `size` is its window, input and output channels.
    pub fn torch(r: &mut Registry, name: &str, size: [usize; 3], dilation: usize, bias: bool) -> Conv {
        let [k, c_in, c_out] = size;
        let init = Init::Uniform(1.0 / ((k * k * c_in) as f64).sqrt());
        let weight = r.add(format!("{name}.weight"), Layout::Conv { k, c_in, c_out }, init);
        let bias = bias.then(|| r.add(format!("{name}.bias"), Layout::Vector(c_out), init));
        Conv { weight, bias, spec: Conv2d { dilation, ..Conv2d::padded(k / 2 * dilation) } }
    }

    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let weight = pass.engine.parameter(&pass.parameters.get(self.weight));
        let bias = self.bias.map(|bias| pass.engine.parameter(&pass.parameters.get(bias)));
        pass.engine.conv2d(x, &weight, bias.as_ref(), &self.spec)
    }
}

/// Group normalisation followed by an activation.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    weight: ParameterId,
    bias: ParameterId,
    spec: group_norm::GroupNorm,
}

impl Norm {
    /// With the activation `act`, which is the style's or none.
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: usize,
        style: &Style,
        act: Activation,
    ) -> std::result::Result<Norm, ConfigError> {
        Self::of_groups(r, name, channels, style.groups, style, act)
    }

    fn of_groups(
        r: &mut Registry,
        name: &str,
        channels: usize,
        wanted: Option<usize>,
        style: &Style,
        act: Activation,
    ) -> std::result::Result<Norm, ConfigError> {
        let groups = wanted.unwrap_or((channels / 4).min(32));
        if groups == 0 || !channels.is_multiple_of(groups) {
            let wanted = match wanted {
                Some(_) => format!("of {groups}"),
                None => "of 4 channels, and of 32 beyond 128".into(),
            };
            let why = format!(
                "a layer of {channels} channels cannot be split into {groups} groups of the same size for group \
                 norm; choose model.nf and model.ch_mult so that every level has a multiple {wanted}"
            );
            return Err(config::refuse("model.nf", channels, why));
        }
        Ok(Norm {
            weight: r.add(format!("{name}.weight"), Layout::Vector(channels), Init::Constant(1.0)),
            bias: r.add(format!("{name}.bias"), Layout::Vector(channels), Init::Constant(0.0)),
            spec: group_norm::GroupNorm { groups, eps: style.eps, act },
        })
    }

    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let weight = pass.engine.parameter(&pass.parameters.get(self.weight));
        let bias = pass.engine.parameter(&pass.parameters.get(self.bias));
        pass.engine.group_norm(x, &weight, &bias, &self.spec)
    }
}

/// Self-attention over the pixels with one head (`AttnBlockpp`, `AttnBlock`).
#[derive(Debug, Clone)]
pub(super) struct Attention {
    norm: Norm,
    query: Conv,
    key: Conv,
    value: Conv,
    out: Conv,
    skip: f32,
}

impl Attention {
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: usize,
        groups: Option<usize>,
        style: &Style,
    ) -> std::result::Result<Self, ConfigError> {
        let (norm, groups) = (format!("{name}.GroupNorm_0"), groups.or(style.groups));
        let norm = Norm::of_groups(r, &norm, channels, groups, style, Activation::Identity)?;
        let mut nin = |i: usize, scale| Conv::nin(r, &format!("{name}.NIN_{i}"), channels, channels, scale);
        let [query, key, value] = [0, 1, 2].map(|i| nin(i, 0.1));
        Ok(Attention { norm, query, key, value, out: nin(3, style.init_scale), skip: style.skip })
    }

    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let shape = pass.engine.shape(x);
        let tokens = Shape::new(shape.n(), 1, shape.h() * shape.w(), shape.c());
        let h = self.norm.forward(pass, x)?;
        let mut project = |layer: &Conv| {
            let y = layer.forward(pass, &h)?;
            pass.engine.reshape(&y, tokens)
        };
        let (q, k, v) = (project(&self.query)?, project(&self.key)?, project(&self.value)?);
        let alpha = (shape.c() as f32).powf(-0.5);
        let scores = pass.engine.matmul(&q, &k, Matmul { a_transposed: false, b_transposed: true, alpha })?;
        let weights = pass.engine.softmax(&scores)?;
        drop(scores);
        let h = pass.engine.matmul(
            &weights,
            &v,
            Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 },
        )?;
        let h = pass.engine.reshape(&h, shape)?;
        let h = self.out.forward(pass, &h)?;
        pass.engine.blend(x, self.skip, &h, self.skip)
    }
}

/// Whether a residual block changes the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resample {
    Keep,
    Up,
    Down,
}

/// A residual block, BigGAN's or DDPM's (`ResnetBlockBigGANpp`, `ResnetBlockDDPMpp`, `ResnetBlockDDPM`).
#[derive(Debug, Clone)]
pub(super) struct ResBlock {
    norm0: Norm,
    conv0: Conv,
    time: Conv,
    norm1: Norm,
    conv1: Conv,
    shortcut: Option<Conv>,
    /// Resampling inside the block, BigGAN's only.
    resample: Option<Upfirdn2d>,
    dropout: f32,
    /// The number of its dropout mask.
    number: u16,
    act: Activation,
    skip: f32,
}

impl ResBlock {
    /// With `groups` in the first norm, if others than the style's.
    pub fn new(
        r: &mut Registry,
        name: &str,
        [c_in, c_out]: [usize; 2],
        resample: Resample,
        groups: Option<usize>,
        style: &Style,
        number: u16,
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
            ResblockType::Ddpm => (c_in != c_out).then(|| Conv::nin(r, &part("NIN_0"), c_in, c_out, 0.1)),
        };
        let resample = match resample {
            Resample::Keep => None,
            Resample::Up => Some(style.upsample()),
            Resample::Down => Some(style.downsample()),
        };
        let (dropout, act, skip) = (style.dropout, style.act, style.skip);
        Ok(ResBlock { norm0, conv0, time, norm1, conv1, shortcut, resample, dropout, number, act, skip })
    }

    /// `time` is the time embedding `[n, 1, 1, 4 nf]`.
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
        if let (Some(dropout), true) = (pass.dropout, self.dropout > 0.0) {
            let key = Key::new(dropout.seed, Purpose::Dropout(self.number)).at(dropout.step);
            h = pass.engine.dropout(&h, self.dropout, key)?;
        }
        h = self.conv1.forward(pass, &h)?;
        if let Some(shortcut) = &self.shortcut {
            x = shortcut.forward(pass, &x)?;
        }
        pass.engine.blend(&x, self.skip, &h, self.skip)
    }
}

/// Resampling outside of residual blocks, with a 3 × 3 convolution or without (`Upsample`, `Downsample`): a filter, a
/// convolution, or both.
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
        Resampler { filter, conv: Some(Conv::window(r, &name, [3, c_in, c_out], 1.0, spec)) }
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
