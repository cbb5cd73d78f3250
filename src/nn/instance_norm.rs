//! Instance norm++ (Song and Ermon 2019, appendix A): instance norm that keeps the differences of the
//! channels' means,
//!
//! `z_k = γ_k ((x_k − μ_k) / s_k + α_k (μ_k − m) / v) + β_k`,
//!
//! with m and v² the mean and the variance of the means μ over the channels. The variance is the unbiased
//! one, as in the reference's PyTorch models; its JAX models use the biased one.

use super::layers::Pass;
use super::parameters::{Init, Layout, ParameterId, Registry};
use crate::autodiff::Engine;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::group_norm::GroupNorm;
use crate::kernels::{Result, layout};
use crate::tensor::{Shape, Tensor};
use std::collections::HashMap;

const EPS: f64 = 1e-5;

/// Instance norm++ followed by an activation.
#[derive(Debug, Clone)]
pub(super) struct InstanceNorm {
    channels: usize,
    act: Activation,
    factors: Factors,
}

/// The source of α, γ and β.
#[derive(Debug, Clone)]
enum Factors {
    Own {
        alpha: ParameterId,
        gamma: ParameterId,
        beta: ParameterId,
    },
    /// Rows γ, α, β, one for each noise level.
    Table(ParameterId),
}

/// The inputs that all norms of one evaluation share.
pub(super) struct Context<V> {
    /// The number of each sample's noise level, one-hot `[n, 1, 1, levels]`; read by norms that have a table.
    noise: V,
    /// A vector of ones and one of zeros for each number of channels in the network.
    units: HashMap<usize, [V; 2]>,
}

impl<V: Clone> Context<V> {
    /// `channels` are the numbers of channels in the network.
    pub fn new<E: Engine<Value = V>>(
        pass: &mut Pass<'_, E>,
        noise: V,
        channels: impl IntoIterator<Item = usize>,
    ) -> Result<Context<V>> {
        let gpu = pass.parameters.values.flat().gpu();
        let mut unit = |channels: usize| {
            let zeros = Tensor::empty(gpu, Shape::vector(channels), Default::default())?;
            layout::zero(&zeros, 0, zeros.shape().vec4s())?;
            let ones = elementwise::affine(&zeros, 0.0, 1.0, 1)?;
            Ok((channels, [pass.engine.constant(&ones), pass.engine.constant(&zeros)]))
        };
        Ok(Context { noise, units: channels.into_iter().map(&mut unit).collect::<Result<_>>()? })
    }
}

impl InstanceNorm {
    /// With a table of `levels` rows, or without levels with factors of its own.
    pub fn new(
        r: &mut Registry,
        name: &str,
        channels: usize,
        levels: Option<usize>,
        act: Activation,
    ) -> InstanceNorm {
        let mut vector = |part: &str, init| r.add(format!("{name}.{part}"), Layout::Vector(channels), init);
        let factors = match levels {
            None => Factors::Own {
                alpha: vector("alpha", Init::NearOne),
                gamma: vector("gamma", Init::NearOne),
                beta: vector("beta", Init::Constant(0.0)),
            },
            Some(levels) => {
                let layout = Layout::Nin { c_in: levels, c_out: 3 * channels };
                Factors::Table(r.add(format!("{name}.embed.weight"), layout, Init::NormTable))
            }
        };
        InstanceNorm { channels, act, factors }
    }

    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        context: &Context<E::Value>,
    ) -> Result<E::Value> {
        let c = self.channels;
        let over_pixels = GroupNorm { groups: c, eps: EPS as f32, act: Activation::Identity };
        let [one, zero] = &context.units[&c];
        let (scaled, shift) = match &self.factors {
            Factors::Own { alpha, gamma, beta } => {
                let [alpha, gamma, beta] = [alpha, gamma, beta].map(|id| pass.parameter(*id));
                let shift = self.between_channels(pass.engine, x, &alpha, zero)?;
                let shift = pass.engine.scale_channels(&shift, &gamma)?;
                (pass.engine.group_norm(x, &gamma, &beta, &over_pixels)?, shift)
            }
            Factors::Table(table) => {
                let table = pass.parameter(*table);
                let rows = pass.engine.conv2d(&context.noise, &table, None, &Conv2d::padded(0))?;
                let mut part = |i: usize| pass.engine.channels(&rows, i * c, c);
                let (gamma, alpha, beta) = (part(0)?, part(1)?, part(2)?);
                let shift = self.between_channels(pass.engine, x, one, zero)?;
                let shift = pass.engine.scale_channels(&shift, &alpha)?;
                let shift = pass.engine.scale_channels(&shift, &gamma)?;
                let shift = pass.engine.blend(&shift, 1.0, &beta, 1.0)?;
                let normal = pass.engine.group_norm(x, one, zero, &over_pixels)?;
                (pass.engine.scale_channels(&normal, &gamma)?, shift)
            }
        };
        let h = pass.engine.add_channels(&scaled, &shift)?;
        if self.act == Activation::Identity { Ok(h) } else { pass.engine.activation(&h, self.act) }
    }

    /// `alpha (μ − m) / √(v² + ε)`, `[n, 1, 1, c]`.
    fn between_channels<E: Engine>(
        &self,
        engine: &mut E,
        x: &E::Value,
        alpha: &E::Value,
        zero: &E::Value,
    ) -> Result<E::Value> {
        // Group norm has the biased variance, (c − 1) / c of this one.
        let ratio = (self.channels - 1) as f64 / self.channels as f64;
        let norm = GroupNorm { groups: 1, eps: (EPS * ratio) as f32, act: Activation::Identity };
        let mean = engine.mean_pixels(x)?;
        let normal = engine.group_norm(&mean, alpha, zero, &norm)?;
        engine.affine(&normal, ratio.sqrt() as f32, 0.0)
    }
}
