//! The noise levels that a solver of a fixed number of steps stops at, and the denoiser there.

use super::refuse;
use super::score::Score;
use crate::config::{Sampling, Schedule};
use crate::kernels::Result;
use crate::nn::Combination;
use crate::sde::{Level, Sde};

/// What a grid does not go below, if nothing else is said: EDM's least noise level (Karras 2022, table 1), which shows in no
/// picture. Sub-VP's at its ε is a twentieth of it, and steps on the way there are lost to the picture.
const SIGMA_MIN: f64 = 0.002;

/// Noise levels from that of the prior down. The last is the data, σ = 0, or, where noise is left in, the least.
///
/// # Errors
/// If there are fewer than two steps, or the process has no such least level.
pub(super) fn levels(sde: &Sde, schedule: Schedule, config: &Sampling, steps: usize) -> Result<Vec<Level>> {
    if steps < 2 {
        return Err(refuse(format!("{steps} steps; a sampler needs at least 2")));
    }
    // The step to the data begins at the least level.
    let last = if config.noise_removal { steps - 1 } else { steps };
    let (first, end) = (sde.level(1.0), least(sde, config)?);
    let between = |i: usize| {
        let part = i as f64 / last as f64;
        let mix = |a: f64, b: f64| a + part * (b - a);
        match schedule {
            Schedule::Time => sde.level(mix(1.0, end.t)),
            Schedule::Edm => {
                let root = |level: Level| level.sigma.powf(1.0 / config.rho);
                sde.level_of(mix(root(first), root(end)).powf(config.rho))
            }
            Schedule::LogSnr => sde.level_of(mix(first.sigma.ln(), end.sigma.ln()).exp()),
        }
    };
    // The ends are exact whatever the inverse rounds to.
    let mut levels = vec![first];
    levels.extend((1..last).map(between));
    levels.push(end);
    levels.extend(config.noise_removal.then_some(Level::DATA));
    Ok(levels)
}

/// The least level but the data.
fn least(sde: &Sde, config: &Sampling) -> Result<Level> {
    if let Some(sigma) = config.sigma_min {
        let none = || refuse(format!("sigma_min = {sigma}: the process has no such noise level"));
        return sde.level_within(sigma).ok_or_else(none);
    }
    let usual = sde.level_within(SIGMA_MIN).filter(|_| config.noise_removal);
    Ok(usual.unwrap_or_else(|| sde.level(sde.sampling_eps())))
}

/// What makes the denoised x₀ of the state and the network's output, by Tweedie's formula:
/// E[x₀ | x] = (x + s² score) / m.
pub(super) fn denoiser(score: &dyn Score, level: Level) -> Combination {
    let of = score.label(level.t).score;
    let gain = level.mean * level.sigma * level.sigma;
    Combination { x: 1.0 / level.mean + gain * of.x, net: gain * of.net }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::SdeKind;

    #[test]
    fn every_schedule_falls_from_the_prior_to_the_data_in_as_many_steps_as_asked() {
        for kind in [
            SdeKind::Ve { sigma_min: 0.01, sigma_max: 50.0 },
            SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 },
            SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 },
            SdeKind::Ve { sigma_min: 1e-4, sigma_max: 1.5e-3 },
        ] {
            let sde = Sde { kind, n: 1000 };
            for schedule in [Schedule::Time, Schedule::Edm, Schedule::LogSnr] {
                for noise_removal in [true, false] {
                    let config = Sampling { noise_removal, ..Sampling::default() };
                    for steps in [2, 3, 18] {
                        let levels = levels(&sde, schedule, &config, steps).unwrap();
                        assert_eq!(levels.len(), steps + 1);
                        assert_eq!(levels[0], sde.level(1.0));
                        let (least, end) =
                            (levels[steps - usize::from(noise_removal)], sde.level(sde.sampling_eps()));
                        if noise_removal && (end.sigma..levels[0].sigma).contains(&SIGMA_MIN) {
                            assert!((least.sigma - SIGMA_MIN).abs() < 1e-15 && least.t > end.t);
                        } else {
                            assert_eq!(least, end);
                        }
                        assert!(levels.windows(2).all(|pair| pair[0].sigma > pair[1].sigma), "{levels:?}");
                        assert!(levels.iter().all(|level| (0.0..=1.0).contains(&level.t)), "{levels:?}");
                        assert_eq!(levels[steps] == Level::DATA, noise_removal);
                    }
                    assert!(super::levels(&sde, schedule, &config, 1).is_err());
                }
            }
        }
    }

    #[test]
    fn a_grid_ends_at_the_least_level_asked_for() {
        let sde = Sde { kind: SdeKind::Ve { sigma_min: 0.01, sigma_max: 50.0 }, n: 1000 };
        for schedule in [Schedule::Time, Schedule::Edm, Schedule::LogSnr] {
            let of = |sigma| {
                let config = Sampling { sigma_min: Some(sigma), ..Sampling::default() };
                levels(&sde, schedule, &config, 8)
            };
            // Both are levels of the process: nothing to refuse.
            assert!((of(0.3).unwrap()[7].sigma - 0.3).abs() < 1e-12);
            assert_eq!(of(0.01).unwrap()[7], sde.level(sde.sampling_eps()));
            for sigma in [0.005, 50.0, 80.0] {
                let message = of(sigma).unwrap_err().to_string();
                assert!(message.contains("no such noise level"), "{message}");
            }
        }
    }

    /// σ_i = (σ_max^(1/ρ) + i / (n − 1) (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ.
    #[test]
    fn edms_schedule_is_that_of_its_paper() {
        let sde = Sde { kind: SdeKind::Ve { sigma_min: 0.002, sigma_max: 80.0 }, n: 1000 };
        let levels = levels(&sde, Schedule::Edm, &Sampling::default(), 18).unwrap();
        for (i, level) in levels[1..17].iter().enumerate() {
            let (high, low) = (80f64.powf(1.0 / 7.0), 0.002f64.powf(1.0 / 7.0));
            let sigma = (high + (i + 1) as f64 / 17.0 * (low - high)).powf(7.0);
            assert!((level.sigma / sigma - 1.0).abs() < 1e-4, "{i}: {} {sigma}", level.sigma);
        }
    }
}
