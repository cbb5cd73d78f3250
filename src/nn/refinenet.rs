//! NCSN (Song and Ermon 2019) and NCSNv2 (Song and Ermon 2020): RefineNets of pre-activation residual blocks
//! with instance norm++, whose convolutions are dilated instead of strided. Parameters have the names and the
//! order of the reference's state dictionary.
//!
//! NCSN has a norm before every convolution, with a row of factors for each noise level; NCSNv2 has norms in
//! the residual blocks only, max pooling instead of average pooling, and its output is divided by σ.

use super::conditioning::Conditioning;
use super::instance_norm::{Context, InstanceNorm};
use super::layers::{self, Conv, Pass};
use super::network::Architecture;
use super::parameters::{Layout, Registry};
use crate::autodiff::Engine;
use crate::config::{Config, ModelName};
use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::max_pool::MaxPool;
use crate::kernels::upfirdn2d::Upfirdn2d;
use std::collections::BTreeMap;

/// The network. [`RefineNet::build`] registers its parameters.
#[derive(Debug, Clone)]
pub struct RefineNet {
    begin: Conv,
    /// The encoder: two blocks in each stage.
    stages: Vec<[ResidualBlock; 2]>,
    /// The decoder: a refine block for each stage.
    refine: Vec<RefineBlock>,
    norm: InstanceNorm,
    end: Conv,
    /// The numbers of channels in the network.
    channels: Vec<usize>,
    /// Number of noise levels in the norms' tables.
    levels: Option<usize>,
}

/// The first step of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The same size.
    Keep,
    /// Half the size, by averaging.
    Pool,
    /// The same size, with dilated convolutions in the whole stage.
    Dilate(usize),
}

/// A stage: its name and that of its refine block, its channels in `nf`, and its first step.
type Stage = (&'static str, &'static str, usize, Step);

const SIZE_64: &[Stage] = &[
    ("res1", "refine4", 1, Step::Keep),
    ("res2", "refine3", 2, Step::Pool),
    ("res3", "refine2", 2, Step::Dilate(2)),
    ("res4", "refine1", 2, Step::Dilate(4)),
];

const SIZE_128: &[Stage] = &[
    ("res1", "refine5", 1, Step::Keep),
    ("res2", "refine4", 2, Step::Pool),
    ("res3", "refine3", 2, Step::Pool),
    ("res4", "refine2", 4, Step::Dilate(2)),
    ("res5", "refine1", 4, Step::Dilate(4)),
];

const SIZE_256: &[Stage] = &[
    ("res1", "refine5", 1, Step::Keep),
    ("res2", "refine4", 2, Step::Pool),
    ("res3", "refine3", 2, Step::Pool),
    ("res31", "refine31", 2, Step::Pool),
    ("res4", "refine2", 4, Step::Dilate(2)),
    ("res5", "refine1", 4, Step::Dilate(4)),
];

/// Builds blocks with the options that they share.
struct Builder {
    registry: Registry,
    act: Activation,
    levels: Option<usize>,
}

impl Builder {
    fn norm(&mut self, name: &str, channels: usize, act: Activation) -> InstanceNorm {
        InstanceNorm::new(&mut self.registry, name, channels, self.levels, act)
    }

    fn conv(&mut self, name: &str, c_in: usize, c_out: usize, dilation: usize) -> Conv {
        let layout = Layout::Conv { k: 3, c_in, c_out };
        let spec = Conv2d { dilation, ..Conv2d::padded(dilation) };
        Conv::fan_in(&mut self.registry, name, layout, true, spec)
    }

    fn conv_without_bias(&mut self, name: &str, channels: usize) -> Conv {
        let layout = Layout::Conv { k: 3, c_in: channels, c_out: channels };
        Conv::fan_in(&mut self.registry, name, layout, false, Conv2d::padded(1))
    }

    fn stage(&mut self, name: &str, step: Step, [c_in, c_out]: [usize; 2]) -> [ResidualBlock; 2] {
        let dilation = if let Step::Dilate(dilation) = step { dilation } else { 1 };
        let first = ResidualBlock::new(self, &format!("{name}.0"), [c_in, c_out], step, dilation);
        [first, ResidualBlock::new(self, &format!("{name}.1"), [c_out; 2], Step::Keep, dilation)]
    }

    /// NCSN's norms of a list of layers, without activation.
    fn norms(&mut self, name: &str, channels: &[usize]) -> Vec<Before> {
        let norm = |(i, c): (usize, &usize)| {
            self.levels.map(|_| self.norm(&format!("{name}.{i}"), *c, Activation::Identity))
        };
        channels.iter().enumerate().map(norm).collect()
    }
}

/// Norm, activation and convolution, twice, with a shortcut.
#[derive(Debug, Clone)]
struct ResidualBlock {
    norm1: InstanceNorm,
    conv1: Conv,
    norm2: InstanceNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    /// Whether the second convolution and the shortcut are followed by the mean of 2 × 2 pixels.
    pool: bool,
}

impl ResidualBlock {
    fn new(
        b: &mut Builder,
        name: &str,
        [c_in, c_out]: [usize; 2],
        step: Step,
        dilation: usize,
    ) -> ResidualBlock {
        let part = |suffix: &str| format!("{name}.{suffix}");
        // A block that resamples or dilates changes its channels in the second convolution.
        let middle = if step == Step::Keep { c_out } else { c_in };
        let act = b.act;
        let conv1 = b.conv(&part("conv1"), c_in, middle, dilation);
        let norm2 = b.norm(&part("normalize2"), middle, act);
        let (conv2, shortcut) = match step {
            Step::Keep => (b.conv(&part("conv2"), middle, c_out, dilation), None),
            Step::Pool => {
                let conv2 = b.conv(&part("conv2.conv"), middle, c_out, 1);
                let layout = Layout::Conv { k: 1, c_in, c_out };
                let name = part("shortcut.conv");
                let one = Conv::fan_in(&mut b.registry, &name, layout, true, Conv2d::padded(0));
                (conv2, Some(one))
            }
            Step::Dilate(_) => {
                let conv2 = b.conv(&part("conv2"), middle, c_out, dilation);
                (conv2, Some(b.conv(&part("shortcut"), c_in, c_out, dilation)))
            }
        };
        let norm1 = b.norm(&part("normalize1"), c_in, act);
        ResidualBlock { norm1, conv1, norm2, conv2, shortcut, pool: step == Step::Pool }
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        context: &Context<E::Value>,
    ) -> Result<E::Value> {
        let h = self.norm1.forward(pass, x, context)?;
        let h = self.conv1.forward(pass, &h)?;
        let h = self.norm2.forward(pass, &h, context)?;
        let mut h = self.conv2.forward(pass, &h)?;
        let mut x = x.clone();
        if let Some(shortcut) = &self.shortcut {
            x = shortcut.forward(pass, &x)?;
        }
        if self.pool {
            h = pass.engine.upfirdn2d(&h, &Upfirdn2d::mean())?;
            x = pass.engine.upfirdn2d(&x, &Upfirdn2d::mean())?;
        }
        pass.engine.blend(&x, 1.0, &h, 1.0)
    }
}

/// The norm before a convolution of a refine block; NCSNv2 has none.
type Before = Option<InstanceNorm>;

fn before<E: Engine>(
    norm: &Before,
    pass: &mut Pass<'_, E>,
    x: &E::Value,
    context: &Context<E::Value>,
) -> Result<E::Value> {
    norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.forward(pass, x, context))
}

/// Residual units of two convolutions (`RCUBlock`).
#[derive(Debug, Clone)]
struct ConvUnits {
    units: Vec<[(Before, Conv); 2]>,
    act: Activation,
}

impl ConvUnits {
    fn new(b: &mut Builder, name: &str, channels: usize, units: usize) -> ConvUnits {
        let act = b.act;
        let mut layer = |unit: usize, i: usize| {
            let name = format!("{name}.{}_{}", unit + 1, i + 1);
            let norm = b.levels.map(|_| b.norm(&format!("{name}_norm"), channels, act));
            (norm, b.conv_without_bias(&format!("{name}_conv"), channels))
        };
        ConvUnits { units: (0..units).map(|unit| [0, 1].map(|i| layer(unit, i))).collect(), act }
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        context: &Context<E::Value>,
    ) -> Result<E::Value> {
        let mut x = x.clone();
        for unit in &self.units {
            let mut h = x.clone();
            for (norm, conv) in unit {
                h = match norm {
                    Some(norm) => norm.forward(pass, &h, context)?,
                    None => pass.engine.activation(&h, self.act)?,
                };
                h = conv.forward(pass, &h)?;
            }
            x = pass.engine.blend(&h, 1.0, &x, 1.0)?;
        }
        Ok(x)
    }
}

/// Joins a stage's features with those from below and refines them (`RefineBlock`).
#[derive(Debug, Clone)]
struct RefineBlock {
    adapt: Vec<ConvUnits>,
    output: ConvUnits,
    /// Converts both inputs to the same channels and size and adds them (`MSFBlock`); empty for a single
    /// input.
    join: Vec<(Before, Conv)>,
    /// Pooling and convolution, whose results are added up (`CRPBlock`).
    pooled: Vec<(Before, Conv)>,
    act: Activation,
    max_pool: bool,
}

impl RefineBlock {
    fn new(b: &mut Builder, name: &str, inputs: &[usize], channels: usize, output_units: usize) -> Self {
        let adapt = |(i, c): (usize, &usize)| ConvUnits::new(b, &format!("{name}.adapt_convs.{i}"), *c, 2);
        let adapt = inputs.iter().enumerate().map(adapt).collect();
        let output = ConvUnits::new(b, &format!("{name}.output_convs"), channels, output_units);
        let join = if inputs.len() == 1 { &[] } else { inputs };
        // In these two parts all convolutions come before all norms.
        let convs: Vec<Conv> = join
            .iter()
            .enumerate()
            .map(|(i, c)| b.conv(&format!("{name}.msf.convs.{i}"), *c, channels, 1))
            .collect();
        let norms = b.norms(&format!("{name}.msf.norms"), join);
        let join = norms.into_iter().zip(convs).collect();
        let convs = [0, 1].map(|i| b.conv_without_bias(&format!("{name}.crp.convs.{i}"), channels));
        let norms = b.norms(&format!("{name}.crp.norms"), &[channels; 2]);
        let pooled = norms.into_iter().zip(convs).collect();
        RefineBlock { adapt, output, join, pooled, act: b.act, max_pool: b.levels.is_none() }
    }

    /// `inputs` are the stage's features and, but for the last stage, those from below.
    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        inputs: Vec<E::Value>,
        context: &Context<E::Value>,
    ) -> Result<E::Value> {
        let shape = pass.engine.shape(&inputs[0]);
        let mut sum: Option<E::Value> = None;
        for (i, (x, adapt)) in inputs.into_iter().zip(&self.adapt).enumerate() {
            let mut h = adapt.forward(pass, &x, context)?;
            if let Some((norm, conv)) = self.join.get(i) {
                h = before(norm, pass, &h, context)?;
                h = conv.forward(pass, &h)?;
                if pass.engine.shape(&h).with_c(shape.c()) != shape {
                    h = pass.engine.resize(&h, [shape.h(), shape.w()])?;
                }
            }
            sum = Some(match sum {
                Some(sum) => pass.engine.blend(&sum, 1.0, &h, 1.0)?,
                None => h,
            });
        }
        let mut x = pass.engine.activation(&sum.expect("there is at least one input"), self.act)?;
        let mut path = x.clone();
        for (norm, conv) in &self.pooled {
            path = before(norm, pass, &path, context)?;
            path = match self.max_pool {
                true => pass.engine.max_pool(&path, MaxPool::around(5))?,
                false => pass.engine.upfirdn2d(&path, &Upfirdn2d::average(5))?,
            };
            path = conv.forward(pass, &path)?;
            x = pass.engine.blend(&path, 1.0, &x, 1.0)?;
        }
        self.output.forward(pass, &x, context)
    }
}

impl RefineNet {
    /// The network that a configuration describes, and its parameters.
    pub fn build(config: &Config) -> (RefineNet, Registry) {
        let model = &config.model;
        let stages = match model.name.for_images(config.data.image_size) {
            ModelName::Ncsnv2Size128 => SIZE_128,
            ModelName::Ncsnv2Size256 => SIZE_256,
            _ => SIZE_64,
        };
        let levels = (model.name == ModelName::Ncsn).then_some(model.num_scales);
        let (nf, image) = (model.nf, config.data.num_channels);
        let mut b =
            Builder { registry: Registry::default(), act: layers::activation(model.nonlinearity), levels };
        let begin = b.conv("begin_conv", image, nf, 1);
        let norm = b.norm("normalizer", nf, b.act);
        let end = b.conv("end_conv", nf, image, 1);

        let widths: Vec<usize> = stages.iter().map(|(_, _, mult, _)| mult * nf).collect();
        let above = |i: usize| widths[i.saturating_sub(1)];
        let stage = |(i, (name, _, _, step)): (usize, &Stage)| b.stage(name, *step, [above(i), widths[i]]);
        let down = stages.iter().enumerate().map(stage).collect();

        // A block has as many output channels as the stage above. They are registered in the order of their
        // names.
        let mut order: Vec<usize> = (0..stages.len()).collect();
        order.sort_by_key(|i| stages[*i].1);
        let refine = order.into_iter().map(|i| {
            let inputs = if i + 1 == stages.len() { 1 } else { 2 };
            let units = if i == 0 { 3 } else { 1 };
            (i, RefineBlock::new(&mut b, stages[i].1, &vec![widths[i]; inputs], above(i), units))
        });
        let refine = refine.collect::<BTreeMap<_, _>>().into_values().collect();
        (RefineNet { begin, stages: down, refine, norm, end, channels: widths, levels }, b.registry)
    }
}

impl Architecture for RefineNet {
    fn name(&self) -> &str {
        if self.levels.is_some() { "ncsn" } else { "ncsnv2" }
    }

    /// NCSN's norms are looked up by the number of the noise level: one-hot rows.
    fn inputs(&self, values: &[f64]) -> Vec<f32> {
        let Some(levels) = self.levels else {
            return values.iter().map(|value| *value as f32).collect();
        };
        let one_hot = |value: &f64| {
            let number = (*value as usize).min(levels - 1);
            (0..levels).map(move |i| if i == number { 1.0 } else { 0.0 })
        };
        values.iter().flat_map(one_hot).collect()
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let noise = pass.engine.constant(conditioning.noise());
        let context = Context::new(pass, noise, self.channels.iter().copied())?;
        let mut h = self.begin.forward(pass, &x)?;
        drop(x);
        let mut features = Vec::new();
        for [first, second] in &self.stages {
            h = first.forward(pass, &h, &context)?;
            h = second.forward(pass, &h, &context)?;
            features.push(h.clone());
        }
        let mut below = None;
        for block in self.refine.iter().rev() {
            let inputs = features.pop().into_iter().chain(below.take()).collect();
            below = Some(block.forward(pass, inputs, &context)?);
        }
        let h = self.norm.forward(pass, &below.unwrap_or(h), &context)?;
        self.end.forward(pass, &h)
    }
}
