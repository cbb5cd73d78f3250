//! Cross entropy of logits and labels, with its gradient.

use super::reduce::{self, Axis};
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("cross_entropy");

/// About how many operations a `vec4` of logits takes.
const OPERATIONS: usize = 64;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    samples: u32,
    classes: u32,
    weight: f32,
}

/// Uploads the labels of `n` samples as `[n, 1, 1, 1]`.
///
/// # Errors
/// If a label is `classes` or more.
pub fn upload(gpu: &Gpu, labels: &[usize], classes: usize) -> Result<Tensor> {
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        check("cross_entropy", false, || {
            format!("label {label} is not below the number of classes, {classes}")
        })?;
    }
    let values: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    Ok(Tensor::from_slice(gpu, Shape::new(labels.len(), 1, 1, 1), &values)?)
}

/// `weight · −log softmax(logits)[label]` of each sample, `[n, 1, 1, 1]`, and the gradient of their sum in
/// the logits `[n, 1, 1, k]`, for labels of [`upload`].
///
/// # Errors
/// If the shapes do not fit.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, weight: f32) -> Result<(Tensor, Tensor)> {
    let (gpu, shape) = (logits.gpu(), logits.shape());
    let n = shape.n();
    check_shape("cross_entropy", "the logits", logits, Shape::new(n, 1, 1, shape.c()))?;
    check_shape("cross_entropy", "the labels", labels, Shape::new(n, 1, 1, 1))?;
    let loss = Tensor::empty(gpu, labels.shape(), Element::F32)?;
    let gradient = Tensor::empty(gpu, shape, logits.element())?;
    let params = Params { samples: n as u32, classes: shape.c() as u32, weight };
    let variant = Variant::new(SHADER).stored(logits.element());
    let operands = [logits, labels, &loss, &gradient];
    let work = (OPERATIONS * shape.vec4s()) as u64;
    launch(gpu, variant, "cross_entropy", &operands, &params, Extent::Invocations(n), work)?;
    Ok((loss, gradient))
}

/// The cross entropy averaged over the samples, in the first lane of `[1, 1, 1, 4]`, the others being 0, and
/// its gradient.
///
/// # Errors
/// Any error of [`cross_entropy`].
pub fn mean(logits: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    total(logits, labels, 1.0 / logits.shape().n() as f32)
}

/// The same for the sum of `weight` times the cross entropy.
///
/// # Errors
/// Any error of [`cross_entropy`].
pub fn total(logits: &Tensor, labels: &Tensor, weight: f32) -> Result<(Tensor, Tensor)> {
    let n = logits.shape().n();
    let (each, gradient) = cross_entropy(logits, labels, weight)?;
    let total = Tensor::empty(logits.gpu(), Shape::vector(4), Element::F32)?;
    reduce::sum_axis(&each, Axis { first: 0, outer: 1, length: n, inner: 1 }, &total, false)?;
    Ok((total, gradient))
}
