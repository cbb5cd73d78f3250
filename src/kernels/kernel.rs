//! A kernel from outside this crate: a user's own WGSL, dispatched over tensors.

use super::{Result, bind, check};
use crate::gpu::{Checks, Dispatch, Extent, Variant};
use crate::tensor::Tensor;
use bytemuck::Pod;

/// An entry point of a [`Shader`](crate::gpu::Shader) of one's own.
///
/// The WGSL follows the conventions of [`crate::gpu::Shader`], and these:
///
/// * tensors are storage buffers in group 0, at bindings 0, 1, … without a gap: `array<f32>`, or
///   `array<vec4<f32>>` with channels padded to a multiple of 4 (see [`Shape`](crate::tensor::Shape));
/// * shapes and scalars are one `var<immediate>` of at most 128 bytes, the same bytes as the `params` of a
///   launch;
/// * workgroups come in one or two dimensions: `flat_index` of `lib/index.wgsl` is the number of an
///   invocation, and `WORKGROUP` its workgroup size. There may be more invocations than requested: an entry
///   point tests its number.
///
/// ```
/// use tweedie::gpu::{Extent, Gpu, Shader, Variant};
/// use tweedie::kernels::Kernel;
/// use tweedie::tensor::{Shape, Tensor};
///
/// const CUBE: Shader = Shader::new(
///     "cube",
///     "// include lib/index.wgsl
///
///      var<immediate> blocks: u32;
///
///      @group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
///      @group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
///
///      @compute @workgroup_size(WORKGROUP)
///      fn cube(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
///          let i = flat_index(id, groups);
///          if (i < blocks) { y[i] = x[i] * x[i] * x[i]; }
///      }",
/// );
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gpu = Gpu::open(None)?;
/// let shape = Shape::new(1, 1, 1, 3);
/// let x = Tensor::from_slice(&gpu, shape, &[1.0, 2.0, 3.0])?;
/// let y = Tensor::empty(&gpu, shape, Default::default())?;
/// let blocks = shape.vec4s();
/// let kernel = Kernel::new(Variant::new(CUBE), "cube");
/// kernel.launch(&[&x, &y], &(blocks as u32), Extent::Invocations(blocks), 8 * blocks as u64)?;
/// assert_eq!(y.read()?, [1.0, 8.0, 27.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    variant: Variant,
    entry: &'static str,
}

impl Kernel {
    /// The entry point `entry` of a variant. It compiles at the first launch on a device.
    pub fn new(variant: Variant, entry: &'static str) -> Kernel {
        Kernel { variant, entry }
    }

    /// Launches the kernel with `tensors` at its bindings 0, 1, … and `params` as its immediates (`()` if it
    /// has none). It runs after everything launched before it.
    ///
    /// `work` is an estimate of the launch's floating-point operations. It bounds the work of one submission,
    /// so that a watchdog does not reset a slow device; it does not affect results.
    ///
    /// The shader is compiled with tests of every index and with bounds on its loops: it cannot access memory
    /// outside of its tensors.
    ///
    /// # Errors
    /// [`KernelError::Mismatch`](super::KernelError::Mismatch) without a tensor, or with tensors of several
    /// devices. [`GpuError::Shader`](crate::gpu::GpuError::Shader) if the WGSL does not compile, if it
    /// declares other bindings or immediates than it gets, or if a tensor that it writes shares memory with
    /// one that it only reads. [`GpuError::TooLarge`](crate::gpu::GpuError::TooLarge) if a tensor is larger
    /// than one binding of the device.
    pub fn launch<P: Pod>(&self, tensors: &[&Tensor], params: &P, extent: Extent, work: u64) -> Result<()> {
        self.run(tensors, params, extent, work, Checks::On)
    }

    /// [`Kernel::launch`] without run-time checks, as for this crate's own kernels: faster for a kernel that is
    /// bound by its arithmetic.
    ///
    /// # Safety
    /// With these tensors, parameters and extent no invocation may index outside of a binding or an array,
    /// divide an integer by zero, read workgroup memory before it is written, or loop forever.
    ///
    /// # Errors
    /// Any error of [`Kernel::launch`].
    #[expect(unsafe_code, reason = "the caller promises what the checks would test")]
    pub unsafe fn launch_unchecked<P: Pod>(
        &self,
        tensors: &[&Tensor],
        params: &P,
        extent: Extent,
        work: u64,
    ) -> Result<()> {
        self.run(tensors, params, extent, work, Checks::Off)
    }

    fn run<P: Pod>(
        &self,
        tensors: &[&Tensor],
        params: &P,
        extent: Extent,
        work: u64,
        checks: Checks,
    ) -> Result<()> {
        let Some(gpu) = tensors.first().map(|tensor| tensor.gpu()) else {
            return check(self.entry, false, || "a kernel needs a tensor".into());
        };
        let together = tensors.iter().all(|tensor| tensor.gpu() == gpu);
        check(self.entry, together, || "the tensors are on several devices".into())?;
        let (variant, entry) = (self.variant.clone(), self.entry);
        let bindings = bind(gpu, &variant, tensors)?;
        let immediates = bytemuck::bytes_of(params);
        Ok(gpu.dispatch(Dispatch {
            variant,
            entry,
            bindings: &bindings,
            immediates,
            extent,
            work,
            checks,
        })?)
    }
}
