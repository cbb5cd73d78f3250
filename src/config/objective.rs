//! `training.objective`: the objectives, and the keys that they require.

use super::{Config, ConfigError, Prediction, SdeName, refuse};
use crate::choice::choices;
use crate::sde::BetaSchedule;

choices! {
    /// The objectives of training.
    pub enum ObjectiveName = Dsm {
        /// Denoising score matching (Song 2021, eq. 7), in continuous time or on the discrete chain.
        Dsm = "dsm",
        /// Denoising score matching on NCSN's ladder of noise levels (Song 2019, eq. 5).
        Smld = "smld",
        /// L_simple on DDPM's chain (Ho 2020, eq. 14): the squared error of the prediction.
        Ddpm = "ddpm",
        /// The variational bound on DDPM's chain (Ho 2020, eqs. 5, 8 and 13).
        Vlb = "vlb",
        /// Sliced score matching (Song 2019b, eq. 8).
        Ssm = "ssm",
        /// Sliced score matching by finite differences (Pang 2020).
        FdSsm = "fd_ssm",
        /// EDM's noise distribution and loss (Karras 2022, table 1).
        Edm = "edm",
        /// The cross entropy of a classifier of diffused images (Song 2021, appendix I.1).
        Classifier = "classifier",
    }
}

choices! {
    /// The distribution of the projections of sliced score matching.
    pub enum Projection = Rademacher {
        /// −1 or 1 in each component.
        Rademacher = "rademacher",
        /// Uniform on the sphere of radius √D.
        Sphere = "sphere",
    }
}

impl ObjectiveName {
    /// Whether its times are continuous, if it allows only one choice.
    pub(super) fn continuous(self) -> Option<bool> {
        match self {
            ObjectiveName::Dsm | ObjectiveName::Ssm | ObjectiveName::FdSsm | ObjectiveName::Classifier => {
                None
            }
            ObjectiveName::Smld | ObjectiveName::Ddpm | ObjectiveName::Vlb => Some(false),
            ObjectiveName::Edm => Some(true),
        }
    }

    /// The process that it requires, if any.
    fn sde(self) -> Option<SdeName> {
        match self {
            ObjectiveName::Smld => Some(SdeName::Vesde),
            ObjectiveName::Ddpm | ObjectiveName::Vlb => Some(SdeName::Vpsde),
            _ => None,
        }
    }
}

/// Checks the keys that the objective restricts.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let training = &config.training;
    let (objective, prediction) = (training.objective, config.prediction());
    let wrong = |why: String| Err(refuse("training.objective", objective.to_string(), why));
    if let Some(sde) = objective.sde()
        && training.sde != sde
    {
        return wrong(format!("it is a loss on the chain of {sde}; set training.sde = {sde}"));
    }
    if !training.continuous
        && training.sde == SdeName::Vpsde
        && config.model.beta_schedule == BetaSchedule::Linear
        && config.model.beta_max >= config.model.num_scales as f64
    {
        let why = format!(
            "DDPM's chain ends with β = model.beta_max / num_scales, which must be below 1; set it to more than {}",
            config.model.beta_max
        );
        return Err(refuse("model.num_scales", config.model.num_scales, why));
    }
    match objective.continuous() {
        Some(continuous) if continuous != training.continuous => {
            let times = if continuous { "continuous" } else { "the chain's" };
            return wrong(format!(
                "its times are {times}; set training.continuous = {continuous}, or leave that key out"
            ));
        }
        _ => {}
    }
    if objective == ObjectiveName::Edm && prediction != Prediction::Edm {
        return wrong(
            "it trains EDM's preconditioned network; set model.prediction = edm, or leave that key out"
                .into(),
        );
    }
    if objective == ObjectiveName::Ddpm && prediction == Prediction::Score {
        return wrong("the error of a score is unbounded; set model.prediction = eps, x0, v or edm".into());
    }
    if objective == ObjectiveName::Vlb && config.data.uniform_dequantization {
        return wrong("it has a decoder for grey levels; set data.uniform_dequantization = false".into());
    }
    if objective == ObjectiveName::Vlb && config.data.is_points() {
        return wrong("it has a decoder for grey levels, and the data are points; choose another".into());
    }
    // The reference also divides the noise prediction of VP and sub-VP, if this key is set.
    let divided = match training.sde {
        SdeName::Vesde => prediction == Prediction::Score,
        _ => matches!(prediction, Prediction::Score | Prediction::Eps),
    };
    if config.model.scale_by_sigma && !divided {
        let why = "only a score scales as 1 / σ; set it to false, or model.prediction = score";
        return Err(refuse("model.scale_by_sigma", true, why));
    }
    let weighted =
        training.continuous && !matches!(objective, ObjectiveName::Edm | ObjectiveName::Classifier);
    if training.likelihood_weighting && !weighted {
        let why = "g(t)² weights continuous times; set it to false, or train with training.objective = dsm, ssm or fd_ssm \
                   and training.continuous = true";
        return Err(refuse("training.likelihood_weighting", true, why));
    }
    if training.importance_sampling && !training.likelihood_weighting {
        let why = "it samples times for the likelihood weighting; set training.likelihood_weighting = true";
        return Err(refuse("training.importance_sampling", true, why));
    }
    Ok(())
}
