//! The samplers, a line each.

use super::Schedule;
use crate::choice::choices;

/// The number of steps of a sampler whose configuration leaves it open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steps {
    /// As many as the process's chain has: `model.num_scales`.
    Chain,
    /// This number, on a grid of noise levels of this schedule unless the configuration names another.
    Grid(usize, Schedule),
    /// As many as the tolerances require.
    Adaptive,
}

/// The capabilities of a sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// The table of the samplers: documentation, name, steps, further capabilities, and the constructor in `sample::solver` from a
/// configuration and a number of steps. `$table!` receives all of it: here it declares [`Method`], there it constructs.
macro_rules! methods {
    ($table:ident) => {
        $table! {
            /// Predictor and corrector.
            Pc = "pc", Steps::Chain, [constrained], PredictorCorrector::new;
            /// Annealed Langevin dynamics on the ladder of noise levels.
            Ald = "ald", Steps::Chain, [constrained], AnnealedLangevin::new;
            /// Euler's method on the probability flow in EDM's coordinates.
            Euler = "euler", Steps::Grid(50, Schedule::Edm), [deterministic], Multistep::new::<1>;
            /// Heun's method on the probability flow in EDM's coordinates.
            Heun = "heun", Steps::Grid(18, Schedule::Edm), [deterministic], Heun::new;
            /// Heun's method with noise added before every step.
            StochasticHeun = "stochastic_heun", Steps::Grid(18, Schedule::Edm), [], Heun::stochastic;
            /// DDIM.
            Ddim = "ddim", Steps::Grid(50, Schedule::Time), [deterministic, eta], Multistep::new::<1>;
            /// DPM-Solver++, multistep, of order 2.
            Dpmpp2m = "dpmpp_2m", Steps::Grid(20, Schedule::LogSnr), [deterministic, eta], Multistep::new::<2>;
            /// DPM-Solver++, multistep, of order 3.
            Dpmpp3m = "dpmpp_3m", Steps::Grid(20, Schedule::LogSnr), [deterministic, eta], Multistep::new::<3>;
            /// Stochastic improved Euler on the reverse-time SDE with steps as long as the tolerance allows.
            AdaptiveSde = "adaptive_sde", Steps::Adaptive, [], |config, _| Ok(Adaptive::new(config));
            /// The probability flow by Dormand–Prince 5(4) with adaptive steps.
            Ode = "ode", Steps::Adaptive, [deterministic], |config, _| Ok(Ode::new(config));
        }
    };
}
pub(crate) use methods;

macro_rules! declare {
    ($(
        $(#[doc = $help:literal])+
        $Method:ident = $name:literal, $steps:expr, [$($capability:ident),*], $new:expr;
    )+) => {
        choices! {
            /// Families of samplers.
            pub enum Method {
                $( $(#[doc = $help])+ $Method = $name, )+
            }
        }

        impl Method {
            /// Its capabilities.
            pub const fn capabilities(self) -> Capabilities {
                const fn none(steps: Steps) -> Capabilities {
                    Capabilities { steps, deterministic: false, eta: false, constrained: false }
                }
                match self {
                    $( Method::$Method => Capabilities { $( $capability: true, )* ..none($steps) }, )+
                }
            }
        }
    };
}
methods!(declare);

impl Method {
    /// Whether its steps are as long as a tolerance allows.
    pub fn is_adaptive(self) -> bool {
        self.capabilities().steps == Steps::Adaptive
    }

    /// The schedule of its grid of noise levels unless the configuration names another; none if it has no grid.
    pub fn schedule(self) -> Option<Schedule> {
        match self.capabilities().steps {
            Steps::Grid(_, schedule) => Some(schedule),
            Steps::Chain | Steps::Adaptive => None,
        }
    }
}
