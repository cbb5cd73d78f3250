//! A tensor: a handle to a range of device memory with a shape and a storage type.

mod shape;

pub use shape::Shape;

use crate::gpu::{Binding, Buffer, Element, Gpu, GpuError};
use std::sync::Arc;

/// An array on the device, `[n, h, w, c]` with channels padded to a multiple of 4 (see [`Shape`]). Clones
/// share the memory, which returns to the pool when the last one is dropped.
///
/// Operators build a linear [`Form`](crate::kernels::combine::Form) of tensors, which one kernel computes:
///
/// ```
/// use tweedie::prelude::*;
///
/// let gpu = Gpu::open(None)?;
/// let shape = Shape::new(1, 2, 2, 1);
/// let x = Tensor::from_slice(&gpu, shape, &[0.0, 1.0, 2.0, 3.0])?;
/// let y = Tensor::from_slice(&gpu, shape, &[1.0; 4])?;
/// let z = (&x * 2.0 - &y).run()?;
/// assert_eq!(z.read()?, [-1.0, 1.0, 3.0, 5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    gpu: Gpu,
    buffer: Arc<Buffer>,
    offset: u64,
    shape: Shape,
    element: Element,
}

impl Tensor {
    /// A tensor with unspecified contents.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn empty(gpu: &Gpu, shape: Shape, element: Element) -> Result<Tensor, GpuError> {
        let buffer = gpu.allocate(shape.vec4s() as u64 * 4 * element.bytes());
        let buffer = Arc::new(buffer.map_err(|error| error.about(format!("a tensor of shape {shape}")))?);
        Ok(Tensor { gpu: gpu.clone(), buffer, offset: 0, shape, element })
    }

    /// A tensor of f32 with these values, given without padding.
    ///
    /// # Errors
    /// If the device has not enough memory.
    ///
    /// # Panics
    /// If `values` has another length than the shape.
    pub fn from_slice(gpu: &Gpu, shape: Shape, values: &[f32]) -> Result<Tensor, GpuError> {
        let tensor = Tensor::empty(gpu, shape, Element::F32)?;
        tensor.write(values)?;
        Ok(tensor)
    }

    /// A tensor of f32 zeros.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn zeros(gpu: &Gpu, shape: Shape) -> Result<Tensor, GpuError> {
        Tensor::from_slice(gpu, shape, &vec![0.0; shape.len()])
    }

    /// Overwrites the values, given without padding.
    ///
    /// # Errors
    /// Any error that the device reported.
    ///
    /// # Panics
    /// If `values` has another length than the shape.
    pub fn write(&self, values: &[f32]) -> Result<(), GpuError> {
        assert_eq!(
            values.len(),
            self.shape.len(),
            "{} values for a tensor of shape {}",
            values.len(),
            self.shape
        );
        let padded = self.shape.pad(values);
        match self.element {
            Element::F32 => self.gpu.upload(&self.buffer, self.offset, bytemuck::cast_slice(&padded)),
            Element::F16 => {
                let halves: Vec<half::f16> = padded.iter().map(|v| half::f16::from_f32(*v)).collect();
                self.gpu.upload(&self.buffer, self.offset, bytemuck::cast_slice(&halves))
            }
        }
    }

    /// The values without padding. Waits for the device.
    ///
    /// # Errors
    /// Any error that the device reported.
    pub fn read(&self) -> Result<Vec<f32>, GpuError> {
        let bytes = self.gpu.download(&self.buffer, self.offset, self.size())?;
        let padded: Vec<f32> = match self.element {
            Element::F32 => bytemuck::pod_collect_to_vec(&bytes),
            Element::F16 => {
                let halves: Vec<half::f16> = bytemuck::pod_collect_to_vec(&bytes);
                halves.iter().map(|v| v.to_f32()).collect()
            }
        };
        Ok(self.shape.unpad(&padded))
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its storage type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Its size in bytes, padding included.
    pub fn size(&self) -> u64 {
        self.shape.vec4s() as u64 * 4 * self.element.bytes()
    }

    /// Whether no other handle shares the memory, so that it may be overwritten.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.buffer) == 1
    }

    /// Whether another handle is of the same memory, seen with the same extents.
    pub fn is_same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
            && (self.offset, self.shape, self.element) == (other.offset, other.shape, other.element)
    }

    /// Its binding for a kernel.
    pub fn binding(&self) -> Binding<'_> {
        Binding { buffer: &self.buffer, offset: self.offset, size: self.size() }
    }

    /// The same memory with another shape.
    ///
    /// # Panics
    /// If the shape has another number of elements, padding included.
    pub fn reshape(&self, shape: Shape) -> Tensor {
        assert_eq!(shape.vec4s(), self.shape.vec4s(), "{} cannot be seen as {shape}", self.shape);
        assert!(
            shape.c() == self.shape.c() || (shape.c().is_multiple_of(4) && self.shape.c().is_multiple_of(4))
        );
        Tensor { shape, ..self.clone() }
    }

    /// A part of this tensor's memory as a tensor of its own: `first` counts `vec4`s and must fall on
    /// [`Gpu::alignment`].
    ///
    /// # Panics
    /// If the part is not inside or not aligned.
    pub fn slice(&self, first: usize, shape: Shape) -> Tensor {
        let offset = self.offset + first as u64 * 4 * self.element.bytes();
        assert!(
            first + shape.vec4s() <= self.shape.vec4s(),
            "{shape} at {first} is not inside {}",
            self.shape
        );
        assert_eq!(offset % self.gpu.alignment(), 0, "a slice starts at an unaligned {offset}");
        Tensor { shape, offset, ..self.clone() }
    }
}
