//! The noise levels at which a solver of a fixed number of steps stops.

use crate::config::{Sampling, Schedule};
use crate::sample::error::{Result, SampleError};
use crate::sde::{Level, Process};

/// The smallest level of a grid by default: EDM's (Karras 2022, table 1), which is invisible in a picture. Sub-VP's at its ε is
/// a twentieth of it, and steps on the way there are lost to the picture.
const SIGMA_MIN: f64 = 0.002;

/// A grid of noise levels, from the prior's down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The spacing of the levels.
    pub schedule: Schedule,
    /// ρ of [`Schedule::Edm`].
    pub rho: f64,
    /// The smallest level above 0; `None` for the process's own, or EDM's 0.002 if that is larger and the noise is removed.
    pub sigma_min: Option<f64>,
    /// End at the data, σ = 0, instead of the smallest level.
    pub noise_removal: bool,
    /// Steps, at least 1.
    pub steps: usize,
}

impl Grid {
    /// The grid that a configuration describes, with `steps` steps. Its schedule is the configuration's, else the method's, else
    /// EDM's.
    ///
    /// # Errors
    /// If there is no step.
    pub fn new(config: &Sampling, steps: usize) -> Result<Grid> {
        let Sampling { rho, sigma_min, noise_removal, .. } = *config;
        let schedule = config.schedule.or(config.method.schedule()).unwrap_or(Schedule::Edm);
        let grid = Grid { schedule, rho, sigma_min, noise_removal, steps };
        grid.check()?;
        Ok(grid)
    }

    fn check(&self) -> Result<()> {
        let steps = self.steps;
        if steps < 1 { Err(SampleError::TooFewSteps { steps, least: 1 }) } else { Ok(()) }
    }

    /// The levels of a process, one more than steps.
    ///
    /// # Errors
    /// If there is no step, or the process has no level `sigma_min`.
    pub fn levels(&self, process: &dyn Process) -> Result<Vec<Level>> {
        self.check()?;
        // The step to the data begins at the smallest level.
        let last = if self.noise_removal { self.steps - 1 } else { self.steps };
        let (first, end) = (process.level(1.0), self.smallest(process)?);
        let between = |i: usize| {
            let part = i as f64 / last as f64;
            let mix = |a: f64, b: f64| a + part * (b - a);
            match self.schedule {
                Schedule::Time => process.level(mix(1.0, end.t)),
                Schedule::Edm => {
                    let root = |level: Level| level.sigma.powf(1.0 / self.rho);
                    process.level_of(mix(root(first), root(end)).powf(self.rho))
                }
                Schedule::LogSnr => process.level_of(mix(first.sigma.ln(), end.sigma.ln()).exp()),
            }
        };
        // The ends are exact whatever the inverse rounds to.
        let mut levels = vec![first];
        levels.extend((1..last).map(between));
        // A single step to the data has no level between.
        levels.extend((last > 0).then_some(end));
        levels.extend(self.noise_removal.then_some(Level::DATA));
        Ok(levels)
    }

    /// The smallest level above 0.
    fn smallest(&self, process: &dyn Process) -> Result<Level> {
        if let Some(sigma) = self.sigma_min {
            return process.level_within(sigma).ok_or(SampleError::NoSuchLevel { sigma });
        }
        let edm = process.level_within(SIGMA_MIN).filter(|_| self.noise_removal);
        Ok(edm.unwrap_or_else(|| process.level(process.sampling_eps())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{Ve, process_tests::PROCESSES};

    const SCHEDULES: [Schedule; 3] = [Schedule::Time, Schedule::Edm, Schedule::LogSnr];

    #[test]
    fn every_schedule_falls_from_the_prior_to_the_data_in_as_many_steps_as_asked() {
        let faint: &dyn Process = &Ve { sigma_min: 1e-4, sigma_max: 1.5e-3 };
        for process in PROCESSES.into_iter().chain([faint]) {
            for schedule in SCHEDULES {
                for noise_removal in [true, false] {
                    let config = Sampling { noise_removal, schedule: Some(schedule), ..Sampling::default() };
                    for steps in [1, 2, 3, 18] {
                        let levels = Grid::new(&config, steps).unwrap().levels(process).unwrap();
                        assert_eq!(levels.len(), steps + 1);
                        assert_eq!(levels[0], process.level(1.0));
                        assert_eq!(levels[steps] == Level::DATA, noise_removal);
                        let least = levels[steps - usize::from(noise_removal)];
                        if steps == 1 && noise_removal {
                            continue;
                        }
                        let end = process.level(process.sampling_eps());
                        if noise_removal && (end.sigma..levels[0].sigma).contains(&SIGMA_MIN) {
                            assert!((least.sigma - SIGMA_MIN).abs() < 1e-15 && least.t > end.t);
                        } else {
                            assert_eq!(least, end);
                        }
                        assert!(levels.windows(2).all(|pair| pair[0].sigma > pair[1].sigma), "{levels:?}");
                        assert!(levels.iter().all(|level| (0.0..=1.0).contains(&level.t)), "{levels:?}");
                        assert_eq!(levels[steps] == Level::DATA, noise_removal);
                    }
                    assert!(Grid::new(&config, 0).is_err());
                }
            }
        }
    }

    #[test]
    fn a_grid_ends_at_the_smallest_level_asked_for() {
        let ve = Ve { sigma_min: 0.01, sigma_max: 50.0 };
        for schedule in SCHEDULES {
            let of = |sigma| {
                let config =
                    Sampling { sigma_min: Some(sigma), schedule: Some(schedule), ..Sampling::default() };
                Grid::new(&config, 8).unwrap().levels(&ve)
            };
            // Both are levels of the process.
            assert!((of(0.3).unwrap()[7].sigma - 0.3).abs() < 1e-12);
            assert_eq!(of(0.01).unwrap()[7], ve.level(ve.sampling_eps()));
            for sigma in [0.005, 50.0, 80.0] {
                let refused = of(sigma).unwrap_err();
                assert!(matches!(refused, SampleError::NoSuchLevel { sigma: s } if s == sigma), "{refused}");
            }
        }
    }

    /// σ_i = (σ_max^(1/ρ) + i / (n − 1) (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ.
    #[test]
    fn edms_schedule_is_that_of_its_paper() {
        let ve = Ve { sigma_min: 0.002, sigma_max: 80.0 };
        let levels = Grid::new(&Sampling::default(), 18).unwrap().levels(&ve).unwrap();
        for (i, level) in levels[1..17].iter().enumerate() {
            let (high, low) = (80f64.powf(1.0 / 7.0), 0.002f64.powf(1.0 / 7.0));
            let sigma = (high + (i + 1) as f64 / 17.0 * (low - high)).powf(7.0);
            assert!((level.sigma / sigma - 1.0).abs() < 1e-4, "{i}: {} {sigma}", level.sigma);
        }
    }
}
