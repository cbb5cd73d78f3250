//! Trains a network of one's own: a struct of layers that implements `Architecture`. Nothing else is needed
//! for training, sampling, gradients and likelihoods, because the layers are written for every engine.
//!
//! ```text
//! cargo run --release --example own_network
//! ```

use tweedie::autodiff::Engine;
use tweedie::config::{Config, ConfigError, Data, Model, Optim, Training};
use tweedie::data::{Dataset, Split};
use tweedie::gpu::Gpu;
use tweedie::kernels;
use tweedie::kernels::elementwise::Activation::Swish;
use tweedie::nn::{
    Architecture, Conditioning, Conv, Pass, Registry, ResBlock, Resample, ScoreModel, Style, TimeEmbedding,
};
use tweedie::train::{Checkpoint, Event, Run, RunOptions, Weights};

/// Residual blocks at one resolution between two convolutions.
#[derive(Clone)]
struct ResNet {
    time: TimeEmbedding,
    first: Conv,
    blocks: Vec<ResBlock>,
    last: Conv,
}

impl ResNet {
    fn new(channels: usize, width: usize, depth: usize) -> Result<(ResNet, Registry), ConfigError> {
        let mut r = Registry::default();
        let time = TimeEmbedding::fourier(&mut r, "time", width, 16.0, Swish);
        let style = Style { time_features: time.width(), ..Style::default() };
        let first = Conv::three(&mut r, "first", channels, width, 1.0);
        let mut block =
            |i| ResBlock::new(&mut r, &format!("blocks.{i}"), [width, width], Resample::Keep, &style);
        let blocks = (0..depth).map(&mut block).collect::<Result<_, _>>()?;
        let last = Conv::three(&mut r, "last", width, channels, 0.0);
        Ok((ResNet { time, first, blocks, last }, r))
    }
}

impl Architecture for ResNet {
    fn name(&self) -> &str {
        "resnet"
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        Some(&self.time)
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> kernels::Result<E::Value> {
        let time = self.time.forward(pass, conditioning)?;
        let mut h = self.first.forward(pass, &x)?;
        for block in &self.blocks {
            h = block.forward(pass, &h, time.as_ref())?;
        }
        h = pass.engine.activation(&h, Swish)?;
        self.last.forward(pass, &h)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        training: Training { batch_size: 32, n_iters: 60, log_freq: 10, ..Training::default() },
        data: Data { image_size: 8.into(), num_channels: 1, centered: true, ..Data::default() },
        // The network is ours; the other keys of the model are those of the process and the moving average.
        model: Model { sigma_max: 10.0, scale_by_sigma: true, ema_rate: 0.9, ..Model::default() },
        optim: Optim { lr: 2e-3, warmup: 10, ..Optim::default() },
        ..Config::default()
    };
    let gpu = Gpu::open(None)?;
    let digits = Dataset::digits(Split::Train)?;
    let model = || -> Result<ScoreModel<ResNet>, ConfigError> {
        let (network, registry) = ResNet::new(config.data.num_channels, 16, 2)?;
        Ok(ScoreModel::of(&config, network, registry))
    };

    let folder = std::env::temp_dir().join(format!("tweedie-own-network-{}", std::process::id()));
    let run = Run::at(&folder);
    let mut losses = Vec::new();
    run.train_model(&gpu, &config, model()?, &digits, RunOptions::default(), &mut |event| {
        if let Event::Row(row) = event {
            println!("step {:2}: loss {:.2}", row.step, row.loss);
            losses.push(row.loss);
        }
        Ok(())
    })?;

    // A configuration cannot build this network, so the program gives it again.
    let checkpoint = Checkpoint::read(&run.latest()?)?;
    assert!(checkpoint.scorer(&gpu, Weights::Ema).is_err());
    let score = checkpoint.scorer_of(&gpu, model()?, Weights::Ema)?;
    std::fs::remove_dir_all(&folder)?;

    println!("a score of {} parameters", score.model.registry.count());
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    if last > 0.7 * first {
        return Err(format!("the loss went from {first} to {last}").into());
    }
    Ok(())
}
