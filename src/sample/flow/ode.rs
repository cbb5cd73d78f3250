//! The probability flow as an ODE on the device, solved with adaptive steps (Song 2021, section 4.3 and appendix D).

use super::dormand_prince::{self, Solution, System, Tolerance};
use super::probability_flow::{divergence, probability_flow};
use crate::config::{Over, Sampling};
use crate::kernels::combine::{Factor, Form};
use crate::kernels::hutchinson::{Probe, Probes};
use crate::kernels::random::Noise;
use crate::kernels::{inner_product, layout};
use crate::sample::error::Result;
use crate::sample::{Draw, Progress, Sampled, Sampler, Score, Tangents, Times, Watch};
use crate::tensor::Tensor;

/// The black-box ODE sampler: from the prior at time 1 down to the process's ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ode {
    /// How large the error of a step may be.
    pub tolerance: Tolerance,
    /// Whether each sample is controlled by its own error, or the batch jointly.
    pub error_norm: Over,
    /// End with a step of the reverse-time SDE that leaves the noise out.
    pub noise_removal: bool,
}

impl Ode {
    /// The solver that a configuration describes.
    pub fn new(config: &Sampling) -> Ode {
        Ode {
            tolerance: Tolerance { relative: config.rtol, absolute: config.atol },
            error_norm: config.error_norm,
            noise_removal: config.noise_removal,
        }
    }

    /// Follows the flow from states `x` `[n, h, w, c]` over a span of time in (0, 1], forward or backward.
    ///
    /// # Errors
    /// If the tolerances are not positive, if steps become too small, if the device refuses, or `watch` fails.
    pub fn follow(
        &self,
        score: &dyn Score,
        x: Tensor,
        span: (f64, f64),
        watch: &mut Watch<'_>,
    ) -> Result<Solution<Tensor>> {
        let solution = self.solve(Field::Flow(score), FlowState { x, logp: None }, span, watch)?;
        let Solution { state, evaluations, steps, calls } = solution;
        Ok(Solution { state: state.x, evaluations, steps, calls })
    }

    /// The same for a state that log p may be a part of.
    pub(super) fn solve(
        &self,
        field: Field<'_>,
        start: FlowState,
        span: (f64, f64),
        watch: &mut Watch<'_>,
    ) -> Result<Solution<FlowState>> {
        let n = start.x.shape().n();
        let joint = self.error_norm == Over::Batch;
        let members = if joint { n.min(1) } else { n };
        let mut attempts = 0;
        let mut seen = |t: f64, state: &FlowState| {
            attempts += 1;
            watch(Progress { step: attempts, t, state: &state.x })
        };
        let mut flow = FlowSystem { field, joint };
        dormand_prince::solve(&mut flow, start, members, span, self.tolerance, &mut seen)
    }
}

impl Sampler for Ode {
    fn steps(&self) -> Option<usize> {
        None
    }

    fn run(&self, score: &dyn Score, x: Tensor, _: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let solution = self.follow(score, x, (1.0, score.process().sampling_eps()), watch)?;
        let evaluations = solution.mean_evaluations();
        Sampled::at_the_end(score, solution.state, evaluations, self.noise_removal)
    }
}

/// The right-hand side of the ODE.
pub(super) enum Field<'a> {
    /// The flow.
    Flow(&'a dyn Score),
    /// The flow and its divergence.
    Divergence(&'a dyn Tangents, Given),
}

/// Probes that stay the same along the flow.
pub(super) struct Given {
    /// `[K n, h, w, c]`.
    pub eps: Tensor,
    /// How many.
    pub count: usize,
    /// The number evaluated together.
    pub together: usize,
}

/// The state of the flow.
#[derive(Clone)]
pub(super) struct FlowState {
    /// `[n, h, w, c]`.
    pub x: Tensor,
    /// The integral of the divergence, by each probe: `[K n, 1, 1, 4]`, in four lanes that have yet to be added.
    pub logp: Option<Tensor>,
}

impl FlowState {
    /// Applies `f` to the parts of states, with how often each sample occurs in them.
    fn map(states: &[&FlowState], f: impl Fn(&[&Tensor], usize) -> Result<Tensor>) -> Result<FlowState> {
        let xs: Vec<&Tensor> = states.iter().map(|state| &state.x).collect();
        let logps: Vec<&Tensor> = states.iter().filter_map(|state| state.logp.as_ref()).collect();
        let probes = logps.first().map(|logp| logp.shape().n() / xs[0].shape().n().max(1));
        Ok(FlowState { x: f(&xs, 1)?, logp: probes.map(|probes| f(&logps, probes)).transpose()? })
    }
}

/// The probability flow as a system of samples, or of one batch.
struct FlowSystem<'a> {
    field: Field<'a>,
    /// One step for the whole batch.
    joint: bool,
}

impl FlowSystem<'_> {
    fn probes(&self) -> Option<&Given> {
        match &self.field {
            Field::Flow(_) => None,
            Field::Divergence(_, given) => Some(given),
        }
    }
}

impl System for FlowSystem<'_> {
    type State = FlowState;

    fn evaluate(&mut self, state: &FlowState, times: &[f64]) -> Result<FlowState> {
        let x = &state.x;
        let n = x.shape().n();
        let t: Times = if self.joint { Factor::All(times[0]) } else { times.to_vec().into() };
        let (score, Given { eps, count, together }) = match &self.field {
            Field::Flow(score) => {
                return Ok(FlowState { x: probability_flow(*score, x, &t)?, logp: None });
            }
            Field::Divergence(score, given) => (*score, given),
        };
        let mut drift = None;
        let mut divergences = Vec::new();
        for first in (0..*count).step_by(*together) {
            let count = (*together).min(count - first);
            let some = layout::samples(eps, first * n, count * n)?;
            let probes = Probes { count, kind: Probe::Rademacher, noise: Noise::Given(&some) };
            let flow = divergence(score, x, &t, probes)?;
            drift.get_or_insert(flow.drift);
            divergences.push(flow.divergence);
        }
        let logp = layout::stack(&divergences.iter().collect::<Vec<_>>())?;
        Ok(FlowState { x: drift.unwrap_or_else(|| x.clone()), logp: Some(logp) })
    }

    fn combine(&self, terms: &[(&FlowState, Factor)]) -> Result<FlowState> {
        let states: Vec<&FlowState> = terms.iter().map(|(state, _)| *state).collect();
        FlowState::map(&states, |tensors, _| {
            let sum = tensors.iter().zip(terms).fold(Form::default(), |sum, (x, (_, factor))| match factor {
                // The batch is one member.
                Factor::Each(values) if self.joint => sum + *x * values[0],
                factor => sum + *x * factor,
            });
            Ok(sum.run()?)
        })
    }

    fn norms(
        &self,
        e: &FlowState,
        a: &FlowState,
        b: &FlowState,
        Tolerance { relative, absolute }: Tolerance,
    ) -> Result<Vec<f64>> {
        let n = a.x.shape().n();
        let squares = inner_product::scaled_error(&a.x, &b.x, &e.x, relative, absolute)?;
        let logps: Vec<&Tensor> = [e, a, b].iter().filter_map(|state| state.logp.as_ref()).collect();
        let parts: Vec<&Tensor> = [&squares].into_iter().chain(logps).collect();
        let values = inner_product::lanes(&layout::stack(&parts)?)?;
        let (sums, logps) = values.split_at(n);
        let mut sums = sums.to_vec();
        let mut dimensions = a.x.shape().with_n(1).len();
        if let Some(Given { count, .. }) = self.probes() {
            dimensions += 1;
            for (i, sum) in sums.iter_mut().enumerate() {
                let [e, a, b] = [0, 1, 2].map(|part| mean(&logps[part * count * n..][..count * n], n, i));
                *sum += (e / (absolute + relative * a.abs().max(b.abs()))).powi(2);
            }
        }
        Ok(match self.joint {
            true => vec![(sums.iter().sum::<f64>() / (n * dimensions) as f64).sqrt()],
            false => sums.iter().map(|sum| (sum / dimensions as f64).sqrt()).collect(),
        })
    }

    fn gather(&self, a: &FlowState, b: &FlowState, picks: &[usize]) -> Result<FlowState> {
        let of = |state: &FlowState| if self.joint { 1 } else { state.x.shape().n() };
        let (n_a, n_b) = (of(a), of(b));
        if picks.iter().copied().eq(0..n_a) {
            return Ok(a.clone());
        }
        if picks.iter().copied().eq(n_a..n_a + n_b) {
            return Ok(b.clone());
        }
        FlowState::map(&[a, b], |tensors, repeated| {
            // Sample i of part k of a is number k · n_a + i.
            let number = |k: usize, pick: usize| match pick < n_a {
                true => k * n_a + pick,
                false => repeated * n_a + k * n_b + (pick - n_a),
            };
            let picks: Vec<usize> =
                (0..repeated).flat_map(|k| picks.iter().map(move |pick| number(k, *pick))).collect();
            Ok(layout::gather(tensors[0], tensors[1], &picks)?)
        })
    }

    fn keep(&mut self, members: &[usize]) -> Result<()> {
        if let Field::Divergence(_, Given { eps, count, .. }) = &mut self.field
            && !self.joint
        {
            let n = eps.shape().n() / *count;
            let picks: Vec<usize> =
                (0..*count).flat_map(|k| members.iter().map(move |i| k * n + i)).collect();
            if picks.len() < eps.shape().n() {
                *eps = layout::gather(eps, eps, &picks)?;
            }
        }
        Ok(())
    }
}

/// The mean of sample i's numbers in `[K n]`, by probe.
fn mean(values: &[f64], n: usize, i: usize) -> f64 {
    let own: Vec<f64> = values.iter().skip(i).step_by(n).copied().collect();
    own.iter().sum::<f64>() / own.len() as f64
}
