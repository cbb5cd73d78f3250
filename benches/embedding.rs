//! A module of `src/bench`.
//!
//! Fourier and sinusoidal embeddings.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, embedding};
use crate::tensor::{Shape, Tensor};

pub fn cases(gpu: &Gpu, _: Size) -> Result<Vec<Case>> {
    let (n, m) = (128, 128);
    let values = noise(gpu, Shape::new(n, 1, 1, 1))?;
    let weights = noise(gpu, Shape::vector(m))?;
    let table = embedding::sinusoidal_frequencies(2 * m, 1.0);
    let table = Tensor::from_slice(gpu, Shape::vector(m), &table)?;
    let work = Work::Bytes((4 * (n + m + 2 * n * m)) as f64);
    let fourier = {
        let values = values.clone();
        move || embedding::fourier(&values, &weights).map(drop)
    };
    let sinusoidal = move || embedding::sinusoidal(&values, &table, 2 * m).map(drop);
    Ok(vec![
        Case::new(format!("fourier n{n}_m{m}"), work, fourier),
        Case::new(format!("sinusoidal n{n}_m{m}"), work, sinusoidal),
    ])
}
