//! Hamiltonian Monte Carlo at one time (Duane et al. 1987; Neal 2011), of which Metropolis-adjusted Langevin is the
//! trajectory of one step, with no energy but what the score says of it.
//!
//! Along a leapfrog trajectory x₀, …, x_L with momenta pₖ₊½ = (xₖ₊₁ − xₖ) / η and scores sₖ the logarithm of the Metropolis
//! ratio is log p(x_L) − log p(x₀) − ½ |p_L|² + ½ |p₀|². The difference of the densities is the score integrated along the
//! segments: by Simpson's rule, which evaluates it in their middles too. With the trapezoidal rule in its place the
//! integral would cancel the kinetic energy but for the ends' scores, so that
//!
//! log ratio = Σₖ ⅓ (xₖ₊₁ − xₖ) · (2 sₖ₊½ − sₖ − sₖ₊₁) − ⅛ η² (s_L − s₀) · (s_L + s₀).
//!
//! No momentum at a whole step is needed, and what remains is small: differences of scores, no difference of energies.

use super::score::Score;
use super::step::Step;
use crate::kernels::inner_product::inner_product;
use crate::kernels::metropolis::metropolis;
use crate::kernels::{Result, sde_step::sde_step};
use crate::random::Key;
use crate::tensor::Tensor;

/// A trajectory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hamiltonian {
    /// η, the size of a step.
    pub(super) step: f64,
    /// L, the number of steps.
    pub(super) leapfrog: u16,
}

impl Hamiltonian {
    /// The states `[n, h, w, c]` after one trajectory at time `t` and the test of its end, with the keys of the momentum and of the
    /// test. 1 + 2 L evaluations.
    pub(super) fn run(
        self,
        score: &dyn Score,
        x: &Tensor,
        t: f64,
        (momentum, uniform): (Key, Key),
        accepted: &Tensor,
    ) -> Result<Tensor> {
        let eta = self.step;
        let at = |x: &Tensor| Step::SCORE.run(score, x, t, None);
        let s0 = at(x)?;
        let (mut y, mut s) = (x.clone(), s0.clone());
        let mut p = sde_step(&[(&s0, 0.5 * eta)], Some((1.0, momentum)))?;
        let mut bends = Vec::new();
        for k in 0..self.leapfrog {
            if k > 0 {
                p = sde_step(&[(&p, 1.0), (&s, eta)], None)?;
            }
            let middle = sde_step(&[(&y, 1.0), (&p, 0.5 * eta)], None)?;
            let s_middle = at(&middle)?;
            y = sde_step(&[(&y, 1.0), (&p, eta)], None)?;
            let s_next = at(&y)?;
            let bend = sde_step(&[(&s_middle, 2.0), (&s, -1.0), (&s_next, -1.0)], None)?;
            bends.push(inner_product(&p, &bend)?);
            s = s_next;
        }
        let change = sde_step(&[(&s, 1.0), (&s0, -1.0)], None)?;
        let sum = sde_step(&[(&s, 1.0), (&s0, 1.0)], None)?;
        let mut log_ratio = sde_step(&[(&inner_product(&change, &sum)?, -eta * eta / 8.0)], None)?;
        for bend in &bends {
            log_ratio = sde_step(&[(&log_ratio, 1.0), (bend, eta / 3.0)], None)?;
        }
        metropolis(x, &y, &log_ratio, accepted, uniform)
    }
}
