//! Imputation: sampling with a part of the data observed (Song 2021, appendix I.2): pixels for inpainting,
//! the grey part of an image for colourisation.

use crate::gpu::Gpu;
use crate::kernels::check_shape;
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::impute::impute;
use crate::random::Key;
use crate::sample::Constraint;
use crate::sample::error::Result;
use crate::sde::Marginal;
use crate::tensor::Tensor;

/// The observed part of every sample.
pub struct Impute {
    known: Tensor,
    mask: Tensor,
    /// The basis of the mask, if it is not the pixel basis.
    basis: Option<Decoupling>,
}

impl Impute {
    /// Observed pixels: `known` `[n or 1, h, w, c]` in the model's range, and `mask` `[n or 1, h, w, c]` with
    /// 1 where they are observed, 0 elsewhere.
    pub fn pixels(known: Tensor, mask: Tensor) -> Impute {
        Impute { known, mask, basis: None }
    }

    /// The observed grey part, the mean of each pixel's channels, of `images` `[n or 1, h, w, c]` in the
    /// model's range.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn grey(images: &Tensor) -> Result<Impute> {
        let (gpu, shape) = (images.gpu(), images.shape().with_n(1));
        let basis = Decoupling::new(gpu, shape.c())?;
        let first = |i: usize| f32::from(u8::from(i.is_multiple_of(shape.c())));
        let mask: Vec<f32> = (0..shape.len()).map(first).collect();
        let mask = Tensor::from_slice(gpu, shape, &mask)?;
        Ok(Impute { known: basis.turn(images)?, mask, basis: Some(basis) })
    }
}

impl Constraint for Impute {
    fn impose(&self, x: Tensor, at: Marginal, key: Key) -> Result<Tensor> {
        match &self.basis {
            None => Ok(impute(&x, &self.known, &self.mask, at, key)?),
            // White noise is white in every orthonormal basis.
            Some(basis) => basis.turn(&impute(&basis.turn(&x)?, &self.known, &self.mask, at, key)?),
        }
    }
}

/// An orthonormal basis of the channels whose first vector is grey, (1, …, 1) / √c: the observed grey part is
/// then a channel, the unobserved colour the others (Song 2021, appendix I.3).
pub struct Decoupling {
    /// `[1, 1, c, c]`, the weights of a 1 × 1 convolution.
    matrix: Tensor,
}

impl Decoupling {
    /// For `c` channels.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(gpu: &Gpu, c: usize) -> Result<Decoupling> {
        let matrix = reflection(c);
        let shape = conv2d::weight_shape(1, 1, c, c);
        let value = |i: usize| matrix.get(i).map_or(0.0, |v| *v as f32);
        let values: Vec<f32> = (0..shape.len()).map(value).collect();
        Ok(Decoupling { matrix: Tensor::from_slice(gpu, shape, &values)? })
    }

    /// Changes `x` `[n, h, w, c]` from the pixel basis to this one, or back: the change is its own inverse.
    ///
    /// # Errors
    /// If `x` has another number of channels, or the device refuses.
    pub fn turn(&self, x: &Tensor) -> Result<Tensor> {
        check_shape("decoupling", "the state", x, x.shape().with_c(self.matrix.shape().c()))?;
        Ok(conv2d::forward(x, &self.matrix, None, 0, &Conv2d::padded(0))?)
    }
}

/// The reflection that exchanges the first axis and grey, I − 2 v vᵀ / vᵀv with v = e₁ − (1, …, 1) / √c: `[c, c]`,
/// orthonormal and symmetric, its first column grey.
fn reflection(c: usize) -> Vec<f64> {
    let grey = 1.0 / (c as f64).sqrt();
    let v: Vec<f64> = (0..c).map(|i| f64::from(u8::from(i == 0)) - grey).collect();
    let square = v.iter().map(|v| v * v).sum::<f64>().max(f64::MIN_POSITIVE);
    (0..c * c).map(|i| f64::from(u8::from(i / c == i % c)) - 2.0 * v[i / c] * v[i % c] / square).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_basis_is_orthonormal_begins_with_grey_and_is_its_own_inverse() {
        for c in [1, 3, 4, 5] {
            let m = reflection(c);
            for i in 0..c {
                assert!((m[i * c] - 1.0 / (c as f64).sqrt()).abs() < 1e-12);
                for j in 0..c {
                    assert_eq!(m[i * c + j], m[j * c + i]);
                    let product: f64 = (0..c).map(|k| m[i * c + k] * m[k * c + j]).sum();
                    let identity = f64::from(u8::from(i == j));
                    assert!((product - identity).abs() < 1e-12);
                }
            }
        }
    }
}
