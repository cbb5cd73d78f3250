//! Adam with clipping by the global norm and the exponential moving average, over flat arenas.

use super::{Result, check, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("adam");

/// About how many operations a `vec4` takes: a square, and a step of the optimiser.
const OPERATIONS_OF_A_SQUARE: usize = 8;
const OPERATIONS_OF_A_STEP: usize = 80;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

/// The settings of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay: its product with the weight is added to the gradient.
    pub weight_decay: f64,
    /// The largest global norm; negative for no clipping.
    pub grad_clip: f64,
    /// Decay of the moving average: it becomes `ema` · average + (1 − `ema`) · weight.
    pub ema: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// The arenas, vectors of one length. A step updates all but the gradient.
#[derive(Clone, Copy)]
pub struct Arenas<'a> {
    /// The weights.
    pub weight: &'a Tensor,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// Adam's first moment.
    pub moment1: &'a Tensor,
    /// Adam's second moment.
    pub moment2: &'a Tensor,
    /// The weights' moving average.
    pub average: &'a Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Params {
    blocks: u32,
    run: u32,
    partials: u32,
    first: u32,
    rate: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    correct1: f32,
    correct2: f32,
    decay: f32,
    clip: f32,
    ema: f32,
}

/// `vec4`s that one invocation squares and sums.
const RUN: usize = 1024;

/// The gradient's global norm, and the factor that clips it to `grad_clip`: the first two lanes of
/// `[1, 1, 1, 4]`.
pub fn clip(gradient: &Tensor, grad_clip: f64) -> Result<Tensor> {
    let gpu = gradient.gpu();
    let total = gradient.shape().vec4s();
    let run = RUN.max(total.div_ceil(16384));
    let partials =
        Tensor::empty(gpu, Shape::vector(total.div_ceil(run) + windows(gpu, total).count()), Element::F32)?;
    let mut first = 0;
    for (start, blocks) in windows(gpu, total) {
        let params =
            Params { blocks: blocks as u32, run: run as u32, first: first as u32, ..Default::default() };
        let window = gradient.slice(start, Shape::vector(4 * blocks));
        let owned = blocks.div_ceil(run);
        let extent = Extent::Invocations(owned);
        launch(
            gpu,
            Variant::new(SHADER),
            "squares",
            &[&window, &partials],
            &params,
            extent,
            (OPERATIONS_OF_A_SQUARE * blocks) as u64,
        )?;
        first += owned;
    }
    let norm = Tensor::empty(gpu, Shape::vector(4), Element::F32)?;
    let params = Params { partials: first as u32, clip: grad_clip as f32, ..Default::default() };
    launch(
        gpu,
        Variant::new(SHADER),
        "norm",
        &[&partials, &norm],
        &params,
        Extent::Workgroups(1),
        first as u64,
    )?;
    Ok(norm)
}

/// One step over all arenas, with the gradient scaled by the factor of [`clip`].
///
/// # Errors
/// If the arenas differ in length.
pub fn adam(arenas: Arenas<'_>, norm: &Tensor, spec: Adam) -> Result<()> {
    let Arenas { weight, gradient, moment1, moment2, average } = arenas;
    let all = [gradient, weight, moment1, moment2, average];
    let total = weight.shape().vec4s();
    check("adam", all.iter().all(|arena| arena.shape().vec4s() == total), || {
        "the arenas differ in length".into()
    })?;
    let steps = i32::try_from(spec.step).unwrap_or(i32::MAX);
    let params = Params {
        rate: spec.rate as f32,
        beta1: spec.beta1 as f32,
        beta2: spec.beta2 as f32,
        eps: spec.eps as f32,
        correct1: (1.0 - spec.beta1.powi(steps)) as f32,
        correct2: (1.0 - spec.beta2.powi(steps)) as f32,
        decay: spec.weight_decay as f32,
        ema: spec.ema as f32,
        ..Default::default()
    };
    let gpu = weight.gpu();
    for (start, blocks) in windows(gpu, total) {
        let window = |arena: &Tensor| arena.slice(start, Shape::vector(4 * blocks));
        let [gradient, weight, moment1, moment2, average] = all.map(window);
        let operands = [&gradient, norm, &weight, &moment1, &moment2, &average];
        let params = Params { blocks: blocks as u32, ..params };
        let extent = Extent::Invocations(blocks);
        launch(
            gpu,
            Variant::new(SHADER),
            "adam",
            &operands,
            &params,
            extent,
            (OPERATIONS_OF_A_STEP * blocks) as u64,
        )?;
    }
    Ok(())
}

/// Windows `(first, count)` of an arena of `total` `vec4`s, each small enough for one binding, in `vec4`s.
pub fn windows(gpu: &Gpu, total: usize) -> impl Iterator<Item = (usize, usize)> {
    let largest = (gpu.max_binding() / gpu.alignment() * gpu.alignment() / 16) as usize;
    (0..total).step_by(largest.max(1)).map(move |first| (first, largest.min(total - first)))
}
