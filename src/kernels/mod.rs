//! The kernels: one file per family. Each function checks its shapes, picks a variant, binds and dispatches;
//! none knows of differentiation, but a family's forward, adjoint and tangent live together.

pub mod adam;
pub mod concat;
pub mod conv2d;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
mod gemm;
pub mod group_norm;
pub mod hutchinson;
pub mod langevin;
pub mod matmul;
pub mod random;
pub mod reduce;
pub mod roofline;
pub mod score_matching;
pub mod sde_step;
pub mod softmax;
pub mod upfirdn2d;

use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError, Variant};
use crate::tensor::{Shape, Tensor};

/// Why a kernel was not launched.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The device refused.
    #[error(transparent)]
    Gpu(#[from] GpuError),
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
fn check_shape(kernel: &'static str, name: &str, tensor: &Tensor, expected: Shape) -> Result<()> {
    check(kernel, tensor.shape() == expected, || format!("{name} is {}, expected {expected}", tensor.shape()))
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
    let bindings: Vec<Binding<'_>> = tensors.iter().map(|t| t.binding()).collect();
    let immediates = bytemuck::bytes_of(params);
    Ok(gpu.dispatch(Dispatch { variant, entry, bindings: &bindings, immediates, extent, work })?)
}
