//! The samplers by name, and their capabilities.

use crate::choice::choices;

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
        /// Heun's method with noise added before every step.
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

/// The number of steps of a sampler whose configuration leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// As many as the process's chain has: `model.num_scales`.
    Chain,
    /// As many as this, on a grid of noise levels that a [`Schedule`](super::Schedule) lays.
    Grid(usize),
    /// As many as the tolerances require.
    Adaptive,
}

/// The capabilities of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its steps.
    pub steps: Steps,
    /// Follows the probability flow without noise (if it has an η, at η = 0), so that it decodes latents.
    pub deterministic: bool,
    /// Scales its noise by an η.
    pub eta: bool,
    /// Known values can be imposed on the state at every step.
    pub constrained: bool,
}

impl Method {
    /// Its capabilities.
    pub const fn capabilities(self) -> Capabilities {
        const fn of(steps: Steps, [deterministic, eta, constrained]: [bool; 3]) -> Capabilities {
            Capabilities { steps, deterministic, eta, constrained }
        }
        match self {
            //                              steps             deterministic, eta, constrained
            Method::Pc | Method::Ald => of(Steps::Chain, [false, false, true]),
            Method::Euler => of(Steps::Grid(50), [true, false, false]),
            Method::Heun => of(Steps::Grid(18), [true, false, false]),
            Method::StochasticHeun => of(Steps::Grid(18), [false, false, false]),
            Method::Ddim => of(Steps::Grid(50), [true, true, false]),
            Method::Dpmpp2m | Method::Dpmpp3m => of(Steps::Grid(20), [true, true, false]),
            Method::AdaptiveSde => of(Steps::Adaptive, [false, false, false]),
            Method::Ode => of(Steps::Adaptive, [true, false, false]),
        }
    }

    /// Whether its steps are as long as a tolerance allows.
    pub fn is_adaptive(self) -> bool {
        self.capabilities().steps == Steps::Adaptive
    }

    /// Whether it runs on a grid of noise levels, which a [`Schedule`](super::Schedule) lays.
    pub fn has_grid(self) -> bool {
        matches!(self.capabilities().steps, Steps::Grid(_))
    }
}
