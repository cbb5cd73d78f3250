//! A process cut into n steps (Song 2021, appendix E).

use super::{Marginal, PosteriorVariance, Process};

/// A process cut into `n` steps, which count from 0, the data's end, to n − 1, the prior's.
///
/// A model trained on a chain has one of its own; a sampler of n steps makes another of the same process.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    process: &'a dyn Process,
    n: usize,
}

/// One step of a chain: xᵢ = xᵢ₋₁ + drift · xᵢ₋₁ + diffusion · z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discretised {
    /// Factor of the state.
    pub drift: f64,
    /// Factor of the noise.
    pub diffusion: f64,
}

/// One step of a reverse chain: x · state + score · ∇ log p + noise · z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// Factor of the state.
    pub x: f64,
    /// Factor of the score.
    pub score: f64,
    /// Factor of the noise.
    pub noise: f64,
}

impl Transition {
    /// The transition that leaves out the noise, and removes no more of it than `variance`, all there is.
    pub fn without_noise(self, variance: f64) -> Transition {
        Transition { score: self.score.min(variance), noise: 0.0, ..self }
    }
}

impl<'a> Chain<'a> {
    /// A process cut into `n` steps, at least 1.
    pub fn new(process: &'a dyn Process, n: usize) -> Chain<'a> {
        Chain { process, n: n.max(1) }
    }

    /// The process.
    pub fn process(&self) -> &'a dyn Process {
        self.process
    }

    /// Steps.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The time of an index: i / (n − 1).
    pub fn time(&self, i: usize) -> f64 {
        if self.n == 1 { 1.0 } else { i as f64 / (self.n - 1) as f64 }
    }

    /// The index of a time: ⌊t (n − 1)⌋, rounding forgiven.
    pub fn index(&self, t: f64) -> usize {
        ((t * (self.n - 1) as f64 + 1e-6).floor().max(0.0) as usize).min(self.n - 1)
    }

    /// The times of a sampler's steps: from 1 down to the process's ε, both included.
    pub fn sampling_times(&self) -> Vec<f64> {
        let (eps, n) = (self.process.sampling_eps(), self.n);
        (0..n).map(|i| 1.0 + (eps - 1.0) * i as f64 / (n - 1).max(1) as f64).collect()
    }

    /// The sampling time after `t`; none after the last.
    pub fn next_sampling_time(&self, t: f64) -> Option<f64> {
        let eps = self.process.sampling_eps();
        let step = (1.0 - eps) / (self.n - 1).max(1) as f64;
        (t - eps > 0.5 * step).then(|| (t - step).max(eps))
    }

    /// The step of the reference's discretisation from index `i − 1` to `i`, 0 ≤ i < n.
    pub fn discretize(&self, i: usize) -> Discretised {
        self.process.discretize(self, i)
    }

    /// The ancestral step from index `i` to the one below, from 0 to the data.
    pub fn ancestral(&self, i: usize, variance: PosteriorVariance) -> Transition {
        self.process.ancestral(self, i, variance)
    }

    /// DDPM's ancestral step (Ho 2020, algorithm 2).
    pub(super) fn ddpm_step(&self, i: usize, variance: PosteriorVariance) -> Transition {
        let (beta, root) = (self.beta(i), (1.0 - self.beta(i)).sqrt());
        // 1 − ᾱ of the step, and of the one below.
        let share = match variance {
            PosteriorVariance::Beta => 1.0,
            PosteriorVariance::BetaTilde => {
                let below: f64 = (0..i).map(|j| 1.0 - self.beta(j)).product();
                (1.0 - below) / (1.0 - below * (1.0 - beta))
            }
        };
        Transition { x: 1.0 / root, score: beta / root, noise: (beta * share).sqrt() }
    }

    /// βᵢ of DDPM's chain.
    pub fn beta(&self, i: usize) -> f64 {
        self.process.chain_beta(self, i)
    }

    /// √ᾱᵢ and √(1 − ᾱᵢ) of DDPM's chain, for every i.
    pub fn ddpm_marginals(&self) -> Vec<Marginal> {
        let mut product = 1.0;
        (0..self.n)
            .map(|i| {
                product *= 1.0 - self.beta(i);
                Marginal { mean: f64::sqrt(product), std: f64::sqrt(1.0 - product) }
            })
            .collect()
    }

    /// α of the Langevin corrector at a time: 1 − βᵢ of the chain, which is 1 for VE (Song 2021, algorithms 4 and 5).
    pub fn corrector_alpha(&self, t: f64) -> f64 {
        1.0 - self.beta(self.index(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{SubVp, Ve, Vp};

    const VE: Ve = Ve { sigma_min: 0.01, sigma_max: 50.0 };
    const VP: Vp = Vp { beta_min: 0.1, beta_max: 20.0 };
    const SUBVP: SubVp = SubVp { beta_min: 0.1, beta_max: 20.0 };

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-300), "{a} is not {b}");
    }

    #[test]
    fn the_ve_ladder_is_geometric_and_its_steps_add_up() {
        let chain = Chain::new(&VE, 1000);
        let sigma = |i: usize| VE.marginal_prob(chain.time(i)).std;
        close(sigma(0), 0.01, 1e-12);
        close(sigma(999), 50.0, 1e-12);
        close(sigma(500) / sigma(499), sigma(2) / sigma(1), 1e-9);
        let total: f64 = (0..1000).map(|i| chain.discretize(i).diffusion.powi(2)).sum();
        close(total, 2500.0, 1e-9);
    }

    #[test]
    fn the_vp_chain_follows_the_process() {
        let chain = Chain::new(&VP, 1000);
        close(chain.beta(0), 1e-4, 1e-12);
        close(chain.beta(999), 0.02, 1e-12);
        close(chain.ddpm_marginals()[499].mean, VP.marginal_prob(0.5).mean, 0.02);
        close(chain.discretize(999).drift, (1.0f64 - 0.02).sqrt() - 1.0, 1e-12);
    }

    /// At 20 steps of the usual process β_max / n is 1, and a reverse step would divide by 0.
    #[test]
    fn a_chain_of_few_steps_leaves_something_of_its_image() {
        for n in [5, 20, 21] {
            let few = Chain::new(&VP, n);
            let betas: Vec<f64> = (0..n).map(|i| few.beta(i)).collect();
            assert!(betas.is_sorted() && betas.iter().all(|beta| (0.0..1.0).contains(beta)), "{betas:?}");
        }
        let few = Chain::new(&VP, 20);
        close(few.ddpm_marginals()[19].mean, VP.marginal_prob(1.0).mean, 0.05);
    }

    #[test]
    fn every_time_of_the_sampling_grid_finds_its_index() {
        for process in [&VE as &dyn Process, &VP, &SUBVP] {
            let chain = Chain::new(process, 1000);
            for (i, t) in chain.sampling_times().into_iter().enumerate() {
                assert_eq!(chain.index(t), 999 - i, "{t}");
            }
        }
        let chain = Chain::new(&VE, 1000);
        assert_eq!([chain.index(0.0), chain.index(1.0)], [0, 999]);
    }
}
