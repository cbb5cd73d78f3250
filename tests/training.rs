//! Training from the library: a program's own images and networks, and the states of a run folder.

use crate::support::gpu;
use tweedie::autodiff::Engine;
use tweedie::config::{Config, Data, Model, Optim, Training};
use tweedie::data::{DataError, Dataset, FloatDataset, Split};
use tweedie::kernels::elementwise::Activation;
use tweedie::nn::{Architecture, Conditioning, Conv, Norm, Pass, Registry, ScoreModel, Style, TimeEmbedding};
use tweedie::train::{Checkpoint, Event, Run, RunOptions, TrainError, Trainer, Weights};

/// A network small enough to train in a test.
fn config() -> Config {
    Config {
        training: Training {
            batch_size: 8,
            n_iters: 4,
            snapshot_freq: 2,
            log_freq: 2,
            ..Training::default()
        },
        data: Data { dataset: "digits".into(), image_size: 8.into(), num_channels: 1, ..Data::default() },
        model: Model {
            nf: 8,
            ch_mult: vec![1, 2],
            num_res_blocks: 1,
            attn_resolutions: Vec::new(),
            ..Model::default()
        },
        optim: Optim { warmup: 2, ..Optim::default() },
        ..Config::default()
    }
}

fn steps(steps: u64) -> RunOptions<'static> {
    RunOptions { steps: Some(steps), ..RunOptions::default() }
}

const RESUME: RunOptions<'static> = RunOptions { resume: true, overwrite: false, steps: None, stop: None };

#[test]
fn images_that_the_program_gives_train_the_same_weights_and_resume_only_with_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| Run::at(folder.path().join(name));
    let digits = Dataset::digits(Split::Train).expect("digits");
    let (config, watch) = (config(), &mut |_: Event<'_>| Ok(()));
    run("named").train(gpu(), &config, RunOptions::default(), watch).expect("trained");
    run("given").train_on(gpu(), &config, &digits, steps(2), watch).expect("begun");
    // The two steps are remembered.
    run("given").train_on(gpu(), &config, &digits, RESUME, watch).expect("nothing to do");
    let four = RunOptions { steps: Some(4), ..RESUME };
    run("given").train_on(gpu(), &config, &digits, four, watch).expect("resumed");
    let read =
        |name: &str| Checkpoint::read(&run(name).latest().expect("a checkpoint")).expect("a checkpoint");
    let (named, given) = (read("named"), read("given"));
    assert_eq!((named.step(), given.step()), (4, 4));
    assert!(named.state().expect("a state") == given.state().expect("a state"));

    assert_eq!(given.config().data.dataset, Data::GIVEN);
    let written =
        std::fs::read_to_string(run("given").folder().join("config.toml")).expect("a configuration");
    let written = Config::from_toml(&written, &[]).expect("a configuration");
    let more = RunOptions { steps: Some(6), ..RESUME };
    let refused = run("given").train(gpu(), &written, more, watch);
    assert!(matches!(refused, Err(TrainError::Data(DataError::Mismatch(what))) if what.contains("given")));
    let refused = run("given").train(gpu(), &config, more, watch);
    assert!(matches!(refused, Err(TrainError::OtherConfig { key, .. }) if key == "data.dataset"));
}

#[test]
fn a_run_folder_says_which_state_it_is_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::at(folder.path().join("run"));
    let data = FloatDataset::new(vec![0.5; 16 * 64], [16, 8, 8, 1], None).expect("images");
    let config = config();
    let train = |config: &Config, options| run.train_on(gpu(), config, &data, options, &mut |_| Ok(()));
    assert!(matches!(train(&config, RESUME), Err(TrainError::NothingToResume { .. })));
    assert!(matches!(train(&config, steps(0)), Err(TrainError::NoSteps)));
    assert!(matches!(run.latest(), Err(TrainError::NoCheckpoint { .. })));
    train(&config, steps(2)).expect("trained");
    assert!(matches!(train(&config, steps(4)), Err(TrainError::Exists { .. })));
    let behind = train(&config, RunOptions { steps: Some(1), ..RESUME });
    assert!(matches!(behind, Err(TrainError::Behind { requested: 1, made: 2, .. })));
    let other = Config { optim: Optim { lr: 0.5, ..config.optim.clone() }, ..config.clone() };
    assert!(
        matches!(train(&other, RESUME), Err(TrainError::OtherConfig { key, value, .. }) if key == "optim.lr" && value == "0.0002")
    );
    let larger = Config { data: Data { image_size: 16.into(), ..config.data.clone() }, ..config.clone() };
    assert!(matches!(train(&larger, RESUME), Err(TrainError::Data(DataError::Mismatch(_)))));
    let checkpoint = Checkpoint::read(&run.latest().expect("a checkpoint")).expect("a checkpoint");
    assert!(checkpoint.scorer(gpu(), Weights::Ema).is_ok());
}

#[test]
fn an_error_of_the_watching_function_stops_training() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::at(folder.path().join("run"));
    let result = run.train(gpu(), &config(), RunOptions::default(), &mut |event| match event {
        Event::Step(2) => Err(TrainError::Watch("enough".into())),
        _ => Ok(()),
    });
    assert_eq!(result.expect_err("stopped").to_string(), "enough");
}

/// A convolution, a norm and a convolution, with an embedding of the noise level.
#[derive(Clone)]
struct Small {
    name: &'static str,
    classes: usize,
    time: TimeEmbedding,
    first: Conv,
    shift: Conv,
    norm: Norm,
    last: Conv,
}

fn small(config: &Config, name: &'static str, width: usize, classes: usize) -> ScoreModel<Small> {
    let mut r = Registry::default();
    let time = TimeEmbedding::fourier(&mut r, "time", 4, 16.0, Activation::Swish);
    let network = Small {
        name,
        classes,
        first: Conv::three(&mut r, "first", 1, width, 1.0),
        shift: Conv::dense(&mut r, "shift", time.width(), width),
        norm: Norm::new(&mut r, "norm", width, &Style::default(), Activation::Swish).expect("groups"),
        last: Conv::three(&mut r, "last", width, 1, 1.0),
        time,
    };
    ScoreModel::of(config, network, r)
}

impl Architecture for Small {
    fn name(&self) -> &str {
        self.name
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        Some(&self.time)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> tweedie::kernels::Result<E::Value> {
        let mut h = self.first.forward(pass, &x)?;
        if let Some(time) = self.time.forward(pass, conditioning)? {
            let shift = self.shift.forward(pass, &time)?;
            h = pass.engine.add_channels(&h, &shift)?;
        }
        h = self.norm.forward(pass, &h)?;
        self.last.forward(pass, &h)
    }
}

#[test]
fn a_network_of_the_programs_trains_resumes_and_opens_with_the_same_network_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let digits = Dataset::digits(Split::Train).expect("digits");
    let config = Config { optim: Optim { lr: 1e-2, warmup: 0, ..Optim::default() }, ..config() };
    let train = |name: &str, options| {
        let run = Run::at(folder.path().join(name));
        let model = small(&config, "small", 16, 0);
        let mut losses = Vec::new();
        run.train_model(gpu(), &config, model, &digits, options, &mut |event| {
            if let Event::Row(row) = event {
                losses.push(row.loss);
            }
            Ok(())
        })
        .expect("trained");
        (Checkpoint::read(&run.latest().expect("a checkpoint")).expect("a checkpoint"), losses)
    };
    let (whole, losses) = train("whole", steps(40));
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
    train("parts", steps(20));
    let (parts, _) = train("parts", RunOptions { steps: Some(40), ..RESUME });

    let open = |checkpoint: &Checkpoint, model| checkpoint.scorer_of(gpu(), model, Weights::Raw);
    let read = |checkpoint| {
        let scorer = open(checkpoint, small(&config, "small", 16, 0)).expect("a scorer");
        scorer.parameters.values.read(&scorer.model.registry).expect("a download")
    };
    assert!(read(&whole) == read(&parts));

    assert_eq!(whole.network(), Some("small"));
    let refused = whole.scorer(gpu(), Weights::Raw);
    assert!(matches!(refused, Err(TrainError::Config(error)) if error.to_string().contains("model.name")));
    for other in [small(&config, "other", 16, 0), small(&config, "small", 8, 0)] {
        assert!(matches!(open(&whole, other), Err(TrainError::Checkpoint { .. })));
    }
    // Another network or another process cannot resume the run, and its checkpoints stay where they are.
    let run = Run::at(folder.path().join("parts"));
    let files = || {
        let files = std::fs::read_dir(run.folder().join("checkpoints")).expect("a folder").flatten();
        let mut names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    let before = files();
    let process = std::sync::Arc::new(tweedie::sde::SubVp { beta_min: 0.1, beta_max: 20.0 });
    for other in [
        small(&config, "other", 16, 0),
        small(&config, "small", 8, 0),
        small(&config, "small", 16, 0).with_process(process).expect("a model"),
    ] {
        let refused = run.train_model(gpu(), &config, other, &digits, RESUME, &mut |_| Ok(()));
        assert!(matches!(refused, Err(TrainError::Checkpoint { .. })), "{:?}", refused.err());
        assert_eq!(files(), before);
    }
    let classes = Trainer::of(gpu(), &config, small(&config, "small", 16, 10));
    assert!(matches!(classes, Err(TrainError::Config(error)) if error.to_string().contains("num_classes")));
}
