//! The likelihood of data: log p of the latent plus the integral of the flow's divergence along the
//! trajectory (Song 2021, eq. 39), with Hutchinson's estimator in forward mode or the exact trace.

use super::ode::{Field, FlowState, Given, Ode};
use crate::gpu::Element;
use crate::kernels::hutchinson::{self, Probe, Probes};
use crate::kernels::random::Noise;
use crate::kernels::{inner_product, layout};
use crate::random::Purpose;
use crate::sample::error::{Result, refuse};
use crate::sample::{Draw, Tangents, Watch};
use crate::sde::bits_per_dim;
use crate::tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// The time at which the flow starts on data, for every process (the reference's `eps`).
pub const EPS: f64 = 1e-5;

/// The approximate number of samples and tangents in one batch of the network, if there are several probes.
const STACK: usize = 512;

/// The computation of the trace. Probes stay fixed along the flow.
pub enum Probing {
    /// Estimated with probes drawn for each sample: probe i has the key of [`Purpose::Probe`] at the step
    /// `first + i`.
    Drawn {
        /// Probes for each sample.
        count: usize,
        /// Their distribution.
        kind: Probe,
        /// The seed, and the number of the first sample.
        draw: Draw,
        /// The step of the first probe's key.
        first: u32,
    },
    /// Estimated with given probes.
    Given {
        /// The probes, `[count · n, h, w, c]`.
        eps: Tensor,
        /// Probes for each sample.
        count: usize,
    },
    /// Exact: one tangent for each dimension.
    Exact,
}

/// log p of samples, and their latents.
pub struct Likelihood {
    /// The latents, `[n, h, w, c]`.
    pub latent: Tensor,
    /// log p of each sample.
    pub samples: Vec<LogLikelihood>,
    /// Evaluations of the flow and its divergence: a number for each sample, or one for the batch if its step
    /// size is controlled jointly.
    pub evaluations: Vec<usize>,
    /// Evaluations for the batch, each for all samples that had not finished.
    pub calls: usize,
}

/// log p of one sample, in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLikelihood {
    /// log p of the latent under the prior.
    pub prior: f64,
    /// The integral of the divergence, estimated by each probe; a single value if the trace is exact.
    pub changes: Vec<f64>,
}

impl LogLikelihood {
    /// The integral of the divergence, Δ log p.
    pub fn change(&self) -> f64 {
        self.changes.iter().sum::<f64>() / self.changes.len() as f64
    }

    /// log p of the sample.
    pub fn logp(&self) -> f64 {
        self.prior + self.change()
    }

    /// −log₂ p per dimension of images of 256 levels, for a model of (level + u) / 256 scaled to its range:
    /// [0, 1], or [−1, 1] if `centered`.
    pub fn bits_per_dim(&self, dimensions: usize, centered: bool) -> f64 {
        let offset = if centered { 7.0 } else { 8.0 };
        offset - bits_per_dim(self.logp(), dimensions)
    }
}

/// log p of data `x` `[n, h, w, c]` in the model's range, by the flow from [`EPS`] to 1.
///
/// # Errors
/// If there is no probe, given probes have another shape, the tolerances are not positive, or steps become
/// too small; any error of the score or of `watch`.
pub fn log_likelihood(
    score: &dyn Tangents,
    x: &Tensor,
    probing: Probing,
    ode: &Ode,
    watch: &mut Watch<'_>,
) -> Result<Likelihood> {
    let n = x.shape().n();
    let exact = matches!(probing, Probing::Exact);
    let (eps, count) = probes(x, probing)?;
    let together = (STACK / n.max(1)).saturating_sub(1).clamp(1, count);
    let logp = Tensor::zeros(x.gpu(), Shape::new(count * n, 1, 1, 4))?;
    let start = FlowState { x: x.clone(), logp: Some(logp.clone()) };
    let given = Given { eps, count, together };
    let solution = ode.solve(Field::Divergence(score, given), start, (EPS, 1.0), watch)?;

    let latent = solution.state.x;
    let norms = inner_product::lanes(&inner_product::inner_product(&latent, &latent)?)?;
    let changes = inner_product::lanes(&solution.state.logp.unwrap_or(logp))?;
    let dimensions = x.shape().with_n(1).len();
    let sample = |i: usize| {
        let own: Vec<f64> = changes.iter().skip(i).step_by(n).copied().collect();
        let changes = if exact { vec![own.iter().sum::<f64>() / count as f64] } else { own };
        LogLikelihood { prior: score.process().prior_logp(dimensions, norms[i]), changes }
    };
    Ok(Likelihood {
        latent,
        samples: (0..n).map(sample).collect(),
        evaluations: solution.evaluations,
        calls: solution.calls,
    })
}

/// The probes, `[K n, h, w, c]`, and their number K for each sample.
fn probes(x: &Tensor, probing: Probing) -> Result<(Tensor, usize)> {
    let shape = x.shape();
    match probing {
        Probing::Given { eps, count } if count > 0 && eps.shape() == shape.with_n(count * shape.n()) => {
            Ok((eps, count))
        }
        Probing::Given { eps, count } => {
            Err(refuse(format!("{} holds no {count} probes for each sample of {shape}", eps.shape())))
        }
        Probing::Drawn { count: 0, .. } => Err(refuse("0 probes; the trace estimator needs at least 1")),
        Probing::Drawn { count, kind, draw, first } => {
            let noise = Noise::Drawn(draw.key(Purpose::Probe).at(first));
            let stack = hutchinson::seed(x, Probes { count, kind, noise })?;
            Ok((layout::samples(&stack, shape.n(), count * shape.n())?, count))
        }
        // With √D times the unit vectors the mean over D probes is the trace.
        Probing::Exact => {
            let dimensions = shape.with_n(1).len();
            // Allocated on the device first: if the probes do not fit, the host does not build them.
            let stack = Tensor::empty(x.gpu(), shape.with_n(dimensions * shape.n()), Element::F32)?;
            let mut eps = vec![0.0; dimensions * shape.len()];
            for k in 0..dimensions {
                for i in 0..shape.n() {
                    eps[(k * shape.n() + i) * dimensions + k] = (dimensions as f32).sqrt();
                }
            }
            stack.write(&eps)?;
            Ok((stack, dimensions))
        }
    }
}
