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

/// How often the aim is moved nearer to what was given, where pictures cannot measure as it says.
const CORRECTIONS: usize = 3;
/// How far within the noise a picture is aimed at, for the descent comes near and does not arrive.
const INSIDE: f64 = 0.995;

/// Moves images `[n, h, w, c]` that were drawn given a measurement of each into `range`. Cutting values off moves what is
/// measured of an image by as much as it moves the image; this finds a picture near by where it need not, by descending from
/// there on ‖A x − y′‖² within the range.
///
/// The y′ that it aims at is the draw's own measurement if that is within the noise of the one given, σ_y in the root mean
/// square (Morozov 1966, the discrepancy principle), and else, between both, what just is. Where no picture measures y′ and
/// the nearest is further from what was given than the noise, y′ is moved on towards it. Images in the range that are
/// within the noise stay as they are.
///
/// # Errors
/// If the shapes do not fit, or the device refuses.
pub fn into_range(measurement: &Measurement<'_>, x: &Tensor, range: (f32, f32)) -> Result<Tensor> {
    let Measurement { operator, y, noise_std } = measurement;
    check_shape("inverse problem", "the images", x, operator.input().with_n(y.shape().n()))?;
    let given = operator.measured(y.clone())?;
    let radius = noise_std * (operator.count() as f64).sqrt();
    let distances = |image: &Tensor| -> Result<Vec<f64>> {
        let squares = squares(&sde_step(&[(image, 1.0), (&given, -1.0)], None)?)?;
        Ok(squares.into_iter().map(f64::sqrt).collect())
    };
    // How much is kept of a distance, all of it within the noise.
    let kept = |distance: f64| if distance > radius { INSIDE * radius / distance } else { 1.0 };
    let drawn = operator.apply(x)?;
    let shares: Vec<f64> = distances(&drawn)?.into_iter().map(kept).collect();
    let mut aim = mix(&drawn, &given, &shares)?;
    // A little below 1 / L: the norm is found from below.
    let descent = Descent { operator: *operator, range, step: 0.9 / square_of_norm(*operator, x)? };
    let mut x = descent.run(cut_off(x, range)?, &aim)?;
    for _ in 0..CORRECTIONS {
        let (off, room) = (distances(&operator.apply(&x)?)?, distances(&aim)?);
        // One that aims at what was given has come as near as it can.
        let share = |(off, room): (f64, f64)| if room > 0.0 { kept(off) } else { 1.0 };
        let shares: Vec<f64> = off.into_iter().zip(room).map(share).collect();
        if shares.iter().all(|share| *share == 1.0) {
            break;
        }
        // By the square, for pictures follow their aim by about half.
        aim = mix(&aim, &given, &shares.iter().map(|share| share * share).collect::<Vec<f64>>())?;
        let stay: Vec<f64> = shares.iter().map(|share| f64::from(u8::from(*share == 1.0))).collect();
        x = mix(&x, &descent.run(x.clone(), &aim)?, &stay)?;
    }
    Ok(x)
}

/// `shares` of each sample of `a`, and the rest of `b`: all of `a`, and all of `b`, bit for bit.
fn mix(a: &Tensor, b: &Tensor, shares: &[f64]) -> Result<Tensor> {
    let factors: Vec<Factors> =
        shares.iter().map(|share| Factors::new(&[*share, 1.0 - share], 0.0)).collect();
    sde_step_each(&[a, b], &factors, None)
}

/// ‖x‖² of each sample.
fn squares(x: &Tensor) -> Result<Vec<f64>> {
    lanes(&inner_product(x, x)?)
}

/// The way down ‖A x − y′‖² within a range, with momentum (Beck and Teboulle 2009, FISTA).
struct Descent<'a> {
    operator: &'a dyn Operator,
    range: (f32, f32),
    step: f64,
}

impl Descent<'_> {
    /// From images `[n, h, w, c]` in the range to those that measure most nearly as `aim` says.
    fn run(&self, mut x: Tensor, aim: &Tensor) -> Result<Tensor> {
        let mut ahead = x.clone();
        for i in 0..STEPS {
            let off = sde_step(&[(aim, 1.0), (&self.operator.apply(&ahead)?, -1.0)], None)?;
            let next = sde_step(&[(&ahead, 1.0), (&self.operator.adjoint(&off)?, self.step)], None)?;
            let next = cut_off(&next, self.range)?;
            let change = sde_step(&[(&next, 1.0), (&x, -1.0)], None)?;
            ahead = sde_step(&[(&next, 1.0), (&change, i as f64 / (i as f64 + 3.0))], None)?;
            x = next;
        }
        Ok(x)
    }
}

/// ‖A‖², the largest eigenvalue of Aᵀ A: its Rayleigh quotient after some steps of the power method.
fn square_of_norm(operator: &dyn Operator, like: &Tensor) -> Result<f64> {
    if let Some(gram) = operator.gram() {
        return Ok(gram);
    }
    let key = Key::new(0, Purpose::Other(0));
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
