//! The kernels: one file per family. Each function checks its shapes, picks a variant, binds and dispatches;
//! none knows of differentiation, but a family's forward, adjoint and tangent live together.

pub mod adam;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
mod gemm;
pub mod group_norm;
pub mod hutchinson;
pub mod impute;
pub mod inner_product;
pub mod langevin;
pub mod matmul;
pub mod max_pool;
pub mod metropolis;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod roofline;
pub mod score_matching;
pub mod sde_step;
pub mod softmax;
pub mod upfirdn2d;

use crate::gpu::{Binding, Bytes, Dispatch, Element, Extent, Gpu, GpuError, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use std::collections::HashSet;
use std::sync::OnceLock;

/// Why a kernel was not launched.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The device refused.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// What is asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// Operands do not fit together.
    #[error("{kernel}: {what}")]
    Mismatch {
        /// The kernel family.
        kernel: &'static str,
        /// Which operands, and how.
        what: String,
    },
}

/// What every kernel returns.
pub type Result<T> = std::result::Result<T, KernelError>;

/// `Ok` if `fits`, else the mismatch that `what` describes.
fn check(kernel: &'static str, fits: bool, what: impl FnOnce() -> String) -> Result<()> {
    if fits { Ok(()) } else { Err(KernelError::Mismatch { kernel, what: what() }) }
}

/// Checks that a tensor has the shape that its kernel expects.
pub(crate) fn check_shape(kernel: &'static str, name: &str, tensor: &Tensor, expected: Shape) -> Result<()> {
    check(kernel, tensor.shape() == expected, || format!("{name} is {}, expected {expected}", tensor.shape()))
}

/// Every variant of every shader that a kernel may ask for, with the storage types it may have. A variant that is not
/// listed here is a mistake, which debug builds catch when it is launched.
///
/// Resampling filters are free: those of the published networks stand for all.
pub fn variants() -> Vec<Variant> {
    let conv2d = conv2d::SHADERS.iter().flat_map(|shader| gemm::variants(&Variant::new(*shader)));
    let mut all: Vec<Variant> = conv2d.collect();
    all.extend(matmul::variants());
    all.extend(elementwise::variants());
    all.extend(group_norm::variants());
    all.extend(softmax::variants());
    all.extend(upfirdn2d::variants());
    all.extend(sde_step::variants());
    for aligned in [0, 1] {
        all.push(Variant::new(Shader::Concat).with("ALIGNED", aligned));
        all.push(Variant::new(Shader::Hutchinson).with("RADEMACHER", aligned));
    }
    let plain = [
        Shader::Adam,
        Shader::CrossEntropy,
        Shader::Dropout,
        Shader::Embedding,
        Shader::Impute,
        Shader::InnerProduct,
        Shader::Langevin,
        Shader::MaxPool,
        Shader::Metropolis,
        Shader::Random,
        Shader::Reduce,
        Shader::Resize,
        Shader::Roofline,
        Shader::ScoreMatching,
    ];
    all.extend(plain.map(Variant::new));
    all.into_iter().flat_map(|v| [v.clone(), v.stored(Element::F16)]).collect()
}

/// In debug builds, whether [`variants`] lists a variant.
fn is_listed(variant: &Variant) -> bool {
    static LISTED: OnceLock<HashSet<Variant>> = OnceLock::new();
    variant.shader == Shader::Upfirdn2d
        || LISTED.get_or_init(|| variants().into_iter().collect()).contains(variant)
}

/// Launches an entry point with tensors at its bindings 0, 1, …
fn launch<P: bytemuck::Pod>(
    gpu: &Gpu,
    variant: Variant,
    entry: &'static str,
    tensors: &[&Tensor],
    params: &P,
    extent: Extent,
    work: u64,
) -> Result<()> {
    debug_assert!(is_listed(&variant), "{variant:?} is not listed in kernels::variants");
    if let Some(tensor) = tensors.iter().find(|tensor| tensor.size() > gpu.max_binding()) {
        return Err(KernelError::Gpu(GpuError::TooLarge {
            what: format!("a tensor of shape {} in {}", tensor.shape(), variant.shader.name()),
            size: Bytes(tensor.size()),
            limit: Bytes(gpu.max_binding()),
            adapter: gpu.adapter().name().into(),
            verb: "bind at once",
        }));
    }
    let bindings: Vec<Binding<'_>> = tensors.iter().map(|t| t.binding()).collect();
    let immediates = bytemuck::bytes_of(params);
    Ok(gpu.dispatch(Dispatch { variant, entry, bindings: &bindings, immediates, extent, work })?)
}
