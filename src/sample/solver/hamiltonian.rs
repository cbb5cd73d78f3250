//! Hamiltonian Monte Carlo at one time (Duane et al. 1987; Neal 2011), of which Metropolis-adjusted Langevin is the
//! trajectory of one step. It needs the score alone, not the energy.
//!
//! Along a leapfrog trajectory x₀, …, x_L with momenta pₖ₊½ = (xₖ₊₁ − xₖ) / η and scores sₖ the logarithm of the Metropolis
//! ratio is log p(x_L) − log p(x₀) − ½ |p_L|² + ½ |p₀|². The difference of the densities is the score integrated along the
//! segments: by Simpson's rule, which evaluates it in their middles too. With the trapezoidal rule in its place the
//! integral would cancel the kinetic energy but for the ends' scores, so that
//!
//! log ratio = Σₖ ⅓ (xₖ₊₁ − xₖ) · (2 sₖ₊½ − sₖ − sₖ₊₁) − ⅛ η² (s_L − s₀) · (s_L + s₀).
//!
//! No momentum at a whole step is needed, and the terms are small: differences of scores, no difference of energies.

use super::corrector::{Corrector, Moment, step_size};
use crate::kernels::combine::Form;
use crate::kernels::inner_product::inner_product;
use crate::kernels::metropolis::metropolis;
use crate::sample::error::Result;
use crate::tensor::Tensor;

/// A trajectory of leapfrog steps, each of a Langevin step's size, and a test of its end. 1 + 2 L evaluations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HamiltonianMonteCarlo {
    /// The target signal-to-noise ratio, from which the step follows.
    pub snr: f64,
    /// L, the number of steps; 1 is Metropolis-adjusted Langevin dynamics.
    pub leapfrog: u16,
}

impl Corrector for HamiltonianMonteCarlo {
    fn step(&self, at: &Moment<'_>, x: Tensor) -> Result<Tensor> {
        let score = |x: &Tensor| -> Result<Tensor> { Ok(at.score.at(x, &at.t.into())?.score().run()?) };
        // A Langevin step of size ε is a leapfrog step of size √(2ε).
        let eta = (2.0 * step_size(at, self.snr)).sqrt();
        let s0 = score(&x)?;
        let (mut y, mut s) = (x.clone(), s0.clone());
        let mut p = (&s0 * (0.5 * eta) + Form::normal(at.key)).run()?;
        let mut bends = Vec::new();
        for k in 0..self.leapfrog {
            if k > 0 {
                p = (&p + &s * eta).run()?;
            }
            let s_middle = score(&(&y + &p * (0.5 * eta)).run()?)?;
            y = (&y + &p * eta).run()?;
            let s_next = score(&y)?;
            bends.push(inner_product(&p, &(&s_middle * 2.0 - &s - &s_next).run()?)?);
            s = s_next;
        }
        let ends = inner_product(&(&s - &s0).run()?, &(&s + &s0).run()?)?;
        let bends = bends.iter().fold(&ends * (-eta * eta / 8.0), |sum, bend| sum + bend * (eta / 3.0));
        Ok(metropolis(&x, &y, &bends.run()?, at.accepted, at.acceptance)?)
    }

    fn rejects(&self) -> bool {
        true
    }
}
