//! Images with values in a range, as they are written, that measure as they should.

use super::inverse::Measurement;
use super::operator::Operator;
use crate::kernels::inner_product::{inner_product, lanes};
use crate::kernels::random::{Distribution, fill};
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::kernels::{Result, check_shape};
use crate::random::{Key, Purpose};
use crate::tensor::Tensor;

/// Steps of the descent: those that rows of very different lengths take, or blurs. Random directions need a fifth of them.
const STEPS: usize = 100;
/// Steps that find the operator's norm.
const POWERS: usize = 30;

/// Moves images `[n, h, w, c]` that were drawn given a measurement of each into `range`. Cutting values off moves what is
/// measured of an image by as much as it moves the image; this finds a picture near by where it need not, by descending from
/// there on ‖A x − y′‖² within the range, with momentum (Beck and Teboulle 2009, FISTA).
///
/// The y′ that it aims at is the draw's own measurement if that is within the noise of the one given, σ_y in the root mean
/// square (Morozov 1966, the discrepancy principle), and else, between both, what just is. Images in the range that are
/// within the noise stay as they are.
///
/// # Errors
/// If the shapes do not fit, or the device refuses.
pub fn into_range(measurement: &Measurement<'_>, x: &Tensor, range: (f32, f32)) -> Result<Tensor> {
    let Measurement { operator, y, .. } = measurement;
    check_shape("inverse problem", "the images", x, operator.input().with_n(y.shape().n()))?;
    let aim = aim(measurement, &operator.apply(x)?)?;
    // A little below 1 / L: the norm is found from below.
    let step = 0.9 / square_of_norm(*operator, x)?;
    let mut x = cut_off(x, range)?;
    let mut ahead = x.clone();
    for i in 0..STEPS {
        let off = sde_step(&[(&aim, 1.0), (&operator.apply(&ahead)?, -1.0)], None)?;
        let next = cut_off(&sde_step(&[(&ahead, 1.0), (&operator.adjoint(&off)?, step)], None)?, range)?;
        let change = sde_step(&[(&next, 1.0), (&x, -1.0)], None)?;
        ahead = sde_step(&[(&next, 1.0), (&change, i as f64 / (i as f64 + 3.0))], None)?;
        x = next;
    }
    Ok(x)
}

/// The measurements `drawn`, moved towards those given as far as it takes to be within the noise of them.
fn aim(Measurement { operator, y, noise_std }: &Measurement<'_>, drawn: &Tensor) -> Result<Tensor> {
    let given = operator.measured(y.clone())?;
    let off = sde_step(&[(drawn, 1.0), (&given, -1.0)], None)?;
    let ones = Tensor::from_slice(y.gpu(), operator.output(), &vec![1.0; operator.output().len()])?;
    let ones = operator.measured(ones)?;
    let measured: f64 = lanes(&inner_product(&ones, &ones)?)?.iter().sum();
    let kept =
        |square: f64| if square > 0.0 { (noise_std * (measured / square).sqrt()).min(1.0) } else { 1.0 };
    let kept = lanes(&inner_product(&off, &off)?)?.into_iter().map(kept);
    // Where all is kept, bit for bit what was drawn.
    let factors: Vec<Factors> = kept.map(|kept| Factors::new(&[kept, 1.0 - kept], 0.0)).collect();
    sde_step_each(&[drawn, &given], &factors, None)
}

/// ‖A‖², the largest eigenvalue of Aᵀ A: its Rayleigh quotient after some steps of the power method.
fn square_of_norm(operator: &dyn Operator, like: &Tensor) -> Result<f64> {
    if let Some(gram) = operator.gram() {
        return Ok(gram);
    }
    let key = Key::new(0, Purpose::Measurement);
    let mut v = fill(like.gpu(), operator.input(), key, Distribution::Normal { std: 1.0 })?;
    let mut square = 0.0;
    for _ in 0..POWERS {
        let image = operator.adjoint(&operator.apply(&v)?)?;
        let sum = |a: &Tensor, b: &Tensor| -> Result<f64> { Ok(lanes(&inner_product(a, b)?)?.iter().sum()) };
        square = sum(&v, &image)? / sum(&v, &v)?;
        v = sde_step(&[(&image, 1.0 / square)], None)?;
    }
    Ok(square)
}

fn cut_off(x: &Tensor, (low, high): (f32, f32)) -> Result<Tensor> {
    let values: Vec<f32> = x.read()?.into_iter().map(|v| v.clamp(low, high)).collect();
    Ok(Tensor::from_slice(x.gpu(), x.shape(), &values)?)
}
