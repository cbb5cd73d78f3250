//! The names that most programs use: `use tweedie::prelude::*;`.

pub use crate::config::Config;
pub use crate::gpu::Gpu;
pub use crate::kernels::combine::{Factor, Form};
pub use crate::random::{Draw, Key, Purpose};
pub use crate::sample::{
    Adjoint, Evaluation, Progress, Sampler, Score, Tangents, Times, denoise, prior, sampler,
};
pub use crate::sde::{Marginal, Process, SubVp, Ve, Vp};
pub use crate::tensor::{Shape, Tensor};
pub use crate::train::{Checkpoint, Run, RunOptions, Trainer, Weights};
