//! Measured cases: every kernel family, forward and backward, and the device's own ceilings to hold them against.
//!
//! The cases of a family stand in `benches/FAMILY.rs`; criterion runs them (`cargo bench`) and so does `tweedie bench`.

mod measure;
mod model;

pub use measure::{Ceilings, ceilings, measure};
pub use model::{Model, digits};

use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::random::{Distribution, fill};
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};

macro_rules! families {
    ($($family:ident = $path:literal),+ $(,)?) => {
        $(#[path = $path] mod $family;)+

        /// The cases of all families on a device, by family.
        ///
        /// # Errors
        /// If the device has no room for the operands.
        pub fn cases(gpu: &Gpu) -> Result<Vec<Case>> {
            let mut all = Vec::new();
            $(
                let cases: Vec<Case> = $family::cases(gpu, Size::of(gpu))?;
                all.extend(cases.into_iter().map(|case| Case { family: stringify!($family), ..case }));
            )+
            Ok(all)
        }
    };
}

families! {
    adam = "../../benches/adam.rs",
    concat = "../../benches/concat.rs",
    conv2d = "../../benches/conv2d.rs",
    dropout = "../../benches/dropout.rs",
    elementwise = "../../benches/elementwise.rs",
    embedding = "../../benches/embedding.rs",
    group_norm = "../../benches/group_norm.rs",
    hutchinson = "../../benches/hutchinson.rs",
    impute = "../../benches/impute.rs",
    inner_product = "../../benches/inner_product.rs",
    langevin = "../../benches/langevin.rs",
    matmul = "../../benches/matmul.rs",
    max_pool = "../../benches/max_pool.rs",
    metropolis = "../../benches/metropolis.rs",
    random = "../../benches/random.rs",
    reduce = "../../benches/reduce.rs",
    resize = "../../benches/resize.rs",
    score_matching = "../../benches/score_matching.rs",
    sde_step = "../../benches/sde_step.rs",
    softmax = "../../benches/softmax.rs",
    upfirdn2d = "../../benches/upfirdn2d.rs",
}

/// What a case is measured in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Floating-point operations, two for a multiply-add.
    Operations(f64),
    /// Bytes that a kernel must move at least: operands read once, results written once, without padding.
    Bytes(f64),
}

/// Something to measure.
pub struct Case {
    /// The kernel family.
    pub family: &'static str,
    /// What of it, and on what.
    pub name: String,
    /// What it amounts to.
    pub work: Work,
    /// Records it once.
    pub run: Box<dyn Fn() -> Result<()>>,
}

impl Case {
    fn new(name: impl Into<String>, work: Work, run: impl Fn() -> Result<()> + 'static) -> Case {
        Case { family: "", name: name.into(), work, run: Box::new(run) }
    }
}

/// How large the cases are.
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

    /// One of two.
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

/// Bytes of so many f32 tensors of a shape, without padding.
fn bytes(shape: Shape, tensors: usize) -> Work {
    Work::Bytes((4 * tensors * shape.len()) as f64)
}
