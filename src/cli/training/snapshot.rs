//! The samples of a checkpoint: a grid, and the reverse process of some of them.

use crate::cli::io::Images;
use crate::cli::io::images::write_strip;
use crate::config::{Config, Sampling};
use crate::kernels::layout;
use crate::sample::{Draw, Progress, SampleError, prior, sampler};
use crate::train::{Run, Trainer};
use std::time::{Duration, Instant};

/// The number of samples drawn with every checkpoint, always the same ones.
const SAMPLES: usize = 16;
/// Points drawn with every checkpoint of a model of points.
const POINTS: usize = 2000;
/// Samples whose reverse process is shown, a row each.
pub const ROWS: usize = 4;
/// The largest number of its columns.
const COLUMNS: usize = 9;

/// The cost of a checkpoint's samples.
pub struct Cost {
    pub samples: usize,
    pub evaluations: f64,
    pub time: Duration,
}

/// The options of the samples: `[sampling]` with the sampler of snapshots.
fn sampling(config: &Config) -> Sampling {
    let training = &config.training;
    Sampling { method: training.snapshot_sampler, steps: training.snapshot_steps, ..config.sampling.clone() }
}

/// Draws the samples of a checkpoint with the averaged weights, and writes both pictures. Seed and numbers
/// are those of every checkpoint, so that the pictures can be compared.
pub fn draw(run: &Run, trainer: &Trainer, budget: Duration) -> anyhow::Result<Cost> {
    let started = Instant::now();
    let (config, points) = (&trainer.config, trainer.config.data.is_points());
    let shape = trainer.batch_shape().with_n(if points { POINTS } else { SAMPLES });
    let (scorer, sampling) = (trainer.averaged(), sampling(config));
    let sampler = sampler(&sampling, sampling.steps)?;
    let (draw, range) = (Draw::new(config.seed), config.data.range());
    let every = sampling.steps.div_ceil(COLUMNS - 1);
    let mut states: Vec<Images> = Vec::new();
    let mut watch = |progress: Progress<'_>| {
        if started.elapsed() > budget {
            return Err(SampleError::Refused(format!(
                "the sampler takes longer than {} s",
                budget.as_secs()
            )));
        }
        if !points && progress.step.is_multiple_of(every) && states.len() < COLUMNS - 1 {
            let state = layout::samples(progress.state, 0, ROWS)?;
            states.push(Images::new(state.shape(), state.read()?, range));
        }
        Ok(())
    };
    let sampled = sampler.run(&scorer, prior(&scorer, shape, draw)?, draw, &mut watch)?;
    let values = sampled.x.read()?;
    if points {
        Images::new(shape, values, range).write(&run.samples(trainer.step), 0)?;
        return Ok(Cost { samples: POINTS, evaluations: sampled.evaluations, time: started.elapsed() });
    }
    let rows = values[..ROWS * shape.with_n(1).len()].to_vec();
    states.push(Images::new(shape.with_n(ROWS), rows, range));
    Images::new(shape, values, range).write_grid(&run.samples(trainer.step))?;
    write_strip(&run.process(trainer.step), &states.iter().collect::<Vec<_>>(), ROWS)?;
    Ok(Cost { samples: SAMPLES, evaluations: sampled.evaluations, time: started.elapsed() })
}
