//! Samples a checkpoint: load a model, draw from it, read the numbers.
//!
//! ```text
//! cargo run --release --example sample_checkpoint -- runs/digits
//! ```
//!
//! Takes a run folder. Without one it makes a model of its own first, by four steps of training: noise, but a checkpoint.

use tweedie::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(None)?;
    let temporary = tempfile::tempdir()?;
    let run = match std::env::args().nth(1) {
        Some(folder) => Run::at(folder),
        None => four_steps(&gpu, temporary.path().join("run"))?,
    };

    let checkpoint = Checkpoint::read(&run.latest()?)?;
    let (config, score) = (checkpoint.config(), checkpoint.scorer(&gpu, Weights::Ema)?);
    println!("step {} of a model on {}", checkpoint.step(), gpu.adapter().name());

    // Sample 7 of a seed is the same, whether it is drawn alone or among others.
    let draw = Draw::new(42);
    let start = prior(&score, Shape::of_images(8, config.data.shape()), draw)?;
    let sampler = sampler(&config.sampling, 12)?;
    let mut watch = |progress: Progress<'_>| {
        println!("  step {:2}, t = {:.3}", progress.step, progress.t);
        Ok(())
    };
    let sampled = sampler.run(&score, start, draw, &mut watch)?;

    let pixels = sampled.x.read()?;
    let (least, most) = pixels.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    println!("8 samples, {} evaluations each, values from {least:.2} to {most:.2}", sampled.evaluations);
    if pixels.iter().all(|v| v.is_finite()) { Ok(()) } else { Err("a sample is not finite".into()) }
}

/// A run of four steps of a small model of digits.
fn four_steps(gpu: &Gpu, folder: std::path::PathBuf) -> Result<Run, Box<dyn std::error::Error>> {
    let mut config = Config::preset("digits_vp")?;
    (config.model.nf, config.model.ch_mult, config.training.batch_size) = (16, vec![1, 2], 8);
    let run = Run::at(folder);
    run.train(gpu, &config, RunOptions { steps: Some(4), ..RunOptions::default() }, &mut |_| Ok(()))?;
    Ok(run)
}
