//! The kernels: one file per family. A function checks its shapes, picks a variant, binds and dispatches.
//! Differentiation is the subject of [`autodiff`](crate::autodiff), but a family's forward, adjoint and
//! tangent live together.
//!
//! A call records work and returns; the device runs it later, in order. Shapes are `[n, h, w, c]`. Every
//! function can return [`KernelError::Mismatch`] for operands that do not fit together and
//! [`KernelError::Gpu`] for an error of the device; the section "Errors" of a function names only its
//! particular ones.
//!
//! [`Kernel`] launches a kernel of one's own.

pub mod adam;
mod chunk;
pub mod combine;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
mod gemm;
pub mod group_norm;
pub mod heads;
pub mod hutchinson;
pub mod impute;
pub mod inner_product;
mod kernel;
pub mod langevin;
pub mod layout;
pub mod matmul;
pub mod max_pool;
pub mod metropolis;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod roofline;
pub mod score_matching;
pub mod softmax;
mod stack;
pub mod upfirdn2d;

pub use kernel::Kernel;

use crate::gpu::{Binding, Checks, Dispatch, Element, Extent, Gpu, GpuError, Variant};
use crate::tensor::{Shape, Tensor};
use std::collections::HashSet;
use std::sync::OnceLock;

/// Operations of a multiply-add on a `vec4`.
const MULTIPLY_ADD: usize = 8;

/// The reason why a kernel was not launched.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// An error of the device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A request that cannot be met.
    #[error("{0}")]
    Refused(String),
    /// Operands do not fit together.
    #[error("{kernel}: {what}")]
    Mismatch {
        /// The kernel family.
        kernel: &'static str,
        /// The operands, and how they differ.
        what: String,
    },
}

/// The result of a kernel.
pub type Result<T> = std::result::Result<T, KernelError>;

/// `Ok` if `fits`, else a mismatch with the description `what`.
pub(crate) fn check(kernel: &'static str, fits: bool, what: impl FnOnce() -> String) -> Result<()> {
    if fits { Ok(()) } else { Err(KernelError::Mismatch { kernel, what: what() }) }
}

/// Checks that a tensor has the shape that its kernel expects.
pub(crate) fn check_shape(kernel: &'static str, name: &str, tensor: &Tensor, expected: Shape) -> Result<()> {
    check(kernel, tensor.shape() == expected, || format!("{name} is {}, expected {expected}", tensor.shape()))
}

/// A kernel family of this crate: `shaders/NAME.wgsl`, `kernels-tests/NAME.rs`, `benches/NAME.rs` and a
/// module here.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    variants: fn() -> Vec<Variant>,
}

impl Family {
    /// The variants of its shaders, in both storage types.
    ///
    /// Resampling filters are arbitrary; the list has those of the published networks.
    pub fn variants(&self) -> Vec<Variant> {
        (self.variants)().into_iter().flat_map(|v| [v.clone(), v.stored(Element::F16)]).collect()
    }
}

macro_rules! families {
    ($($name:ident),+ $(,)?) => {
        /// Every kernel family. The compiler reports a missing module: its `variants` are dead code.
        pub const FAMILIES: &[Family] = &[$(Family { name: stringify!($name), variants: $name::variants }),+];
    };
}

families! {
    adam, combine, conv2d, cross_entropy, dropout, elementwise, embedding, group_norm, heads,
    hutchinson, impute, inner_product, langevin, layout, matmul, max_pool, metropolis, pool, random, reduce, resize,
    roofline, score_matching, softmax, upfirdn2d,
}

/// The shader `shaders/NAME.wgsl`.
macro_rules! shader {
    ($name:literal) => {
        $crate::gpu::Shader::new($name, include_str!(concat!("../../shaders/", $name, ".wgsl")))
    };
}
use shader;

/// Returns true if a family lists the variant, for debug builds. Resampling filters are arbitrary.
fn is_listed(variant: &Variant) -> bool {
    static LISTED: OnceLock<HashSet<Variant>> = OnceLock::new();
    let all = || FAMILIES.iter().flat_map(Family::variants).collect();
    variant.shader.name() == "upfirdn2d" || LISTED.get_or_init(all).contains(variant)
}

/// The tensors at the bindings 0, 1, … of a kernel.
fn bind<'t>(gpu: &Gpu, variant: &Variant, tensors: &[&'t Tensor]) -> Result<Vec<Binding<'t>>> {
    let bound = |tensor: &&'t Tensor| {
        let what = || format!("a tensor of shape {} in {}", tensor.shape(), variant.shader.name());
        gpu.check_binding(tensor.size(), what).map(|()| tensor.binding())
    };
    Ok(tensors.iter().map(bound).collect::<std::result::Result<_, _>>()?)
}

/// Launches an entry point of this crate, without run-time checks, with tensors at its bindings 0, 1, …
///
/// A family checks its shapes first; its shader relies on them, and guards only the last invocations.
fn launch<P: bytemuck::Pod>(
    gpu: &Gpu,
    variant: Variant,
    entry: &'static str,
    tensors: &[&Tensor],
    params: &P,
    extent: Extent,
    work: u64,
) -> Result<()> {
    debug_assert!(is_listed(&variant), "{variant:?} is not listed by its family");
    let bindings = bind(gpu, &variant, tensors)?;
    let (immediates, checks) = (bytemuck::bytes_of(params), Checks::Off);
    Ok(gpu.dispatch(Dispatch { variant, entry, bindings: &bindings, immediates, extent, work, checks })?)
}
