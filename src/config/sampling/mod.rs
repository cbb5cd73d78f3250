//! `sampling`: the defaults of `tweedie sample`, and every option of the samplers, stated once.

mod method;
mod option;

pub(crate) use method::methods;
pub use method::{Capabilities, Method, Steps};
pub use option::{SamplingOption, Value, Values};

use super::{ConfigError, NOT_F32, fits_f32, refuse};
use crate::choice::choices;
use crate::sde::PosteriorVariance;
use option::Field;
use serde::{Deserialize, Serialize};

/// The largest number of steps: a sampler lays out all its noise levels before the first step.
const MAX_STEPS: u64 = 1_000_000;
/// The largest `sampling.eta`; the largest that was found of use is 1.4.
pub const MAX_ETA: f64 = 2.0;

/// Declares [`Sampling`] and [`OPTIONS`]. An option's line is its documentation, key, type and default, then its flag (if it
/// has one), the values that it takes, and a predicate: whether a configured sampler reads it.
macro_rules! options {
    ($(
        $(#[doc = $help:literal])+
        $key:ident: $type:ty = $default:expr, $flag:expr, $values:expr, $read_by:expr;
    )+) => {
        /// `sampling`: the defaults of `tweedie sample`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct Sampling {
            $( $(#[doc = $help])+ pub $key: $type, )+
        }

        impl Default for Sampling {
            fn default() -> Self {
                Sampling { $( $key: $default, )+ }
            }
        }

        /// Every option of the samplers.
        pub const OPTIONS: &[SamplingOption] = &[$(
            SamplingOption {
                key: concat!("sampling.", stringify!($key)),
                flag: $flag,
                help: concat!($( $help ),+),
                values: $values,
                read_by: $read_by,
                get: |sampling| Field::value(&sampling.$key),
                set: |sampling, value| {
                    if let Some(value) = Field::from_value(value) {
                        sampling.$key = value;
                    }
                },
            },
        )+];
    };
}

options! {
    /// The sampler.
    method: Method = Method::Pc,
        Some("sampler"), Values::names::<Method>(), |_| true;
    /// The predictor.
    predictor: PredictorName = PredictorName::ReverseDiffusion,
        Some("predictor"), Values::names::<PredictorName>(), |s| s.method == Method::Pc;
    /// The corrector.
    corrector: CorrectorName = CorrectorName::Langevin,
        Some("corrector"), Values::names::<CorrectorName>(), |s| s.method == Method::Pc;
    /// Corrector steps at each time; Langevin steps at each level of annealed Langevin dynamics.
    n_steps_each: u16 = 1,
        Some("corrector-steps"), Values::CountOrUnset(1, 65_535), |s| s.has_corrector() || s.method == Method::Ald;
    /// The corrector's signal-to-noise ratio.
    snr: f64 = 0.16,
        Some("snr"), Values::From(0.0), Sampling::has_corrector;
    /// Leapfrog steps in a trajectory of the corrector `hmc`.
    hmc_leapfrog: u16 = 3,
        None, Values::Count(1, 1000), |s| s.has_corrector() && s.corrector == CorrectorName::Hmc;
    /// ε of annealed Langevin dynamics, whose steps x + α score + √(2α) z have α = ε σ² / σ_min²; 0 for the ε that best preserves
    /// the variance (NCSNv2, technique 4).
    ald_eps: f64 = 0.0,
        None, Values::From(0.0), |s| s.method == Method::Ald;
    /// Leave out the noise of the last step.
    noise_removal: bool = true,
        None, Values::Switch, |s| s.method != Method::Ald;
    /// Ancestral sampling of a variance preserving chain: the variance of a step.
    posterior_variance: PosteriorVariance = PosteriorVariance::Beta,
        None, Values::names::<PosteriorVariance>(), Sampling::is_ancestral;
    /// Ancestral sampling: the network's x₀ is clipped to this number on either side of 0, in the model's range; unset, not at
    /// all.
    clip_denoised: Option<f64> = None,
        None, Values::Above(0.0), Sampling::is_ancestral;
    /// Run the predictor on the probability flow instead of the reverse-time SDE.
    probability_flow: bool = false,
        None, Values::Switch, |s| s.method == Method::Pc;
    /// The number of steps; unset, the method's own, or that of the process's chain, `model.num_scales`.
    steps: usize = 0,
        Some("steps"), Values::CountOrUnset(1, MAX_STEPS), |s| !s.method.is_adaptive();
    /// Whether the norms in the Langevin step are each sample's own or, as in the reference, means over the batch.
    langevin_norms: Over = Over::Sample,
        None, Values::names::<Over>(), |s| s.has_corrector() && s.corrector != CorrectorName::Ald;
    /// The relative tolerance of an adaptive solver.
    rtol: f64 = 1e-5,
        Some("rtol"), Values::Above(0.0), |s| s.method == Method::Ode;
    /// The absolute tolerance of an adaptive solver, in the model's range.
    atol: f64 = 1e-5,
        Some("atol"), Values::Above(0.0), |s| s.method == Method::Ode;
    /// Whether adaptive solvers control each sample by its own error or, as in the reference, the batch jointly.
    error_norm: Over = Over::Sample,
        Some("error-norm"), Values::names::<Over>(), |s| s.method.is_adaptive();
    /// The relative tolerance of the adaptive SDE solver.
    sde_rtol: f64 = 0.02,
        Some("rtol"), Values::Above(0.0), |s| s.method == Method::AdaptiveSde;
    /// The absolute tolerance of the adaptive SDE solver, in the model's range: about one grey level.
    sde_atol: f64 = 0.0078,
        Some("atol"), Values::Above(0.0), |s| s.method == Method::AdaptiveSde;
    /// The noise levels of a solver with a grid; unset, the solver's own.
    schedule: Option<Schedule> = None,
        Some("schedule"), Values::names::<Schedule>(), |s| s.method.schedule().is_some();
    /// ρ of the `edm` schedule: the larger, the shorter the steps at low noise.
    rho: f64 = 7.0,
        None, Values::Above(0.0), |s| s.method.schedule().is_some();
    /// The smallest non-zero noise level of the grid, in the model's data range; unset, the process's own, or EDM's 0.002 if that
    /// is larger and `noise_removal` is set.
    sigma_min: Option<f64> = None,
        Some("sigma-min"), Values::Above(0.0), |s| s.method.schedule().is_some();
    /// η of DDIM and DPM-Solver++: 0 follows the probability flow, 1 the reverse-time SDE (for DDIM, ancestral sampling); from 1
    /// to 2 it scales that SDE's noise.
    eta: f64 = 0.0,
        Some("eta"), Values::Between(0.0, MAX_ETA), |s| s.method.capabilities().eta;
    // EDM's for ImageNet (Karras 2022, table 5).
    /// The noise that stochastic Heun adds over all steps: EDM's S_churn.
    s_churn: f64 = 40.0,
        Some("churn"), Values::From(0.0), |s| s.method == Method::StochasticHeun;
    /// The smallest noise level at which stochastic Heun adds noise.
    s_tmin: f64 = 0.05,
        None, Values::From(0.0), |s| s.method == Method::StochasticHeun;
    /// The largest noise level at which stochastic Heun adds noise.
    s_tmax: f64 = 50.0,
        None, Values::From(0.0), |s| s.method == Method::StochasticHeun;
    /// The standard deviation of the noise that stochastic Heun adds.
    s_noise: f64 = 1.003,
        None, Values::From(0.0), |s| s.method == Method::StochasticHeun;
}

choices! {
    /// The spacings of the noise levels σ = s / m of a grid.
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
    /// Changes the method. The steps belong to the method that they were configured with, and a schedule to methods with a grid.
    pub fn set_method(&mut self, method: Method) {
        if method != self.method {
            self.steps = 0;
            self.schedule = self.schedule.filter(|_| method.schedule().is_some());
        }
        self.method = method;
    }

    fn is_ancestral(&self) -> bool {
        self.method == Method::Pc && self.predictor == PredictorName::AncestralSampling
    }

    fn has_corrector(&self) -> bool {
        self.method == Method::Pc && self.corrector != CorrectorName::None
    }

    /// Checks every value that a sampler would trip over.
    ///
    /// # Errors
    /// If a value is out of range; the message names the key and its values.
    pub fn check(&self) -> Result<(), ConfigError> {
        for option in OPTIONS {
            let Some(value) = option.get(self) else { continue };
            if !option.values.contain(value) {
                let unset =
                    if matches!(option.values, Values::CountOrUnset(..)) { ", or 0 if unset" } else { "" };
                let why = format!("it must be {}{unset}", option.values);
                return Err(refuse(option.key, value.to_string(), why));
            }
            if matches!(value, Value::Number(number) if !fits_f32(number)) {
                return Err(refuse(option.key, value.to_string(), NOT_F32));
            }
        }
        if self.steps == 1 && self.method.capabilities().steps == Steps::Chain {
            let why = format!(
                "{} needs at least 2; one step is enough for ddim, euler and others with a grid",
                self.method
            );
            return Err(refuse("sampling.steps", 1, why));
        }
        if self.method == Method::Ald && self.n_steps_each == 0 {
            return Err(refuse("sampling.n_steps_each", 0, "annealed Langevin dynamics needs at least 1"));
        }
        if self.probability_flow && self.predictor == PredictorName::AncestralSampling {
            let why = "ancestral sampling has no probability flow; choose another sampling.predictor";
            return Err(refuse("sampling.probability_flow", true, why));
        }
        Ok(())
    }
}
