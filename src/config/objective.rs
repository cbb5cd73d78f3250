//! `training.objective`: what is minimised, and what it goes with.

use super::{Config, ConfigError, Prediction, SdeName, refuse};
use crate::choice::choices;

choices! {
    /// What training minimises.
    pub enum ObjectiveName = Dsm {
        /// Denoising score matching (Song 2021, eq. 7), in continuous time or on the discrete chain.
        Dsm = "dsm",
        /// The same on NCSN's ladder of noise levels (Song 2019, eq. 5).
        Smld = "smld",
        /// L_simple on DDPM's chain (Ho 2020, eq. 14): the squared error of what the network predicts.
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
    /// The distribution of the directions that sliced score matching projects on.
    pub enum Projection = Rademacher {
        /// −1 or 1 in each component.
        Rademacher = "rademacher",
        /// Uniform on the sphere of radius √D.
        Sphere = "sphere",
    }
}

impl ObjectiveName {
    /// Whether its times are continuous, where it leaves no choice.
    pub(super) fn continuous(self) -> Option<bool> {
        match self {
            ObjectiveName::Dsm | ObjectiveName::Ssm | ObjectiveName::FdSsm | ObjectiveName::Classifier => {
                None
            }
            ObjectiveName::Smld | ObjectiveName::Ddpm | ObjectiveName::Vlb => Some(false),
            ObjectiveName::Edm => Some(true),
        }
    }

    /// The process it is made for, if it is made for one.
    fn sde(self) -> Option<SdeName> {
        match self {
            ObjectiveName::Smld => Some(SdeName::Vesde),
            ObjectiveName::Ddpm | ObjectiveName::Vlb => Some(SdeName::Vpsde),
            _ => None,
        }
    }
}

/// Refuses what contradicts the objective.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let training = &config.training;
    let (objective, prediction) = (training.objective, config.prediction());
    let wrong = |why: String| Err(refuse("training.objective", objective.to_string(), why));
    if let Some(sde) = objective.sde()
        && training.sde != sde
    {
        return wrong(format!("it is a loss of that process's chain; set training.sde = {sde}"));
    }
    if !training.continuous
        && training.sde == SdeName::Vpsde
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
                "its times are {times}; set training.continuous = {continuous}, or leave it out"
            ));
        }
        _ => {}
    }
    if objective == ObjectiveName::Edm && prediction != Prediction::Edm {
        return wrong(
            "it trains EDM's preconditioned network; set model.prediction = edm, or leave it out".into(),
        );
    }
    if objective == ObjectiveName::Ddpm && prediction == Prediction::Score {
        return wrong("a score has no bounded error; set model.prediction = eps, x0, v or edm".into());
    }
    if objective == ObjectiveName::Vlb && config.data.uniform_dequantization {
        return wrong("it decodes to grey levels; set data.uniform_dequantization = false".into());
    }
    // The reference divides the noise that VP and sub-VP predict, too, where it is told to.
    let divided = match training.sde {
        SdeName::Vesde => prediction == Prediction::Score,
        SdeName::Vpsde | SdeName::Subvpsde => matches!(prediction, Prediction::Score | Prediction::Eps),
    };
    if config.model.scale_by_sigma && !divided {
        let why = "only a score grows as 1 / σ; set it to false, or model.prediction = score";
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
        let why = "it draws times for the likelihood weighting; set training.likelihood_weighting = true";
        return Err(refuse("training.importance_sampling", true, why));
    }
    Ok(())
}
