//! Sums over samples in two passes: chunks of a sample, and then the chunks (`shaders/lib/chunk.wgsl`).

use crate::tensor::Shape;
use bytemuck::{Pod, Zeroable};

/// `vec4`s that one invocation sums.
pub(super) const RUN: usize = 16;

/// The division of samples into chunks: the shader's `Chunks`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Chunks {
    pub samples: u32,
    sample: u32,
    pub chunks: u32,
    run: u32,
}

impl Chunks {
    /// Chunks of `run` `vec4`s.
    pub fn new(shape: Shape, run: usize) -> Chunks {
        Chunks {
            samples: shape.n() as u32,
            sample: shape.sample_vec4s() as u32,
            chunks: shape.sample_vec4s().div_ceil(run) as u32,
            run: run as u32,
        }
    }

    /// Chunks of all samples together.
    pub fn total(&self) -> usize {
        (self.samples * self.chunks) as usize
    }
}
