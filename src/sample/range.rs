//! Images with values in a range, as they are written, whose measurement is that of what was drawn.

use super::operator::{Operator, System, solve};
use crate::kernels::Result;
use crate::kernels::sde_step::sde_step;
use crate::tensor::Tensor;

/// Projections on each of both sets. After 20 of them random directions of digits are 200 times as near as after one.
const ROUNDS: usize = 20;

/// Moves images `[n, h, w, c]` into `range`, with what is measured of them kept: by projecting in turn on the images in the
/// range and on those with the measurement of `x` (von Neumann 1950; Bregman 1965), this one up to noise of `noise_std`.
/// Cutting values off moves a measurement by as much as it moves the image; this finds the images near by where it need
/// not. Where no image in the range has the measurement, it comes as near as one does. Images in the range stay as they are.
///
/// # Errors
/// If the shapes do not fit, or the device refuses.
pub fn into_range(operator: &dyn Operator, x: &Tensor, range: (f32, f32), noise_std: f64) -> Result<Tensor> {
    let drawn = operator.apply(x)?;
    // As in guidance: without noise what f32 can tell from it.
    let systems = vec![System { gram: 1.0, ridge: noise_std.powi(2).max(1e-10) }; x.shape().n()];
    let mut x = cut_off(x, range)?;
    for _ in 0..ROUNDS {
        let off = sde_step(&[(&drawn, 1.0), (&operator.apply(&x)?, -1.0)], None)?;
        let back = operator.adjoint(&solve(operator, &off, &systems)?)?;
        x = cut_off(&sde_step(&[(&x, 1.0), (&back, 1.0)], None)?, range)?;
    }
    Ok(x)
}

fn cut_off(x: &Tensor, (low, high): (f32, f32)) -> Result<Tensor> {
    let values: Vec<f32> = x.read()?.into_iter().map(|v| v.clamp(low, high)).collect();
    Ok(Tensor::from_slice(x.gpu(), x.shape(), &values)?)
}
