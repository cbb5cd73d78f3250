//! A multilayer perceptron for points: residual blocks of dense layers, conditioned on the noise level.
//!
//! With h the features of `nf` channels and e(σ) the embedding of the noise level (of log σ or a label of the
//! time, and of the class in a class-conditional network), a block computes
//! h ← (h + W₂ a(W₁ a(h) + W₀ a(e))) / √2, a being the activation.

use super::conditioning::{Classes, Conditioning, TimeEmbedding};
use super::layers::{Conv, Pass, TIME_WIDTH, activation};
use super::network::Architecture;
use super::parameters::{Layout, Registry};
use crate::autodiff::Engine;
use crate::config::Config;
use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use std::f32::consts::FRAC_1_SQRT_2;

/// The factor of the points. With it the first features bend at distances below the data's extent, by their random biases at
/// different places: without it a network begins almost linear and learns details late.
const DETAIL: f32 = 3.0;

/// The network. [`Mlp::build`] registers its parameters.
#[derive(Debug, Clone)]
pub struct Mlp {
    time: TimeEmbedding,
    /// The embedding of classes, in a class-conditional network.
    classes: Option<Classes>,
    first: Conv,
    blocks: Vec<Block>,
    last: Conv,
    act: Activation,
    /// Factor of both summands of a block.
    skip: f32,
}

#[derive(Debug, Clone)]
struct Block {
    first: Conv,
    time: Conv,
    second: Conv,
}

impl Mlp {
    /// The network that a checked configuration describes, and its parameters.
    pub fn build(config: &Config) -> (Mlp, Registry) {
        let (model, channels) = (&config.model, config.data.num_channels);
        let (width, act) = (model.nf, activation(model.nonlinearity));
        let mut r = Registry::default();
        let mut parts = ["time.fourier", "time.0", "time.1"].into_iter();
        if model.embedding() == crate::config::EmbeddingType::Positional {
            parts.next();
        }
        let name = || parts.next().unwrap_or_default().to_string();
        let time = TimeEmbedding::new(&mut r, name, model, width / TIME_WIDTH, act);
        let classes = (model.num_classes > 0).then(|| Classes::new(&mut r, model.num_classes, width));
        let layout = Layout::Dense { c_in: channels, c_out: width };
        let first = Conv::fan_in(&mut r, "first", layout, true, Conv2d::padded(0));
        // The end of a residual branch, and of the network.
        let end = |r: &mut Registry, name: &str, c_out: usize| {
            Conv::new(r, name, Layout::Dense { c_in: width, c_out }, model.init_scale, Conv2d::padded(0))
        };
        let block = |i: usize| Block {
            first: Conv::dense(&mut r, &format!("blocks.{i}.first"), width, width),
            time: Conv::dense(&mut r, &format!("blocks.{i}.time"), width, width),
            second: end(&mut r, &format!("blocks.{i}.second"), width),
        };
        let blocks = (0..model.num_res_blocks).map(block).collect();
        let last = end(&mut r, "last", channels);
        let skip = if model.skip_rescale { FRAC_1_SQRT_2 } else { 1.0 };
        (Mlp { time, classes, first, blocks, last, act, skip }, r)
    }
}

impl Block {
    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        embedding: Option<&E::Value>,
        network: &Mlp,
    ) -> Result<E::Value> {
        let h = pass.engine.activation(x, network.act)?;
        let mut h = self.first.forward(pass, &h)?;
        if let Some(embedding) = embedding {
            let shift = self.time.forward(pass, embedding)?;
            h = pass.engine.add_channels(&h, &shift)?;
        }
        let h = pass.engine.activation(&h, network.act)?;
        let h = self.second.forward(pass, &h)?;
        pass.engine.blend(x, network.skip, &h, network.skip)
    }
}

impl Architecture for Mlp {
    fn name(&self) -> &str {
        "mlp"
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        Some(&self.time)
    }

    fn classes(&self) -> usize {
        self.classes.as_ref().map_or(0, |classes| classes.count)
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let embedding = self.time.forward(pass, conditioning)?;
        let embedding = match (&self.classes, embedding) {
            (Some(classes), Some(time)) => Some(classes.forward(pass, &time, conditioning)?),
            (_, time) => time,
        };
        let embedding = embedding.map(|e| pass.engine.activation(&e, self.act)).transpose()?;
        let x = pass.engine.affine(&x, DETAIL, 0.0)?;
        let mut h = self.first.forward(pass, &x)?;
        for block in &self.blocks {
            h = block.forward(pass, &h, embedding.as_ref(), self)?;
        }
        let h = pass.engine.activation(&h, self.act)?;
        self.last.forward(pass, &h)
    }
}
