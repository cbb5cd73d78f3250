//! Processes made of a table: the chain of DDPM with any β, and the schedules of β that have names.

use super::{Chain, Discretised, PosteriorVariance, Process, Transition};
use crate::choice::choices;

choices! {
    /// The schedules of β of DDPM's chain.
    pub enum BetaSchedule = Linear {
        /// β rises evenly; the process in continuous time is known in closed form (Ho 2020).
        Linear = "linear",
        /// √β rises evenly (Rombach 2022).
        ScaledLinear = "scaled_linear",
        /// ᾱ is a squared cosine, whatever the first and the last β (Nichol and Dhariwal 2021).
        Cosine = "squaredcos_cap_v2",
        /// β is a sigmoid of evenly rising numbers (Xu 2022).
        Sigmoid = "sigmoid",
    }
}

/// The largest β of the cosine schedule.
const CAP: f64 = 0.999;

impl BetaSchedule {
    /// βᵢ of a chain of `n` steps, from `first` to `last`.
    pub fn betas(self, n: usize, first: f64, last: f64) -> Vec<f64> {
        let even = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / (n.max(2) - 1) as f64;
        let cosine =
            |i: usize| ((i as f64 / n as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let beta = |i: usize| match self {
            BetaSchedule::Linear => even(first, last, i),
            BetaSchedule::ScaledLinear => even(first.sqrt(), last.sqrt(), i).powi(2),
            BetaSchedule::Cosine => (1.0 - cosine(i + 1) / cosine(i)).min(CAP),
            BetaSchedule::Sigmoid => first + (last - first) / (1.0 + (-even(-6.0, 6.0, i)).exp()),
        };
        (0..n).map(beta).collect()
    }
}

/// The variance preserving process through the marginals of a chain: at the times of its steps, i / (n − 1), m² is
/// ᾱᵢ = Π (1 − βⱼ), and between them log m is linear, as DPM-Solver has it (Lu 2022, appendix D.4).
///
/// Its time 0 is the first step of the chain, with a little noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Betas {
    /// log m at the times of the steps, falling.
    log_means: Vec<f64>,
}

impl Betas {
    /// Of the βᵢ of a chain, at least two, each above 0 and below 1.
    pub fn new(betas: &[f64]) -> Betas {
        let sum = |sum: &mut f64, beta: &f64| {
            *sum += 0.5 * (-beta).ln_1p();
            Some(*sum)
        };
        Betas { log_means: betas.iter().scan(0.0, sum).collect() }
    }

    /// The step before a time, and the fraction of the interval to the next.
    fn place(&self, t: f64) -> (usize, f64) {
        let at = t.clamp(0.0, 1.0) * (self.log_means.len() - 1) as f64;
        let step = (at as usize).min(self.log_means.len() - 2);
        (step, at - step as f64)
    }

    /// The rate at which log m falls at a time.
    fn slope(&self, t: f64) -> f64 {
        let (step, _) = self.place(t);
        (self.log_means[step + 1] - self.log_means[step]) * (self.log_means.len() - 1) as f64
    }
}

impl Process for Betas {
    fn log_mean(&self, t: f64) -> f64 {
        let (step, part) = self.place(t);
        self.log_means[step] + part * (self.log_means[step + 1] - self.log_means[step])
    }

    fn variance(&self, t: f64) -> f64 {
        -(2.0 * self.log_mean(t)).exp_m1()
    }

    fn name(&self) -> &str {
        "vpsde"
    }

    fn drift(&self, t: f64) -> f64 {
        self.slope(t)
    }

    fn diffusion(&self, t: f64) -> f64 {
        self.beta(t).sqrt()
    }

    fn prior_std(&self) -> f64 {
        1.0
    }

    /// The chain's first step, the least noise that a network has seen.
    fn sampling_eps(&self) -> f64 {
        0.0
    }

    fn time_of_sigma(&self, sigma: f64) -> f64 {
        let log_mean = -0.5 * (sigma * sigma).ln_1p();
        let above = self.log_means.partition_point(|held| *held > log_mean);
        let last = self.log_means.len() - 1;
        match above {
            0 => 0.0,
            above if above > last => 1.0,
            above => {
                let [a, b] = [self.log_means[above - 1], self.log_means[above]];
                ((above - 1) as f64 + (log_mean - a) / (b - a)) / last as f64
            }
        }
    }

    /// The share of the variance that the process removes in a step; βᵢ if the chain has as many steps as the table.
    fn chain_beta(&self, chain: &Chain<'_>, i: usize) -> f64 {
        let before = if i == 0 { 0.0 } else { self.log_mean(chain.time(i - 1)) };
        -(2.0 * (self.log_mean(chain.time(i)) - before)).exp_m1()
    }

    /// DDPM's chain.
    fn discretize(&self, chain: &Chain<'_>, i: usize) -> Discretised {
        let beta = chain.beta(i);
        Discretised { drift: (1.0 - beta).sqrt() - 1.0, diffusion: beta.sqrt() }
    }

    /// DDPM's.
    fn ancestral(&self, chain: &Chain<'_>, i: usize, variance: PosteriorVariance) -> Transition {
        chain.ddpm_step(i, variance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;
    use crate::sde::{DdpmChain, Vp};

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-300), "{a} is not {b}");
    }

    #[test]
    fn schedules_have_their_published_values() {
        let ends = |schedule: BetaSchedule| {
            let betas = schedule.betas(1000, 0.00085, 0.012);
            assert!(betas.iter().all(|beta| (0.0..1.0).contains(beta)) && betas.is_sorted(), "{schedule:?}");
            [betas[0], betas[500], betas[999]]
        };
        let middle = (0.00085f64.sqrt() + (0.012f64.sqrt() - 0.00085f64.sqrt()) * 500.0 / 999.0).powi(2);
        let [a, b, c] = ends(BetaSchedule::ScaledLinear);
        [(a, 0.00085), (b, middle), (c, 0.012)].into_iter().for_each(|(a, b)| close(a, b, 1e-12));
        // Of diffusers, in float64.
        let [a, b, c] = ends(BetaSchedule::Cosine);
        [(a, 4.128422482e-5), (c, 0.999)].into_iter().for_each(|(a, b)| close(a, b, 1e-8));
        assert!((0.003..0.0035).contains(&b), "{b}");
        let [a, _, c] = ends(BetaSchedule::Sigmoid);
        close(a, 0.00085 + 0.01115 / (1.0 + 6f64.exp()), 1e-12);
        close(c, 0.00085 + 0.01115 / (1.0 + (-6f64).exp()), 1e-12);
        assert_eq!(ends(BetaSchedule::Linear)[2], 0.012);
        assert!(BetaSchedule::ALL.iter().all(|schedule| schedule.betas(5, 0.1, 0.1).len() == 5));
    }

    #[test]
    fn the_process_has_the_marginals_of_its_chain_at_every_step() {
        for schedule in BetaSchedule::ALL {
            let betas = schedule.betas(100, 1e-3, 0.2);
            let process = Betas::new(&betas);
            let chain = Chain::new(&process, 100);
            let ddpm = DdpmChain::new(chain);
            let mut product = 1.0;
            for (i, beta) in betas.iter().enumerate() {
                product *= 1.0 - beta;
                close(chain.beta(i), *beta, 1e-9);
                let own = process.marginal_prob(chain.time(i));
                close(own.mean * own.mean, product, 1e-9);
                close(ddpm.marginal(i).std, own.std, 1e-9);
                assert!((process.time_of_sigma(own.std / own.mean) - chain.time(i)).abs() < 1e-9);
            }
            assert_eq!(chain.sampling_times()[99], 0.0);
            assert_eq!(process.time_of_sigma(1e-9), 0.0);
            assert_eq!(process.time_of_sigma(1e9), 1.0);
        }
    }

    #[test]
    fn a_long_linear_chain_is_the_continuous_process() {
        let n = 100_000;
        let process = Betas::new(&BetaSchedule::Linear.betas(n, 0.1 / n as f64, 20.0 / n as f64));
        let vp = Vp { beta_min: 0.1, beta_max: 20.0 };
        for t in [0.1, 0.5, 0.9, 1.0] {
            close(process.marginal_prob(t).mean, vp.marginal_prob(t).mean, 2e-3);
            close(process.marginal_prob(t).std, vp.marginal_prob(t).std, 2e-3);
            close(process.beta(t), vp.beta(t), 2e-3);
        }
        // Fewer steps than its own cover the same way.
        let few = Chain::new(&process, 50);
        close(few.ddpm_marginals()[49].mean, process.marginal_prob(1.0).mean, 1e-9);
    }
}
