//! Train score-based generative models and sample from them on any GPU.
//!
//! A small tensor runtime with its own automatic differentiation that dispatches handwritten WGSL compute
//! shaders through wgpu (Vulkan, Metal, DX12). A first program, for a model that `tweedie train` has made:
//!
//! ```no_run
//! use tweedie::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(None)?;
//! let checkpoint = Checkpoint::read(&Run::at("runs/digits").latest()?)?;
//! let score = checkpoint.scorer(&gpu, Weights::Ema)?;
//! let draw = Draw::new(42);
//! let start = prior(&score, Shape::new(64, 8, 8, 1), draw)?;
//! let sampled = sampler(&checkpoint.config().sampling, 60)?.run(&score, start, draw, &mut |_| Ok(()))?;
//! # Ok(())
//! # }
//! ```
//!
//! Processes ([`sde::Process`]), scores ([`sample::Score`]), samplers ([`sample::Sampler`]), predictors, networks
//! ([`nn::Architecture`]), data ([`data::Source`]) and kernels ([`kernels::Kernel`]) can come from outside the crate; the
//! folder `examples` has a program for each. Each module uses only those above it:
//!
//! | module | what it is |
//! | --- | --- |
//! | [`gpu`] | the device: adapter choice, buffers, shader assembly, pipelines, the command stream, timing |
//! | [`tensor`] | an array on the device |
//! | [`kernels`] | one file per kernel family: checks shapes, picks a variant, dispatches |
//! | [`autodiff`] | the `Engine` trait and its three engines: eager, tape (reverse mode), dual (forward mode) |
//! | [`nn`] | parameters, initialisation, layers and networks, written once for every engine |
//! | [`train`] | the objective, the optimiser's step, checkpoints, the run folder |
//! | [`sample`] | scores, solvers of the reverse process, guidance by classes and measurements, the probability flow and likelihoods |
//! | [`interop`] | checkpoints of other implementations: the reference's and diffusers' |
//! | [`eval`] | how far samples are from data |
//! | [`bench`](mod@bench) | measured cases of every kernel, and the device's ceilings |
//! | [`cli`] | the command line; the only place that prints |
//!
//! These use none of the above and may be used by any:
//!
//! | module | what it is |
//! | --- | --- |
//! | [`sde`] | forward processes in float64: what makes one, VE, VP, sub-VP, and chains |
//! | [`data`] | data sets, and the order in which training sees them |
//! | [`random`] | Philox4x32-10, bit-equal to the shaders', as a generator of the `rand` crate |
//! | [`config`] | configurations in TOML |
//! | [`choice`] | enums whose names and descriptions are data |
//! | [`files`], [`memory`] | files that are whole or not there, and what memory is left |
#![warn(missing_docs)]
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod autodiff;
pub mod bench;
pub mod choice;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod data;
pub mod eval;
pub mod files;
#[cfg(all(feature = "cli", feature = "hub", any(test, fuzzing)))]
pub mod fuzzing;
pub mod gpu;
pub mod interop;
pub mod kernels;
pub mod memory;
pub mod nn;
pub mod prelude;
pub mod random;
pub mod sample;
pub mod sde;
pub mod tensor;
pub mod train;
