//! `tweedie train --dry-run`: the size and the speed of a run, without one.

use crate::cli::report::{count, say};
use crate::cli::{Common, print};
use crate::config::Config;
use crate::data::{Loader, Split, check_labels, open};
use crate::gpu::Bytes;
use crate::nn::ScoreModel;
use crate::train::Trainer;
use indicatif::HumanDuration;
use std::time::Instant;

/// The steps that are timed, after one that compiles the kernels.
const TIMED: u32 = 3;

/// Makes a few steps, keeps nothing, and prints parameters, memory and time.
pub fn run(common: &Common, config: &Config, steps: u64) -> anyhow::Result<()> {
    let source = open(&config.data, Split::Train)?;
    if config.model.num_classes > 0 {
        check_labels(&*source, config.model.num_classes)?;
    }
    let (parameters, batch) = (ScoreModel::build(config)?.registry.count(), config.training.batch_size);
    let mut loader = Loader::new(&*source, &config.data, batch, config.seed)?;
    let gpu = common.open()?;
    let mut trainer = Trainer::new(&gpu, config)?;
    say(format!("making {TIMED} steps of {} on {}", count(batch, "image"), gpu.adapter().name()));
    trainer.step(&loader.batch(0)?)?;
    gpu.synchronize()?;
    let started = Instant::now();
    for step in 1..=TIMED {
        trainer.step(&loader.batch(step)?)?;
    }
    gpu.synchronize()?;
    let each = started.elapsed() / TIMED;
    let (images, [h, w, c]) = (source.len(), source.shape());
    let epoch = images as f64 / batch as f64;
    let (seconds, memory) = (each.as_secs_f64(), gpu.memory().allocated);
    if common.json {
        return print(serde_json::json!({
            "images": images, "shape": [h, w, c], "parameters": parameters, "batch_size": batch, "steps": steps,
            "device_bytes": memory, "seconds_per_step": seconds, "images_per_second": batch as f64 / seconds,
            "seconds_per_epoch": seconds * epoch, "seconds": seconds * steps as f64,
        }));
    }
    let lasts = |steps: f64| HumanDuration(each.mul_f64(steps));
    print(format!("data     {} of {h}x{w}x{c}", count(images, "image")))?;
    print(format!("network  {}", count(parameters, "parameter")))?;
    print(format!("memory   {} on {}", Bytes(memory), gpu.adapter().name()))?;
    print(format!("speed    {seconds:.3} s for a step of {batch}, {:.1} images/s", batch as f64 / seconds))?;
    print(format!("epoch    {epoch:.1} steps, {}", lasts(epoch)))?;
    print(format!("run      {steps} steps, {}, {:.1} epochs", lasts(steps as f64), steps as f64 / epoch))
}
