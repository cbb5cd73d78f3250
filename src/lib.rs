//! Train score-based generative models and sample from them on any GPU.
//!
//! A small tensor runtime with its own automatic differentiation that dispatches handwritten WGSL compute
//! shaders through wgpu (Vulkan, Metal, DX12). Each module uses only those above it:
//!
//! | module | what it is |
//! | --- | --- |
//! | [`gpu`] | the device: adapter choice, buffers, shader assembly, pipelines, the command stream, timing |
//! | [`tensor`] | an array on the device |
//! | [`kernels`] | one file per kernel family: checks shapes, picks a variant, dispatches |
#![warn(missing_docs)]

pub mod autodiff;
pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod eval;
pub mod files;
pub mod gpu;
pub mod interop;
pub mod kernels;
pub mod nn;
pub mod random;
pub mod sample;
pub mod sde;
pub mod tensor;
pub mod train;
