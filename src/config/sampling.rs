//! `sampling`: the defaults of `tweedie sample`.

use super::{ConfigError, count, refuse, within};
use crate::choice::choices;
use serde::{Deserialize, Serialize};

/// Steps of a sampler, at most: their levels are laid out before the first.
const MAX_SAMPLER_STEPS: usize = 1_000_000;
/// The largest `sampling.eta`; the largest that was found of use is 1.4.
pub const MAX_ETA: f64 = 2.0;

/// `sampling`: the defaults of `tweedie sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// `pc`, `ald`, `ode`, `euler`, `heun`, `stochastic_heun`, `ddim`, `dpmpp_2m`, `dpmpp_3m` or `adaptive_sde`.
    pub method: Method,
    /// The predictor.
    pub predictor: PredictorName,
    /// The corrector.
    pub corrector: CorrectorName,
    /// Corrector steps at each time, Langevin steps at each level of annealed Langevin dynamics.
    pub n_steps_each: u16,
    /// The corrector's target signal-to-noise ratio.
    pub snr: f64,
    /// Leapfrog steps of a trajectory of the corrector `hmc`.
    pub hmc_leapfrog: u16,
    /// ε of annealed Langevin dynamics, whose steps x + α score + √(2α) z have α = ε σ² / σ_min²; 0 for the one that keeps the
    /// variance best (NCSNv2, technique 4).
    pub ald_eps: f64,
    /// Leave the noise of the last step out.
    pub noise_removal: bool,
    /// Run the predictor on the probability flow instead of the reverse-time SDE.
    pub probability_flow: bool,
    /// Steps; 0 means as many as the method needs, of `pc` `model.num_scales`.
    pub steps: usize,
    /// Whether the Langevin step's norms are those of a sample or, as in the reference, means over the batch.
    pub langevin_norms: Over,
    /// Relative tolerance of adaptive solvers.
    pub rtol: f64,
    /// Absolute tolerance of adaptive solvers, in the model's range.
    pub atol: f64,
    /// Whether adaptive solvers control each sample by its own error or, as in the reference, the batch jointly.
    pub error_norm: Over,
    /// Relative tolerance of the adaptive SDE solver.
    pub sde_rtol: f64,
    /// Absolute tolerance of the adaptive SDE solver, in the model's range: a grey level or so.
    pub sde_atol: f64,
    /// The noise levels of solvers with a grid; the method's own if there is none.
    pub schedule: Option<Schedule>,
    /// ρ of the `edm` schedule: the larger, the shorter the steps at little noise.
    pub rho: f64,
    /// The least noise level of a grid but 0, for data in the model's range; the process's own if there is none, or, as EDM's,
    /// 0.002 where that is less and the last noise is removed.
    pub sigma_min: Option<f64>,
    /// η of DDIM and DPM-Solver++: 0 is the probability flow, 1 the reverse-time SDE (DDIM's is ancestral sampling), more the
    /// reverse-time SDE with its noise times η.
    pub eta: f64,
    /// Of stochastic Heun: how much noise all steps together add anew.
    pub s_churn: f64,
    /// Noise is added only at noise levels from this one,
    pub s_tmin: f64,
    /// up to this one,
    pub s_tmax: f64,
    /// and with this standard deviation.
    pub s_noise: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            method: Method::Pc,
            predictor: PredictorName::ReverseDiffusion,
            corrector: CorrectorName::Langevin,
            n_steps_each: 1,
            snr: 0.16,
            hmc_leapfrog: 3,
            ald_eps: 0.0,
            noise_removal: true,
            probability_flow: false,
            steps: 0,
            langevin_norms: Over::Sample,
            rtol: 1e-5,
            atol: 1e-5,
            error_norm: Over::Sample,
            sde_rtol: 0.02,
            sde_atol: 0.0078,
            schedule: None,
            rho: 7.0,
            sigma_min: None,
            eta: 0.0,
            // EDM's for ImageNet (Karras 2022, table 5).
            s_churn: 40.0,
            s_tmin: 0.05,
            s_tmax: 50.0,
            s_noise: 1.003,
        }
    }
}

choices! {
    /// Families of samplers.
    pub enum Method {
        /// Predictor and corrector.
        Pc = "pc",
        /// Annealed Langevin dynamics on the ladder of noise levels.
        Ald = "ald",
        /// Euler's method on the probability flow in EDM's coordinates.
        Euler = "euler",
        /// Heun's method on the probability flow in EDM's coordinates.
        Heun = "heun",
        /// The same with noise added before every step.
        StochasticHeun = "stochastic_heun",
        /// DDIM.
        Ddim = "ddim",
        /// DPM-Solver++, multistep, of order 2.
        Dpmpp2m = "dpmpp_2m",
        /// DPM-Solver++, multistep, of order 3.
        Dpmpp3m = "dpmpp_3m",
        /// Stochastic improved Euler on the reverse-time SDE with steps as long as the tolerance allows.
        AdaptiveSde = "adaptive_sde",
        /// The probability flow by Dormand–Prince 5(4) with adaptive steps.
        Ode = "ode",
    }
}

impl Method {
    /// Steps where nobody says how many; none if the process or the solver itself decides.
    pub fn default_steps(self) -> Option<usize> {
        match self {
            Method::Pc | Method::Ald | Method::Ode | Method::AdaptiveSde => None,
            Method::Euler | Method::Ddim => Some(50),
            Method::Heun | Method::StochasticHeun => Some(18),
            Method::Dpmpp2m | Method::Dpmpp3m => Some(20),
        }
    }

    /// Whether its steps are as long as a tolerance allows.
    pub fn is_adaptive(self) -> bool {
        matches!(self, Method::Ode | Method::AdaptiveSde)
    }

    /// Whether it runs on a grid of noise levels, which a [`Schedule`] lays.
    pub fn has_grid(self) -> bool {
        !self.is_adaptive() && !matches!(self, Method::Pc | Method::Ald)
    }
}

choices! {
    /// How the noise levels σ = s / m of a grid lie.
    pub enum Schedule {
        /// Uniform in time, as the reference's.
        Time = "time",
        /// Uniform in σ^(1/ρ) (Karras 2022, eq. 5).
        Edm = "edm",
        /// Uniform in log σ.
        LogSnr = "log_snr",
    }
}

choices! {
    /// The predictors.
    pub enum PredictorName {
        /// Euler–Maruyama on the reverse-time SDE.
        EulerMaruyama = "euler_maruyama",
        /// The forward discretisation reversed.
        ReverseDiffusion = "reverse_diffusion",
        /// Ancestral sampling: the posterior of the discrete chain.
        AncestralSampling = "ancestral_sampling",
        /// The probability flow, discretised like the reverse diffusion: no noise.
        ProbabilityFlow = "probability_flow",
        /// A Runge–Kutta method for additive noise of strong order 1.5 and weak order 2: two evaluations a step.
        StochasticRungeKutta = "stochastic_runge_kutta",
        /// No predictor.
        None = "none",
    }
}

choices! {
    /// The correctors.
    pub enum CorrectorName {
        /// Langevin dynamics whose step comes from the norms of the score and the noise.
        Langevin = "langevin",
        /// Annealed Langevin dynamics: the step comes from the time's standard deviation.
        Ald = "ald",
        /// Metropolis-adjusted Langevin dynamics, with that step.
        Mala = "mala",
        /// Hamiltonian Monte Carlo, with leapfrog steps that are Langevin's in size.
        Hmc = "hmc",
        /// No corrector.
        None = "none",
    }
}

choices! {
    /// Over what a norm is taken.
    pub enum Over {
        /// Each sample: it does not depend on its batch.
        Sample = "sample",
        /// The batch, as in the reference.
        Batch = "batch",
    }
}

impl Sampling {
    /// Takes another method. Steps are those of the method that they were named with, and a schedule is for one with a grid.
    pub fn set_method(&mut self, method: Method) {
        if method != self.method {
            self.steps = 0;
            self.schedule = self.schedule.filter(|_| method.has_grid());
        }
        self.method = method;
    }

    /// Checks every value that a sampler would trip over.
    ///
    /// # Errors
    /// If a value cannot be; the message names the key and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.steps > MAX_SAMPLER_STEPS {
            return Err(refuse(
                "sampling.steps",
                self.steps,
                format!("it must be at most {MAX_SAMPLER_STEPS}"),
            ));
        }
        if self.steps == 1 {
            let why = "a sampler needs at least 2; 0 means model.num_scales";
            return Err(refuse("sampling.steps", 1, why));
        }
        within("sampling.snr", self.snr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("sampling.ald_eps", self.ald_eps, 0.0..f64::INFINITY, "a number from 0 up")?;
        count("sampling.hmc_leapfrog", self.hmc_leapfrog.into(), 1000)?;
        if self.method == Method::Ald {
            count("sampling.n_steps_each", self.n_steps_each.into(), 65_535)?;
        }
        if self.probability_flow && self.predictor == PredictorName::AncestralSampling {
            let why = "ancestral sampling has no probability flow; name another sampling.predictor";
            return Err(refuse("sampling.probability_flow", true, why));
        }
        within("sampling.rtol", self.rtol, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        for (key, value) in [
            ("sampling.atol", self.atol),
            ("sampling.sde_rtol", self.sde_rtol),
            ("sampling.sde_atol", self.sde_atol),
            ("sampling.rho", self.rho),
        ] {
            within(key, value, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        }
        for (key, value) in [
            ("sampling.s_churn", self.s_churn),
            ("sampling.s_tmin", self.s_tmin),
            ("sampling.s_tmax", self.s_tmax),
            ("sampling.s_noise", self.s_noise),
        ] {
            within(key, value, 0.0..f64::INFINITY, "a number from 0 up")?;
        }
        if let Some(sigma) = self.sigma_min {
            within("sampling.sigma_min", sigma, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        }
        within("sampling.eta", self.eta, 0.0..MAX_ETA.next_up(), &format!("a number from 0 to {MAX_ETA}"))
    }
}
