//! Import and export of foreign checkpoints by the program: `../shared/fixtures/score_sde`, and broken or
//! hostile files.

use crate::pickler::Pickler;
use crate::support::{format_1, read_safetensors, relative_error, shared};
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};
use std::process::Command;
use tweedie::train::Checkpoint;

/// The fixtures, and whether their network is supported.
const MODELS: [&str; 3] = ["ncsnpp_ve", "ddpmpp_vp", "ddpm_vp"];

pub fn tweedie() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tweedie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(std::process::Stdio::null());
    command
}

pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that must fail and returns its message, which must be one line.
pub fn refuse(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{command:?}: {text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_string()
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

pub fn import(fixture: &Path, out: &Path) -> Command {
    let mut command = tweedie();
    command.arg("convert").arg(fixture.join("checkpoint.pth")).arg(out);
    command.arg("--config").arg(fixture.join("config.json"));
    command
}

/// The one checkpoint of a run folder.
pub fn checkpoint(run: &Path) -> PathBuf {
    let folder = run.join("checkpoints");
    folder.join(std::fs::read_to_string(folder.join("latest")).expect("a name"))
}

/// A safetensors file of some of a reference's tensors, `name` → `as`.
pub fn excerpt(from: &Path, names: &[(&str, &str)], to: &Path) {
    let all = read_safetensors(&from.to_path_buf());
    let bytes: Vec<Vec<u8>> = names
        .iter()
        .map(|(name, _)| all[*name].values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect())
        .collect();
    let views = names.iter().zip(&bytes).map(|((name, new), bytes)| {
        (*new, TensorView::new(Dtype::F32, all[*name].shape.clone(), bytes).expect("a view"))
    });
    safetensors::serialize_to_file(views, None, to).expect("a file");
}

#[test]
fn a_reference_checkpoint_is_imported_to_the_bit() {
    for name in MODELS {
        let Some(fixture) = shared(&format!("fixtures/score_sde/{name}")) else { return };
        let folder = folder();
        let run = folder.path().join("run");
        succeed(&mut import(&fixture, &run));
        let imported = std::fs::read(checkpoint(&run)).expect("a checkpoint");
        let imported = safetensors::SafeTensors::deserialize(&imported).expect("a checkpoint");
        let weights = std::fs::read(fixture.join("weights.safetensors")).expect("weights");
        let weights = safetensors::SafeTensors::deserialize(&weights).expect("weights");
        let mut compared = 0;
        for (name, view) in weights.tensors() {
            if name.ends_with("sigmas") {
                continue;
            }
            let ours = imported.tensor(&name).unwrap_or_else(|_| panic!("{name} is missing"));
            assert_eq!((ours.shape(), ours.data()), (view.shape(), view.data()), "{name}");
            compared += 1;
        }
        assert!(compared > 100, "{compared}");
    }
}

#[test]
fn the_score_command_gives_the_references_scores_drifts_and_divergences() {
    for name in MODELS {
        let Some(fixture) = shared(&format!("fixtures/score_sde/{name}")) else { return };
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        succeed(&mut import(&fixture, &at("run")));
        let expected = fixture.join("expected.safetensors");
        excerpt(&expected, &[("x", "x"), ("t", "t"), ("eps", "eps")], &at("given.safetensors"));
        excerpt(&expected, &[("x", "x"), ("t", "t")], &at("bare.safetensors"));
        let score = |input: &str, extra: &[&str], out: &str| {
            let mut command = tweedie();
            command.arg("score").arg(at("run")).arg("--in").arg(at(input));
            succeed(command.arg("--out").arg(at(out)).args(extra));
            read_safetensors(&at(out))
        };
        let reference = read_safetensors(&expected);
        let close = |what: &str, actual: &crate::support::Reference, expected: &str, tolerance: f64| {
            let values: Vec<f32> = actual.values.iter().map(|v| *v as f32).collect();
            let error = relative_error(&values, &reference[expected].values);
            assert!(error < tolerance, "{name} {what}: relative error {error:e}");
        };
        let ema = score("given.safetensors", &["--divergence"], "ema.safetensors");
        assert_eq!(ema["score"].shape, reference["x"].shape);
        close("score", &ema["score"], "score_ema", 1e-4);
        close("drift", &ema["drift"], "pf_drift", 1e-3);
        close("divergence", &ema["divergence"], "pf_divergence", 1e-3);
        let raw = score("given.safetensors", &["--weights", "raw"], "raw.safetensors");
        close("raw score", &raw["score"], "score_raw", 1e-4);
        // Random probes estimate the same trace with other values.
        let drawn = score("bare.safetensors", &["--divergence", "--probes", "2"], "drawn.safetensors");
        assert_eq!(drawn["divergence"].shape, [2]);
        assert_ne!(drawn["divergence"].values, ema["divergence"].values);
    }
}

#[test]
fn import_export_and_import_again_change_no_bit_and_training_continues() {
    let Some(fixture) = shared("fixtures/score_sde/ncsnpp_ve") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(&mut import(&fixture, &at("run")));
    // Exported and imported again: the folder, the file in it, and the file with its configuration.
    let there_and_back = |run: &str| {
        let out = at(&format!("{run}-out"));
        succeed(tweedie().arg("convert").arg(at(run)).arg(&out).args(["--to", "safetensors"]));
        let configured = ["--config".into(), out.join("config.toml")];
        let (file, none) = (out.join("model.safetensors"), &[][..]);
        for (i, (source, config)) in
            [(&out, none), (&file, none), (&file, &configured)].into_iter().enumerate()
        {
            let again = at(&format!("{run}-again-{i}"));
            succeed(tweedie().arg("convert").arg(source).arg(&again).args(config));
            let read = |run: &Path| Checkpoint::read(&checkpoint(run)).expect("a checkpoint");
            let (whole, again) = (read(&at(run)), read(&again));
            assert!(whole.state().expect("a state") == again.state().expect("a state"), "{run} {i}");
            assert_eq!(whole.config(), again.config(), "{run} {i}");
        }
    };
    there_and_back("run");
    // Not into the run itself, whose configuration would then be wrong.
    let mut export = tweedie();
    export.arg("convert").arg(at("run")).arg(at("run")).args(["--to", "safetensors"]);
    assert!(refuse(&mut export).contains("config.toml exists already; choose another folder"));

    // The same weights without a checkpoint's header, by name.
    let mut command = tweedie();
    command.arg("convert").arg(fixture.join("weights.safetensors")).arg(at("named"));
    succeed(command.arg("--config").arg(fixture.join("config.json")));
    let state =
        |run: &str| Checkpoint::read(&checkpoint(&at(run))).expect("a checkpoint").state().expect("a state");
    let (whole, named) = (state("run"), state("named"));
    assert_eq!((&whole.raw, &whole.ema, &whole.frozen), (&named.raw, &named.ema, &named.frozen));

    // Continue on 16 × 16 colour images from the checkpoint's step, with its optimiser.
    let pixels: Vec<u8> = (0..8 * 768).map(|i| (i * 37 % 251) as u8).collect();
    let header = [0u8, 0, 8, 4, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 3];
    std::fs::write(at("images.idx"), [&header[..], &pixels].concat()).expect("a file");
    let images = format!("data.images={}", at("images.idx").display());
    let mut command = import(&fixture, &at("more"));
    command.args(["--set", "data.dataset=idx", "--set", &images, "--set", "training.batch_size=2"]);
    command.args(["--set", "training.snapshot_sampling=false"]);
    succeed(&mut command);
    let steps = (whole.step + 2).to_string();
    succeed(tweedie().args(["train", "--resume", "--steps", &steps, "--out"]).arg(at("more")));
    there_and_back("more");
    let trained = Checkpoint::read(&checkpoint(&at("more"))).expect("a checkpoint");
    assert_eq!(trained.step(), whole.step + 2);
    let trained = trained.state().expect("a state");
    assert_ne!(trained.raw, whole.raw);
    let distance: f32 = trained
        .raw
        .iter()
        .flatten()
        .zip(whole.raw.iter().flatten())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    // Two steps of Adam move a weight by little more than two learning rates.
    assert!(distance < 1e-3, "{distance}");
}

#[test]
fn the_optimisers_moments_are_found_by_number_past_the_frozen_frequencies() {
    let text =
        std::fs::read_to_string("configs/digits_ve.toml").expect("a file").replace("nf = 16", "nf = 4");
    let config = tweedie::config::Config::from_toml(&text, &[]).expect("a configuration");
    let registry = tweedie::nn::ScoreModel::build(&config).expect("a model").registry;
    let mut p = Pickler::default();
    let fill = |spec: &tweedie::nn::ParameterSpec, value: f32| vec![value; spec.layout.len()];
    p.pickle.extend(b"\x80\x02}(");
    p.text("model");
    p.pickle.extend(b"}(");
    for spec in registry.frozen.iter().chain(&registry.trainable) {
        p.text(&format!("module.{}", spec.name));
        p.tensor(&spec.layout.file_shape(), &fill(spec, 0.5));
    }
    p.pickle.push(b'u');
    p.text("optimizer");
    p.pickle.extend(b"}(");
    p.text("state");
    p.pickle.extend(b"}(");
    for (i, spec) in registry.trainable.iter().enumerate() {
        p.int(registry.frozen.len() + i);
        p.pickle.extend(b"}(");
        p.text("step");
        p.int(5);
        for (name, value) in [("exp_avg", i as f32), ("exp_avg_sq", 1000.0 + i as f32)] {
            p.text(name);
            p.tensor(&spec.layout.file_shape(), &fill(spec, value));
        }
        p.pickle.push(b'u');
    }
    p.pickle.extend(b"uu");
    p.text("step");
    p.int(7);
    p.pickle.push(b'u');
    let folder = folder();
    let path = folder.path().join("checkpoint.pth");
    std::fs::write(&path, p.archive()).expect("a file");
    let state = tweedie::interop::read_score_sde(&path, &registry).expect("a state").state;
    assert_eq!((state.step, state.updates), (7, 5));
    let [first, second] = state.moments.expect("moments");
    for (i, (m, v)) in first.iter().zip(&second).enumerate() {
        assert!(m.iter().all(|m| *m == i as f32) && v.iter().all(|v| *v == 1000.0 + i as f32), "{i}");
    }
    assert_eq!(state.raw, state.ema);
}

/// Adam's first step is at most the learning rate for every gradient. Without bias correction of zero moments
/// it would be (1 − β₁) / √(1 − β₂) = 3.2 times that.
#[test]
fn training_continues_from_a_model_without_moments_as_from_a_first_step() {
    let (config, registry, state) = crate::support::tiny_with(&["optim.warmup=0", "optim.lr=0.001"]);
    let state = tweedie::nn::State { step: 1234, ..state };
    let gpu = crate::support::gpu();
    let checkpoint =
        Checkpoint::of_state(&state, &registry, &config, Path::new("tiny")).expect("a checkpoint");
    let mut trainer = checkpoint.trainer(gpu, &config).expect("a trainer");
    let images = vec![0.5; trainer.batch_shape().len()];
    trainer.step(&tweedie::data::Batch { images, labels: None }).expect("a step");
    let weights = trainer.scorer.parameters.values.read(&registry).expect("a download");
    let moved = weights.iter().flatten().zip(state.raw.iter().flatten()).map(|(a, b)| (a - b).abs());
    let most = moved.fold(0.0, f32::max);
    assert!((9.9e-4..1.01e-3).contains(&most), "{most}");
    assert_eq!((trainer.step, trainer.updates), (1235, 1));
}

/// The kind of a module of the reference, from its parameters, in the notation of the facts' tables: `Res
/// 128->256`, `Attn 256`, …
fn kind(parts: &[(&str, Vec<usize>)]) -> String {
    let shape = |name: &str| parts.iter().find(|(part, _)| *part == name).map(|(_, shape)| &shape[..]);
    let conv = |shape: &[usize]| format!("{}->{}", shape[1], shape[0]);
    if let Some(norm) = shape("GroupNorm_1.weight") {
        let (c_in, c_out) = (shape("GroupNorm_0.weight").expect("a norm")[0], norm[0]);
        let resamples = c_in == c_out && (shape("Conv_2.weight").is_some());
        return format!("Res{} {c_in}->{c_out}", if resamples { "X" } else { "" });
    }
    if let Some(attention) = shape("GroupNorm_0.weight") {
        return format!("Attn {}", attention[0]);
    }
    if let Some(weight) = shape("Conv2d_0.weight") {
        return format!("PyramidDown {}", conv(weight));
    }
    match (shape("Conv_0.weight"), shape("weight"), shape("W")) {
        (Some(weight), ..) if weight[2] == 1 => format!("Combine {}", conv(weight)),
        (Some(weight), ..) => format!("Resample {}", weight[0]),
        (_, Some(weight), _) => match weight.len() {
            4 => format!("Conv3x3 {}", conv(weight)),
            2 => format!("Linear {}", conv(weight)),
            _ => format!("GN {}", weight[0]),
        },
        (_, _, Some(frequencies)) => format!("GaussianFourier W[{}] (frozen)", frequencies[0]),
        _ => "nothing".into(),
    }
}

#[test]
fn modules_are_numbered_as_in_the_references_tables() {
    let Some(facts) = shared("reference/score_sde_facts.md") else { return };
    let facts = std::fs::read_to_string(facts).expect("the facts");
    for (title, name) in [
        ("ve/cifar10_ncsnpp_continuous", "ve/cifar10_ncsnpp_continuous"),
        ("vp|subvp/cifar10_ddpmpp_continuous", "vp/cifar10_ddpmpp_continuous"),
        ("vp/ddpm/cifar10", "vp/ddpm/cifar10"),
        ("ve/{church,bedroom,ffhq_256,celebahq_256}_ncsnpp_continuous", "ve/church_ncsnpp_continuous"),
        ("ve/{ffhq,celebahq}_ncsnpp_continuous (1024²)", "ve/ffhq_ncsnpp_continuous"),
    ] {
        let line = facts.lines().find_map(|line| line.strip_prefix(&format!("- **{title}** (")));
        let table = line.and_then(|line| line.split_once(" modules): ")).expect(title).1;
        let text = std::fs::read_to_string(format!("configs/{name}.toml")).expect("a file");
        let config = tweedie::config::Config::from_toml(&text, &[]).expect("a configuration");
        let registry = tweedie::nn::ScoreModel::build(&config).expect("a model").registry;
        let specs = || registry.frozen.iter().chain(&registry.trainable);
        for entry in table.split("; ") {
            let (number, expected) = entry.split_once(' ').expect("a number and a module");
            let prefix = format!("all_modules.{number}.");
            let parts: Vec<(&str, Vec<usize>)> = specs()
                .filter_map(|spec| Some((spec.name.strip_prefix(&prefix)?, spec.layout.file_shape())))
                .collect();
            let expected = expected.replace("ResDown", "ResX").replace("ResUp", "ResX");
            let expected = expected.replace("Downsample", "Resample").replace("Upsample", "Resample");
            assert_eq!(kind(&parts), expected, "{name} {number}");
        }
        let modules = table.split("; ").count();
        assert!(specs().all(|spec| {
            let number = spec.name.split('.').nth(1).and_then(|number| number.parse::<usize>().ok());
            number.is_some_and(|number| number < modules)
        }));
    }
}

#[test]
fn checkpoints_of_other_configurations_are_read_to_the_last_tensor() {
    let plain = ["model.resblock_type=biggan", "model.name=ncsnpp", "model.attn_up_each=false"];
    for set in [
        &[
            "model.progressive=output_skip",
            "model.progressive_input=input_skip",
            "model.progressive_combine=cat",
        ][..],
        &["model.progressive=output_skip", "model.progressive_input=input_skip", "data.num_channels=3"],
        &["model.progressive=residual", "model.progressive_input=residual", "model.fir=true"],
        &["model.embedding_type=fourier", "training.continuous=true", "training.sde=vesde"],
        &[
            "model.resblock_type=ddpm",
            "model.resamp_with_conv=false",
            "training.sde=subvpsde",
            "training.continuous=true",
        ],
        &["model.conditional=false", "model.num_groups=4", "model.ch_mult=[1, 1, 2]"],
    ] {
        let all: Vec<&str> = plain.iter().chain(set).copied().collect();
        let (_, registry, state) = crate::support::tiny_with(&all);
        let mut p = Pickler::default();
        p.pickle.extend(b"\x80\x02}(");
        p.text("model");
        p.pickle.extend(b"}(");
        let raw = registry.frozen.iter().zip(&state.frozen).chain(registry.trainable.iter().zip(&state.raw));
        for (spec, values) in raw {
            p.text(&format!("module.{}", spec.name));
            p.tensor(&spec.layout.file_shape(), values);
        }
        p.text("module.sigmas");
        p.tensor(&[2], &[1.0, 0.5]);
        p.pickle.push(b'u');
        p.text("ema");
        p.pickle.extend(b"}(");
        p.text("shadow_params");
        p.pickle.extend(b"](");
        for (spec, values) in registry.trainable.iter().zip(&state.raw) {
            p.tensor(&spec.layout.file_shape(), &values.iter().map(|v| -v).collect::<Vec<f32>>());
        }
        p.pickle.extend(b"euu");
        let read = tweedie::interop::read_score_sde_from(std::io::Cursor::new(p.archive()), &registry);
        let read = read.unwrap_or_else(|e| panic!("{set:?}: {e}")).state;
        assert!(read.raw == state.raw && read.frozen == state.frozen, "{set:?}");
        assert!(read.ema.iter().flatten().zip(state.raw.iter().flatten()).all(|(a, b)| *a == -b), "{set:?}");
    }
}

/// The archive with its pickle changed.
fn repacked(archive: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    use std::io::{Cursor, Read, Write};
    let mut source = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive");
    let mut target = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..source.len() {
        let mut entry = source.by_index(i).expect("an entry");
        let name = entry.name().expect("a name").to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("bytes");
        if name.ends_with("data.pkl") {
            change(&mut bytes);
        }
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        target.start_file(name, stored).expect("an entry");
        target.write_all(&bytes).expect("bytes");
    }
    target.finish().expect("an archive").into_inner()
}

#[test]
fn truncated_or_hostile_files_and_those_of_another_network_are_refused_and_leave_nothing() {
    let Some(fixture) = shared("fixtures/score_sde/ncsnpp_ve") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let convert = |source: &Path, config: &Path| {
        let mut command = tweedie();
        let message = refuse(command.arg("convert").arg(source).arg(at("run")).arg("--config").arg(config));
        assert!(!at("run").exists(), "{message}");
        message
    };
    let config = fixture.join("config.json");
    let whole = std::fs::read(fixture.join("checkpoint.pth")).expect("a checkpoint");
    for len in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(at("cut.pth"), &whole[..len]).expect("a file");
        let message = convert(&at("cut.pth"), &config);
        assert!(
            ["truncated", "empty", "neither"].iter().any(|why| message.contains(why)),
            "{len}: {message}"
        );
    }
    // The pickle's first function name is replaced.
    let hostile = repacked(&whole, |pickle| {
        let from = b"ctorch._utils\n_rebuild_tensor_v2\n";
        let place = pickle.windows(from.len()).position(|window| window == from).expect("a call");
        pickle.splice(place..place + from.len(), *b"cos\nsystem\n");
    });
    std::fs::write(at("hostile.pth"), &hostile).expect("a file");
    let message = convert(&at("hostile.pth"), &config);
    assert!(message.contains("os.system") && message.contains("no code is run"), "{message}");

    let json = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(at("wide.json"), json.replace("\"nf\": 16", "\"nf\": 32")).expect("a file");
    let message = convert(&fixture.join("checkpoint.pth"), &at("wide.json"));
    assert!(message.contains("has shape"), "{message}");
    std::fs::write(at("odd.json"), json.replace("\"nf\": 16", "\"nf\": 16, \"nff\": 3")).expect("a file");
    let message = convert(&fixture.join("checkpoint.pth"), &at("odd.json"));
    assert!(message.contains("nff: unknown key; did you mean nf?"), "{message}");
    std::fs::write(at("model.pkl"), b"\x80\x03}.").expect("a file");
    assert!(convert(&at("model.pkl"), &config).contains("runs code"));
    let message = refuse(tweedie().arg("convert").arg(fixture.join("checkpoint.pth")).arg(at("run")));
    assert!(message.contains("--config is missing"), "{message}");
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let (config, registry, state) = crate::support::tiny();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    Checkpoint::write_state(&state, &registry, &config, &at("broken.safetensors")).expect("a checkpoint");
    let good = std::fs::read(at("broken.safetensors")).expect("a file");
    let broken = format_1(&good, |name, values| {
        if name.starts_with("ema/") {
            values[0] = f32::NAN;
        }
    });
    std::fs::write(at("broken.safetensors"), broken).expect("a file");
    for format in ["safetensors", "diffusers"] {
        let mut command = tweedie();
        command.arg("convert").arg(at("broken.safetensors")).arg(at("out")).args(["--to", format]);
        let message = refuse(&mut command);
        assert!(message.contains("not finite") && !at("out").exists(), "{message}");
    }
}

#[test]
fn points_that_do_not_fit_the_model_are_refused() {
    let Some(fixture) = shared("fixtures/score_sde/ncsnpp_ve") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(&mut import(&fixture, &at("run")));
    let write = |tensors: &[(&str, Vec<usize>, f32)]| {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape, v)| (0..shape.iter().product()).flat_map(|_| v.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view"))
        });
        safetensors::serialize_to_file(views, None, &at("in.safetensors")).expect("a file");
    };
    let x = || ("x", vec![2, 3, 16, 16], 0.5);
    for (tensors, extra, expected) in [
        (vec![x()], "", "no tensor `t`"),
        (vec![("t", vec![2], 0.5)], "", "no tensor `x`"),
        (vec![("x", vec![2, 3, 8, 8], 0.5), ("t", vec![2], 0.5)], "", "the model's are 16x16x3"),
        (vec![x(), ("t", vec![3], 0.5)], "", "one number for each of the 2 samples"),
        (vec![x(), ("t", vec![2], 0.0)], "", "in (0, 1]"),
        (vec![x(), ("t", vec![2], f32::NAN)], "", "not finite"),
        (
            vec![x(), ("t", vec![2], 0.5), ("eps", vec![2, 3, 4, 4], 1.0)],
            "--divergence",
            "has shape [2, 3, 4, 4]",
        ),
    ] {
        write(&tensors);
        let mut command = tweedie();
        command.arg("score").arg(at("run")).arg("--in").arg(at("in.safetensors"));
        command.arg("--out").arg(at("out.safetensors"));
        if !extra.is_empty() {
            command.arg(extra);
        }
        let message = refuse(&mut command);
        assert!(message.contains(expected), "{message}");
        assert!(!at("out.safetensors").exists());
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_program_without_the_hub_says_so() {
    let out = folder().path().join("x.png");
    let message = refuse(tweedie().args(["sample", "hf:owner/tiny", "--out"]).arg(out));
    assert!(message.contains("built without its feature `hub`"), "{message}");
}
