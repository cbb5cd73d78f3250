//! `training.objective`: what is minimised, and what it goes with.

use super::{Config, ConfigError, Prediction, SdeName, refuse};
use serde::{Deserialize, Serialize};

/// What training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveName {
    /// Denoising score matching (Song 2021, eq. 7), in continuous time or on the discrete chain.
    #[default]
    Dsm,
    /// The same on NCSN's ladder of noise levels (Song 2019, eq. 5).
    Smld,
    /// L_simple on DDPM's chain (Ho 2020, eq. 14): the squared error of what the network predicts.
    Ddpm,
    /// The variational bound on DDPM's chain (Ho 2020, eqs. 5, 8 and 13).
    Vlb,
    /// Sliced score matching (Song 2019b, eq. 8).
    Ssm,
    /// Sliced score matching by finite differences (Pang 2020).
    FdSsm,
    /// EDM's noise distribution and loss (Karras 2022, table 1).
    Edm,
    /// The cross entropy of a classifier of diffused images (Song 2021, appendix I.1).
    Classifier,
}

/// The distribution of the directions that sliced score matching projects on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// −1 or 1 in each component.
    #[default]
    Rademacher,
    /// Uniform on the sphere of radius √D.
    Sphere,
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
    fn sde(self) -> Option<(SdeName, &'static str)> {
        match self {
            ObjectiveName::Smld => Some((SdeName::Vesde, "vesde")),
            ObjectiveName::Ddpm | ObjectiveName::Vlb => Some((SdeName::Vpsde, "vpsde")),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            ObjectiveName::Dsm => "dsm",
            ObjectiveName::Smld => "smld",
            ObjectiveName::Ddpm => "ddpm",
            ObjectiveName::Vlb => "vlb",
            ObjectiveName::Ssm => "ssm",
            ObjectiveName::FdSsm => "fd_ssm",
            ObjectiveName::Edm => "edm",
            ObjectiveName::Classifier => "classifier",
        }
    }
}

/// Refuses what contradicts the objective.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let training = &config.training;
    let (objective, prediction) = (training.objective, config.prediction());
    let wrong = |why: String| Err(refuse("training.objective", objective.name(), why));
    if let Some((sde, name)) = objective.sde()
        && training.sde != sde
    {
        return wrong(format!("it is a loss of that process's chain; set training.sde = {name}"));
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
