//! Trains a small score network on an array of images made here, keeps the run in a folder, resumes it, and
//! samples from its newest checkpoint.
//!
//! ```text
//! cargo run --release --example train_on_arrays
//! ```

use rand::{Rng, SeedableRng};
use rand_distr::Normal;
use tweedie::config::{Config, Data, EmbeddingType, Method, Model, Optim, Sampling, Training};
use tweedie::data::FloatDataset;
use tweedie::gpu::Gpu;
use tweedie::random::{Draw, Philox};
use tweedie::sample::{prior, sampler};
use tweedie::tensor::Shape;
use tweedie::train::{Checkpoint, Event, Run, RunOptions, Weights};

const SIZE: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let images = 500;
    let data = FloatDataset::new(discs(images), [images, SIZE, SIZE, 1], None)?;

    // The keys that are left out have the defaults of a configuration file.
    let config = Config {
        training: Training {
            batch_size: 16,
            n_iters: 60,
            snapshot_freq: 40,
            log_freq: 10,
            ..Training::default()
        },
        data: Data { image_size: SIZE.into(), num_channels: 1, ..Data::default() },
        model: Model {
            nf: 16,
            ch_mult: vec![1, 2],
            num_res_blocks: 1,
            attn_resolutions: vec![],
            sigma_max: 10.0,
            embedding_type: EmbeddingType::Fourier,
            scale_by_sigma: true,
            ema_rate: 0.9,
            ..Model::default()
        },
        optim: Optim { lr: 3e-3, warmup: 10, ..Optim::default() },
        ..Config::default()
    }
    .validated()?;

    let gpu = Gpu::open(None)?;
    let folder = std::env::temp_dir().join(format!("tweedie-train-on-arrays-{}", std::process::id()));
    let run = Run::at(&folder);
    let mut losses = Vec::new();
    for options in [
        RunOptions { steps: Some(40), ..RunOptions::default() },
        RunOptions { resume: true, steps: Some(60), ..RunOptions::default() },
    ] {
        run.train_on(&gpu, &config, &data, options, &mut |event| {
            if let Event::Row(row) = event {
                println!("step {:3}: loss {:.2}", row.step, row.loss);
                losses.push(row.loss);
            }
            Ok(())
        })?;
    }

    let checkpoint = Checkpoint::read(&run.latest()?)?;
    let score = checkpoint.scorer(&gpu, Weights::Ema)?;
    let sampling = Sampling { method: Method::Dpmpp2m, ..Sampling::default() };
    let draw = Draw::new(config.seed);
    let start = prior(&score, Shape::new(4, SIZE, SIZE, 1), draw)?;
    let sampled = sampler(&sampling, 10)?.run(&score, start, draw, &mut |_| Ok(()))?;
    let pixels = sampled.x.read()?;
    std::fs::remove_dir_all(&folder)?;

    println!("{} samples after {} steps", pixels.len() / (SIZE * SIZE), checkpoint.step());
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    if checkpoint.step() != 60 || last > 0.5 * first || pixels.iter().any(|v| !v.is_finite()) {
        return Err(format!("the loss went from {first} to {last}").into());
    }
    Ok(())
}

/// Grey discs of random centres and radii, `[n, SIZE, SIZE, 1]` in [0, 1]. Any generator of the `rand` crate and
/// any distribution of `rand_distr` would do.
fn discs(n: usize) -> Vec<f32> {
    let mut rng = Philox::seed_from_u64(1);
    let radii = Normal::new(1.75f32, 0.4).expect("a positive standard deviation");
    let mut image = || {
        let (x, y, radius) =
            (rng.random_range(2.0..5.0), rng.random_range(2.0..5.0), rng.sample(radii).clamp(1.0, 2.5));
        (0..SIZE * SIZE).map(move |i| {
            let distance = ((i % SIZE) as f32 - x).hypot((i / SIZE) as f32 - y);
            (radius - distance + 0.5).clamp(0.0, 1.0)
        })
    };
    (0..n).flat_map(|_| image()).collect()
}
