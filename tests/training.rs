//! Training from the library: a program's own images and networks, and the states of a run folder.

use crate::support::gpu;
use tweedie::autodiff::Engine;
use tweedie::config::{Config, Data, Model, Optim, Training};
use tweedie::data::{DataError, Dataset, FloatDataset, Loader, Split};
use tweedie::gpu::{Gpu, Options, choose};
use tweedie::kernels::elementwise::Activation;
use tweedie::nn::{Architecture, Conditioning, Conv, Norm, Pass, Registry, ScoreModel, Style, TimeEmbedding};
use tweedie::train::{Checkpoint, Event, Metrics, Run, RunOptions, TrainError, Trainer, Weights};

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

const RESUME: RunOptions<'static> =
    RunOptions { resume: true, overwrite: false, steps: None, stop: None, init_from: None };

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
fn held_out_losses_change_no_weight_and_are_the_same_after_a_resume() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| Run::at(folder.path().join(name));
    let watch = &mut |_: Event<'_>| Ok(());
    let config = config();
    let evaluated =
        Config { training: Training { eval_freq: 1, ..config.training.clone() }, ..config.clone() };
    run("plain").train(gpu(), &config, RunOptions::default(), watch).expect("trained");
    run("whole").train(gpu(), &evaluated, RunOptions::default(), watch).expect("trained");
    run("broken").train(gpu(), &evaluated, steps(2), watch).expect("begun");
    let four = RunOptions { steps: Some(4), ..RESUME };
    run("broken").train(gpu(), &evaluated, four, watch).expect("resumed");
    let state = |name: &str| {
        Checkpoint::read(&run(name).latest().expect("a checkpoint"))
            .expect("a checkpoint")
            .state()
            .expect("a state")
    };
    let rows = |name: &str| {
        let rows = Metrics::read(&run(name).metrics()).expect("rows");
        rows.iter().map(|row| (row.step, row.held_out_loss, row.held_out_levels)).collect::<Vec<_>>()
    };
    assert!(state("plain") == state("whole") && state("whole") == state("broken"));
    assert_eq!(rows("plain"), [(2, None, [None; 4]), (4, None, [None; 4])]);
    assert_eq!(rows("whole"), rows("broken"));
    assert!(
        rows("whole").iter().all(|(_, loss, levels)| loss.is_some() && levels.iter().all(Option::is_some))
    );
}

#[test]
fn a_batch_in_parts_makes_the_same_step_to_rounding() {
    let digits = Dataset::digits(Split::Train).expect("digits");
    let config = config();
    let model = Model { dropout: 0.1, ..config.model.clone() };
    let trained = |accumulate: usize| {
        let training = Training { accumulate, ..config.training.clone() };
        let config = Config { training, model: model.clone(), ..config.clone() };
        let mut trainer = Trainer::new(gpu(), &config).expect("a trainer");
        let mut loader =
            Loader::new(&digits, &config.data, config.training.batch_size, 42).expect("a loader");
        (0..3).for_each(|step| trainer.step(&loader.batch(step).expect("a batch")).expect("a step"));
        let report = trainer.report().expect("a report").expect("steps");
        (report, trainer.moments[0].flat().read().expect("moments"))
    };
    let (whole, moments) = trained(1);
    // Three parts of eight samples are not equally large.
    for parts in [2, 3, 8] {
        let (report, other) = trained(parts);
        assert!((report.loss / whole.loss - 1.0).abs() < 1e-5, "{} {}", report.loss, whole.loss);
        let square = |sum: f64, v: f64| sum + v * v;
        let norm = moments.iter().map(|v| f64::from(*v)).fold(0.0, square);
        let error = moments.iter().zip(&other).map(|(a, b)| f64::from(a - b)).fold(0.0, square);
        assert!(error > 0.0 && error < 1e-8 * norm, "{parts}: {error} of {norm}");
    }
}

#[test]
fn a_batch_without_room_is_divided_if_the_configuration_says_so() {
    let digits = Dataset::digits(Split::Train).expect("digits");
    let limited = Options { memory: Some(24 << 20), ..Options::default() };
    let gpu = Gpu::with(choose(None).expect("an adapter"), limited).expect("a device");
    let folder = tempfile::tempdir().expect("a folder");
    let train = |fit_memory: bool| {
        let training = Training { batch_size: 256, fit_memory, ..config().training };
        let config = Config { training, ..config() };
        let mut parts = None;
        let mut watch = |event: Event<'_>| {
            if let Event::Divided(number) = event {
                parts = Some(number);
            }
            Ok(())
        };
        let run = Run::at(folder.path().join(fit_memory.to_string()));
        (run.train_on(&gpu, &config, &digits, steps(1), &mut watch), parts)
    };
    let (refused, none) = train(false);
    assert!(matches!(refused, Err(TrainError::Kernel(_))) && none.is_none(), "{refused:?}");
    let (made, parts) = train(true);
    assert!(made.is_ok() && parts.is_some_and(|parts| parts > 1), "{made:?} {parts:?}");
}

#[test]
fn a_run_begins_with_the_weights_of_another_model_and_names_what_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| Run::at(folder.path().join(name));
    run("first").train(gpu(), &config(), RunOptions::default(), &mut |_| Ok(())).expect("trained");
    let source = Checkpoint::read(&run("first").latest().expect("a checkpoint")).expect("a checkpoint");
    let options = RunOptions { steps: Some(2), init_from: Some(&source), ..RunOptions::default() };
    let begin = |name: &str, config: &Config| {
        let (mut taken, mut named) = (0, Vec::new());
        let mut watch = |event: Event<'_>| {
            if let Event::Initialised { taken: number, others } = event {
                (taken, named) = (number, others.to_vec());
            }
            Ok(())
        };
        let result = run(name).train(gpu(), config, options, &mut watch);
        (result, taken, named)
    };
    let (result, _, named) = begin("same", &config());
    assert!(result.is_ok() && named.is_empty(), "{result:?} {named:?}");
    let first = folder.path().join("same/checkpoints/step-00000000.safetensors");
    let state = Checkpoint::read(&first).expect("a checkpoint").state().expect("a state");
    let theirs = source.state().expect("a state");
    assert!(state.raw == theirs.ema && state.ema == theirs.ema && state.frozen == theirs.frozen);
    assert_eq!((state.step, state.moments), (0, theirs.moments.map(|two| two.map(|one| {
        one.into_iter().map(|values| vec![0.0; values.len()]).collect()
    }))));
    // Another number of channels of the images changes the first and the last convolution.
    let data = Data { dataset: "digits_color".into(), num_channels: 3, ..config().data };
    let (result, taken, named) = begin("colour", &Config { data, ..config() });
    assert!(result.is_ok() && taken > 10, "{result:?}");
    assert!((2..=3).contains(&named.len()) && named.iter().all(|name| name.contains(" here")), "{named:?}");
}

#[test]
fn held_out_images_are_not_trained_on_and_must_exist() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| Run::at(folder.path().join(name));
    let digits = Dataset::digits(Split::Train).expect("digits");
    let training = Training { eval_freq: 2, ..config().training };
    let config = Config { training, ..config() };
    let result = run("none").train_on(gpu(), &config, &digits, steps(2), &mut |_| Ok(()));
    assert!(matches!(result, Err(TrainError::NothingHeldOut(None))));
    let held = Config { data: Data { hold_out: 37, ..config.data.clone() }, ..config.clone() };
    let mut numbers = None;
    let mut watch = |event: Event<'_>| {
        if let Event::Start { images, held_out, .. } = event {
            numbers = Some((images, held_out));
        }
        Ok(())
    };
    run("held").train_on(gpu(), &held, &digits, steps(2), &mut watch).expect("trained");
    assert_eq!(numbers, Some((1400, 37)));
    // Another part of the images is another set to train on.
    let other = Config { data: Data { hold_out: 36, ..config.data.clone() }, ..config.clone() };
    let four = RunOptions { steps: Some(4), ..RESUME };
    let result = run("held").train_on(gpu(), &other, &digits, four, &mut |_| Ok(()));
    assert!(matches!(result, Err(TrainError::OtherConfig { key, .. }) if key == "data.hold_out"));
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
