//! Benchmark cases of every kernel family, forward and backward, and the device's ceilings to compare them
//! with.
//!
//! The cases of a family are in `benches/FAMILY.rs`. Both criterion (`cargo bench`) and `tweedie bench` run
//! them.

mod measure;
mod model;

pub use measure::{Ceilings, ceilings, measure};
pub use model::{Model, digits};

use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::random::{Distribution, fill};
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};

#[path = "../../benches"]
mod families {
    pub(super) mod adam;
    pub(super) mod combine;
    pub(super) mod conv2d;
    pub(super) mod cross_entropy;
    pub(super) mod dropout;
    pub(super) mod elementwise;
    pub(super) mod embedding;
    pub(super) mod group_norm;
    pub(super) mod heads;
    pub(super) mod hutchinson;
    pub(super) mod impute;
    pub(super) mod inner_product;
    pub(super) mod langevin;
    pub(super) mod layout;
    pub(super) mod matmul;
    pub(super) mod max_pool;
    pub(super) mod metropolis;
    pub(super) mod pool;
    pub(super) mod random;
    pub(super) mod reduce;
    pub(super) mod resize;
    pub(super) mod score_matching;
    pub(super) mod softmax;
    pub(super) mod upfirdn2d;
}

macro_rules! families {
    ($($family:ident),+ $(,)?) => {
        /// The cases of all families on a device, by family.
        ///
        /// # Errors
        /// If the device has no room for the operands.
        pub fn cases(gpu: &Gpu) -> Result<Vec<Case>> {
            let mut all = Vec::new();
            $(
                let cases: Vec<Case> = families::$family::cases(gpu, Size::of(gpu))?;
                all.extend(cases.into_iter().map(|case| Case { family: stringify!($family), ..case }));
            )+
            Ok(all)
        }
    };
}

// The compiler reports a module that is missing here: its `cases` are dead code.
families! {
    adam, combine, conv2d, cross_entropy, dropout, elementwise, embedding, group_norm, heads,
    hutchinson, impute, inner_product, langevin, layout, matmul, max_pool, metropolis, pool, random, reduce, resize,
    score_matching, softmax, upfirdn2d,
}

/// The amount of work of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Floating-point operations, two for a multiply-add.
    Operations(f64),
    /// The least number of bytes to move: operands read once, results written once, without padding.
    Bytes(f64),
}

/// One benchmark.
pub struct Case {
    /// The kernel family.
    pub family: &'static str,
    /// The function and the size of its operands.
    pub name: String,
    /// The amount of work of one run.
    pub work: Work,
    /// Records one run.
    pub run: Box<dyn Fn() -> Result<()>>,
}

impl Case {
    fn new(name: impl Into<String>, work: Work, run: impl Fn() -> Result<()> + 'static) -> Case {
        Case { family: "", name: name.into(), work, run: Box::new(run) }
    }
}

/// The size of the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// For a software driver.
    Small,
    /// For a GPU.
    Large,
}

impl Size {
    fn of(gpu: &Gpu) -> Size {
        if gpu.adapter().is_cpu() { Size::Small } else { Size::Large }
    }

    /// The value for this size.
    fn pick<T>(self, small: T, large: T) -> T {
        match self {
            Size::Small => small,
            Size::Large => large,
        }
    }
}

/// A tensor of noise.
fn noise(gpu: &Gpu, shape: Shape) -> Result<Tensor> {
    fill(gpu, shape, Key::new(1, Purpose::Other(1)), Distribution::Normal { std: 1.0 })
}

/// Bytes of `tensors` f32 tensors of a shape, without padding.
fn bytes(shape: Shape, tensors: usize) -> Work {
    Work::Bytes((4 * tensors * shape.len()) as f64)
}
