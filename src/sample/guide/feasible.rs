//! Restorations within the range of images: the nearest that has the measurement.

use super::inverse::Measurement;
use super::operator::Operator;
use crate::kernels::check_shape;
use crate::kernels::elementwise::clamp;
use crate::kernels::inner_product::{inner_product, lanes, normalise};
use crate::kernels::random::{Distribution, fill};
use crate::random::{Key, Purpose};
use crate::sample::error::Result;
use crate::tensor::Tensor;

/// Steps of the descent, enough for rows of very different lengths and for blurs. Random directions need a fifth of them.
const STEPS: usize = 100;
/// Steps that find the operator's norm.
const POWERS: usize = 30;

/// The number of times the target is moved towards the given measurement, where no image in the range reaches it.
const CORRECTIONS: usize = 3;
/// The target's distance in units of the noise: a little below 1, because the descent comes near and does not arrive.
const INSIDE: f64 = 0.995;

/// Moves samples `[n, h, w, c]` of a posterior into `range`, keeping their measurements. A raw sample has values slightly outside
/// the range, and clipping them would change its measurement. This finds the nearest image inside the range by descending
/// from the clipped sample on ‖A x − y′‖² within the range.
///
/// The target y′ is the sample's own measurement if that is within the noise of the given one, σ_y in the root mean square
/// (Morozov 1966, the discrepancy principle), and else, between both, the nearest that is. Where no image in the range measures
/// y′ and the nearest is further from the given measurement than the noise, y′ is moved on towards it. Images in the range
/// that are within the noise stay as they are.
///
/// # Errors
/// If the shapes do not fit.
pub fn feasible(measurement: &Measurement<'_>, x: &Tensor, range: (f32, f32)) -> Result<Tensor> {
    let Measurement { operator, y, noise_std } = measurement;
    check_shape("inverse problem", "the images", x, operator.input().with_n(y.shape().n()))?;
    let given = operator.measured(y.clone())?;
    let radius = noise_std * (operator.count() as f64).sqrt();
    let distances = |image: &Tensor| -> Result<Vec<f64>> {
        let off = (image - &given).run()?;
        Ok(lanes(&inner_product(&off, &off)?)?.into_iter().map(f64::sqrt).collect())
    };
    // The share of a distance that is kept, all of it within the noise.
    let kept = |distance: f64| if distance > radius { INSIDE * radius / distance } else { 1.0 };
    let drawn = operator.apply(x)?;
    let shares: Vec<f64> = distances(&drawn)?.into_iter().map(kept).collect();
    let mut aim = mix(&drawn, &given, &shares)?;
    // A little below 1 / L: the norm is found from below.
    let descent = Descent { operator: *operator, range, step: 0.9 / square_of_norm(*operator, x)? };
    let mut x = descent.run(clamp(x, range.0, range.1)?, &aim)?;
    for _ in 0..CORRECTIONS {
        let (off, room) = (distances(&operator.apply(&x)?)?, distances(&aim)?);
        // A target at the given measurement cannot move on.
        let share = |(off, room): (f64, f64)| if room > 0.0 { kept(off) } else { 1.0 };
        let shares: Vec<f64> = off.into_iter().zip(room).map(share).collect();
        if shares.iter().all(|share| *share == 1.0) {
            break;
        }
        // By the square, because images follow their target by about half.
        aim = mix(&aim, &given, &shares.iter().map(|share| share * share).collect::<Vec<f64>>())?;
        let stay: Vec<f64> = shares.iter().map(|share| f64::from(u8::from(*share == 1.0))).collect();
        x = mix(&x, &descent.run(x.clone(), &aim)?, &stay)?;
    }
    Ok(x)
}

/// `shares` of each sample of `a`, and the rest of `b`: all of `a`, and all of `b`, bit for bit.
fn mix(a: &Tensor, b: &Tensor, shares: &[f64]) -> Result<Tensor> {
    let rest: Vec<f64> = shares.iter().map(|share| 1.0 - share).collect();
    Ok((a * shares.to_vec() + b * rest).run()?)
}

/// Descent on ‖A x − y′‖² within a range, with momentum (Beck and Teboulle 2009, FISTA).
struct Descent<'a> {
    operator: &'a dyn Operator,
    range: (f32, f32),
    step: f64,
}

impl Descent<'_> {
    /// From images `[n, h, w, c]` in the range to those whose measurement is nearest to `aim`.
    fn run(&self, mut x: Tensor, aim: &Tensor) -> Result<Tensor> {
        let mut ahead = x.clone();
        for i in 0..STEPS {
            let off = (aim - &self.operator.apply(&ahead)?).run()?;
            let next = (&ahead + &self.operator.adjoint(&off)? * self.step).run()?;
            let next = clamp(&next, self.range.0, self.range.1)?;
            let momentum = i as f64 / (i as f64 + 3.0);
            // A difference of its own, so that an image at rest stays where it is, bit for bit.
            let change = (&next - &x).run()?;
            ahead = (&next + &change * momentum).run()?;
            x = next;
        }
        Ok(x)
    }
}

/// ‖A‖², the largest eigenvalue of Aᵀ A: its Rayleigh quotient after some steps of the power method, of which only the last is
/// read back.
fn square_of_norm(operator: &dyn Operator, like: &Tensor) -> Result<f64> {
    if let Some(gram) = operator.gram() {
        return Ok(gram);
    }
    let key = Key::new(0, Purpose::Other(0));
    let mut v = fill(like.gpu(), operator.input(), key, Distribution::Normal { std: 1.0 })?;
    let image = |v: &Tensor| -> Result<Tensor> { operator.adjoint(&operator.apply(v)?) };
    for _ in 1..POWERS {
        v = normalise(&image(&v)?, 1.0)?;
    }
    let sum = |a: &Tensor, b: &Tensor| -> Result<f64> { Ok(lanes(&inner_product(a, b)?)?.iter().sum()) };
    Ok(sum(&v, &image(&v)?)? / sum(&v, &v)?)
}
