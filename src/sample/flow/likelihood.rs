//! The likelihood of data: log p of the latent, and the integral of the flow's divergence on the way there (Song 2021,
//! eq. 39), by Hutchinson's estimator in forward mode or with the exact trace.

use super::ode::{Field, FlowState, Given, Ode};
use crate::gpu::Element;
use crate::kernels::hutchinson::{self, Probe, Probes};
use crate::kernels::random::Noise;
use crate::kernels::{concat, inner_product};
use crate::random::Purpose;
use crate::sample::error::{Result, refuse};
use crate::sample::{Draw, Tangents, Watch};
use crate::sde::bits_per_dim;
use crate::tensor::{Shape, Tensor};

/// The time at which the flow starts on data, for every process (the reference's `eps`).
pub const EPS: f64 = 1e-5;

/// Samples and tangents that go through the network at once, about, where there are more than one probe.
const STACK: usize = 512;

/// How the trace is taken. Probes stay the same along the flow.
pub enum Probing {
    /// Estimated by probes drawn for each sample; their numbers are the steps of [`Purpose::Probe`], `first` the first.
    Drawn {
        /// How many for each sample.
        count: usize,
        /// Their distribution.
        kind: Probe,
        /// Whose they are.
        draw: Draw,
        /// The number of the first probe.
        first: u32,
    },
    /// Estimated by these.
    Given {
        /// `[count · n, h, w, c]`.
        eps: Tensor,
        /// How many for each sample.
        count: usize,
    },
    /// Exact: one tangent for each dimension.
    Exact,
}

/// log p of samples, and where the flow has taken them.
pub struct Likelihood {
    /// The latents, `[n, h, w, c]`.
    pub latent: Tensor,
    /// Of each sample.
    pub samples: Vec<LogLikelihood>,
    /// Evaluations of the flow and its divergence for each sample, or for the batch where it is controlled jointly.
    pub evaluations: Vec<usize>,
    /// Evaluations for the batch.
    pub calls: usize,
}

/// log p of one sample, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLikelihood {
    /// log p of the latent under the prior.
    pub prior: f64,
    /// The integral of the divergence by each probe; by all at once where it is exact.
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

    /// −log₂ p for each dimension of images of 256 levels, of which the model saw levels / 256 in its range: [0, 1], or
    /// [−1, 1] if centred.
    pub fn bits_per_dim(&self, dimensions: usize, centered: bool) -> f64 {
        let offset = if centered { 7.0 } else { 8.0 };
        offset - bits_per_dim(self.logp(), dimensions)
    }
}

/// log p of data `x` `[n, h, w, c]` in the model's range, by the flow from [`EPS`] to 1.
///
/// # Errors
/// If there is no probe, if the tolerances are not positive, if steps become too small, if the device refuses, or `watch`
/// fails.
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

/// The probes `[K n, h, w, c]`, and how many there are for each sample.
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
            Ok((concat::samples(&stack, shape.n(), count * shape.n())?, count))
        }
        // With √D times the unit vectors the mean over D probes is the trace.
        Probing::Exact => {
            let dimensions = shape.with_n(1).len();
            // What the device cannot hold the host does not begin to make.
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
