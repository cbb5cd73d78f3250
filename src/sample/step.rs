//! A step that is linear in the state, its score and noise: what most solvers and corrections are.

use super::score::Score;
use crate::kernels::{Result, sde_step::sde_step};
use crate::random::Key;
use crate::tensor::Tensor;

/// a x + b score + c z with standard normal z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) c: f64,
}

impl Step {
    /// The score itself.
    pub(super) const SCORE: Step = Step { a: 0.0, b: 1.0, c: 0.0 };

    /// Langevin dynamics of size ε.
    pub(super) fn langevin(eps: f64) -> Step {
        Step { a: 1.0, b: eps, c: (2.0 * eps).sqrt() }
    }

    /// The step from states `[n, h, w, c]` at time `t`; without noise if there is no key.
    pub(super) fn run(self, score: &dyn Score, x: &Tensor, t: f64, key: Option<Key>) -> Result<Tensor> {
        let label = score.label(t);
        let net = score.network(x, &vec![label; x.shape().n()])?;
        let noise = key.map(|key| (self.c, key)).filter(|(c, _)| *c != 0.0);
        sde_step(&[(x, self.a + self.b * label.score.x), (&net, self.b * label.score.net)], noise)
    }
}
