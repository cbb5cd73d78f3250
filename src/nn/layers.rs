//! Layers: convolutions, dense layers and group normalisation, written against any engine.
//!
//! A layer's constructor adds its parameters to a [`Registry`] and keeps their numbers; its `forward` reads
//! their values from the [`Pass`]. A network is a struct of layers ([`Architecture`](super::Architecture)).

use super::parameters::{Init, Layout, ParameterId, Parameters, Registry};
use crate::autodiff::Engine;
use crate::config::{self, ConfigError, Model, ModelName, Nonlinearity, ResblockType};
use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::group_norm::GroupNorm;
use crate::kernels::upfirdn2d::Upfirdn2d;
use crate::random::Draw;
use std::f32::consts::FRAC_1_SQRT_2;

// The configuration admits the filters that the kernel takes.
const _: () = assert!(config::MAX_TAPS == crate::kernels::upfirdn2d::MAX_TAPS);

/// One evaluation of a network: the engine, the parameters, and the randomness of training.
pub struct Pass<'a, E> {
    /// The engine that runs the primitives.
    pub engine: &'a mut E,
    /// The parameters of the layers.
    pub parameters: &'a Parameters,
    /// The randomness of the dropout masks; none outside of training.
    pub dropout: Option<Draw>,
}

impl<E: Engine> Pass<'_, E> {
    /// A parameter's value on the engine.
    pub fn parameter(&mut self, id: ParameterId) -> E::Value {
        self.engine.parameter(&self.parameters.get(id))
    }
}

/// Width of the time embedding's hidden layers, relative to the number of frequencies or sinusoids.
pub(super) const TIME_WIDTH: usize = 4;

/// The options that all layers of one network share.
#[derive(Debug, Clone)]
pub struct Style {
    /// The activation after every norm.
    pub act: Activation,
    /// Probability of dropping a value in the residual blocks, from 0 to below 1.
    pub dropout: f32,
    /// Factor of both summands of a skip connection.
    pub skip: f32,
    /// Scale of the initial weights that end a residual branch; 0 means 1e-10 ([`Init::FanAverage`]).
    pub init_scale: f64,
    /// The FIR filter of resampling; without it, nearest neighbour and mean.
    pub fir: Option<Vec<f32>>,
    /// The residual block.
    pub block: ResblockType,
    /// Channels of the time embedding.
    pub time_features: usize,
    /// Groups of every norm; by default min(32, channels / 4).
    pub groups: Option<usize>,
    /// Added to a norm's variance.
    pub eps: f32,
    /// Zeros around the image before DDPM's convolution of stride 2: top, bottom, left, right.
    pub strided_pad: [usize; 4],
}

impl Default for Style {
    /// BigGAN's blocks with swish, sums divided by √2 and no dropout, for a time embedding of 128 channels.
    fn default() -> Self {
        Style {
            act: Activation::Swish,
            dropout: 0.0,
            skip: FRAC_1_SQRT_2,
            init_scale: 0.0,
            fir: None,
            block: ResblockType::Biggan,
            time_features: 128,
            groups: None,
            eps: 1e-6,
            strided_pad: [0, 1, 0, 1],
        }
    }
}

impl Style {
    /// The style of a configuration's network.
    pub(super) fn new(model: &Model) -> Style {
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

    pub(super) fn upsample(&self) -> Upfirdn2d {
        self.fir.as_ref().map_or_else(Upfirdn2d::nearest, |kernel| Upfirdn2d::upsample(kernel))
    }

    pub(super) fn downsample(&self) -> Upfirdn2d {
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

/// A convolution; dense layers are 1 × 1 convolutions.
#[derive(Debug, Clone)]
pub struct Conv {
    weight: ParameterId,
    bias: Option<ParameterId>,
    spec: Conv2d,
}

impl Conv {
    /// A 3 × 3 convolution of stride 1 that keeps the size, `[n, h, w, c_in]` → `[n, h, w, c_out]`.
    pub fn three(r: &mut Registry, name: &str, c_in: usize, c_out: usize, scale: f64) -> Conv {
        Conv::new(r, name, Layout::Conv { k: 3, c_in, c_out }, scale, Conv2d::padded(1))
    }

    /// A 1 × 1 convolution.
    pub fn one(r: &mut Registry, name: &str, c_in: usize, c_out: usize) -> Conv {
        Conv::new(r, name, Layout::Conv { k: 1, c_in, c_out }, 1.0, Conv2d::padded(0))
    }

    /// A dense layer, `[n, 1, 1, c_in]` → `[n, 1, 1, c_out]`.
    pub fn dense(r: &mut Registry, name: &str, c_in: usize, c_out: usize) -> Conv {
        Conv::new(r, name, Layout::Dense { c_in, c_out }, 1.0, Conv2d::padded(0))
    }

    /// A convolution whose weights start by [`Init::FanAverage`]`(scale)` and whose bias starts at 0. The
    /// parameters are `NAME.weight` and `NAME.bias`; with [`Layout::Nin`], `NAME.W` and `NAME.b`.
    pub fn new(r: &mut Registry, name: &str, layout: Layout, scale: f64, spec: Conv2d) -> Conv {
        let [weight, bias] = if let Layout::Nin { .. } = layout { ["W", "b"] } else { ["weight", "bias"] };
        let weight = r.add(format!("{name}.{weight}"), layout, Init::FanAverage(scale));
        let vector = Layout::Vector(layout.outputs());
        let bias = Some(r.add(format!("{name}.{bias}"), vector, Init::Constant(0.0)));
        Conv { weight, bias, spec }
    }

    /// A convolution whose weights and bias start uniformly on [−a, a] with a = 1 / √fan-in, PyTorch's
    /// default.
    pub fn fan_in(r: &mut Registry, name: &str, layout: Layout, bias: bool, spec: Conv2d) -> Conv {
        let init = Init::Uniform(1.0 / (layout.fan_in() as f64).sqrt());
        let weight = r.add(format!("{name}.weight"), layout, init);
        let vector = Layout::Vector(layout.outputs());
        let bias = bias.then(|| r.add(format!("{name}.bias"), vector, init));
        Conv { weight, bias, spec }
    }

    /// `x` is `[n, h, w, c_in]`.
    ///
    /// # Errors
    /// If `x` has other channels.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let weight = pass.parameter(self.weight);
        let bias = self.bias.map(|bias| pass.parameter(bias));
        pass.engine.conv2d(x, &weight, bias.as_ref(), &self.spec)
    }
}

/// Group normalisation followed by an activation.
#[derive(Debug, Clone)]
pub struct Norm {
    weight: ParameterId,
    bias: ParameterId,
    spec: GroupNorm,
}

impl Norm {
    /// With the activation `act`, usually the style's or [`Activation::Identity`].
    ///
    /// # Errors
    /// If the channels cannot be divided into the groups.
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: usize,
        style: &Style,
        act: Activation,
    ) -> std::result::Result<Norm, ConfigError> {
        Self::of_groups(r, name, channels, style.groups, style, act)
    }

    pub(super) fn of_groups(
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
            spec: GroupNorm { groups, eps: style.eps, act },
        })
    }

    /// `x` is `[n, h, w, c]`.
    ///
    /// # Errors
    /// If `x` has other channels.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, x: &E::Value) -> Result<E::Value> {
        let (weight, bias) = (pass.parameter(self.weight), pass.parameter(self.bias));
        pass.engine.group_norm(x, &weight, &bias, &self.spec)
    }
}
