//! The program from the command line: runs of a tiny model, and invalid input.

use crate::support::gpu;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The smallest model with every kind of layer.
const TINY: [&str; 9] = [
    "model.nf=4",
    "model.num_res_blocks=1",
    "model.dropout=0.1",
    "training.batch_size=8",
    "training.snapshot_freq=10",
    "training.log_freq=5",
    "training.snapshot_sampling=false",
    "sampling.steps=5",
    "optim.warmup=0",
];

pub fn tweedie() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tweedie"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

pub fn train(out: &Path, set: &[&str]) -> Command {
    let mut command = tweedie();
    command.args(["train", "configs/digits_ve.toml", "--out"]).arg(out);
    for assignment in TINY.iter().chain(set) {
        command.args(["--set", assignment]);
    }
    command
}

pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// Runs a command that must succeed and returns what it said on standard error.
pub fn stderr(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{command:?}: {text}");
    text
}

/// Runs a command that must fail and returns its message, which must be one line on standard error.
pub fn refuse(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    let text = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(1), "{command:?}: {text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    lines[0].to_string()
}

pub fn checkpoint(run: &Path, step: u32) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A trained run shared by several tests.
pub fn trained() -> &'static Path {
    static RUN: std::sync::OnceLock<(tempfile::TempDir, PathBuf)> = std::sync::OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = folder();
        let run = folder.path().join("run");
        succeed(train(&run, &[]).args(["--steps", "20"]));
        (folder, run)
    });
    run
}

#[test]
fn a_run_killed_in_mid_step_resumes_bit_for_bit() {
    let folder = folder();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    succeed(train(&whole, &[]).args(["--steps", "60"]));

    let mut child = train(&broken, &[]).args(["--steps", "60"]).spawn().expect("the program starts");
    let started = Instant::now();
    while !checkpoint(&broken, 30).exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "training does not get to step 30");
        std::thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL, some steps after the checkpoint.
    std::thread::sleep(Duration::from_millis(20));
    child.kill().expect("a signal");
    child.wait().expect("an end");
    assert!(!checkpoint(&broken, 60).exists(), "it was killed too late");

    let mut resume = tweedie();
    succeed(resume.args(["train", "--resume", "--steps", "60", "--out"]).arg(&broken));
    let read = |run: &Path| std::fs::read(checkpoint(run, 60)).expect("a checkpoint");
    assert!(read(&whole) == read(&broken), "the checkpoints differ");
    // The rows of both runs have the same steps and losses, once each.
    let rows = |run: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(run.join("metrics.csv")).expect("metrics");
        text.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(rows(&whole), rows(&broken));
    let left = std::fs::read_dir(broken.join("checkpoints")).expect("a folder").flatten();
    assert!(left.into_iter().all(|file| !file.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn every_network_trains_and_samples() {
    let refinenet = ["model.nonlinearity=elu", "model.num_res_blocks=0", "model.dropout=0"];
    let discrete = [&refinenet[..], &["training.continuous=false", "model.num_scales=10"]].concat();
    for (name, set) in [
        ("ddpm", &["model.nf=32"][..]),
        ("ncsn", &discrete),
        ("ncsnv2", &discrete),
        ("ncsnv2_128", &refinenet),
        ("ncsnv2_256", &refinenet),
    ] {
        let folder = folder();
        let run = folder.path().join("run");
        let name = format!("model.name={name}");
        let set = [&[name.as_str(), "training.log_freq=1"], set].concat();
        succeed(train(&run, &set).args(["--steps", "3"]));
        let metrics = std::fs::read_to_string(run.join("metrics.csv")).expect("metrics");
        let loss = |row: &str| row.split(',').nth(1).and_then(|loss| loss.parse::<f64>().ok());
        let losses: Vec<Option<f64>> = metrics.lines().skip(1).map(loss).collect();
        assert!(
            losses.len() == 3 && losses.iter().all(|l| l.is_some_and(f64::is_finite)),
            "{name}: {metrics}"
        );
        let out = folder.path().join("samples.npz");
        succeed(tweedie().arg("sample").arg(&run).args(["-n", "2", "--steps", "4", "--out"]).arg(&out));
        assert!(out.exists());
    }
}

#[test]
fn the_configurations_are_in_the_program() {
    let folder = folder();
    let elsewhere = || {
        let mut command = tweedie();
        command.current_dir(folder.path());
        command
    };
    let listed = succeed(elsewhere().arg("configs"));
    assert_eq!(listed.lines().count(), 52);
    assert!(listed.lines().any(|line| line.starts_with("ve/cifar10_ncsnpp_continuous ")), "{listed}");
    let text = std::fs::read_to_string("configs/digits_vp.toml").expect("a configuration");
    assert_eq!(succeed(elsewhere().args(["configs", "digits_vp"])), text);
    let tiny = TINY.iter().flat_map(|set| ["--set", set]);
    succeed(elsewhere().args(["train", "digits_vp", "--out", "run", "--steps", "1"]).args(tiny));
    assert!(folder.path().join("run/config.toml").exists());
    succeed(elsewhere().args(["noise-scales", "--images", "20", "--data", "digits_vp"]));
    let message = refuse(elsewhere().args(["train", "configs/digits_ve.toml", "--out", "other"]));
    assert!(message.contains("`digits_ve` is a configuration in the program"), "{message}");
    let message = refuse(elsewhere().args(["configs", "digits_edn"]));
    assert!(message.contains("did you mean digits_edm?"), "{message}");
}

#[test]
fn a_run_folder_holds_what_the_design_says_and_is_not_overwritten() {
    let run = trained();
    for file in ["config.toml", "metrics.csv", "loss.png", "checkpoints/latest"] {
        assert!(run.join(file).exists(), "{file}");
    }
    assert_eq!(
        std::fs::read_to_string(run.join("checkpoints/latest")).expect("text"),
        "step-00000020.safetensors"
    );
    assert!(checkpoint(run, 10).exists() && checkpoint(run, 20).exists());
    let before = std::fs::read(checkpoint(run, 20)).expect("a checkpoint");
    let message = refuse(&mut train(run, &[]));
    assert!(
        message.contains("holds a run already; add --resume") && message.contains("--overwrite"),
        "{message}"
    );
    assert!(std::fs::read(checkpoint(run, 20)).expect("a checkpoint") == before);
    // A run resumes with the configuration that it started with.
    let message = refuse(train(run, &["optim.lr=0.5"]).arg("--resume"));
    assert!(message.contains("was started with optim.lr = 0.001; resume with that value"), "{message}");
}

#[test]
fn a_run_does_not_go_back_and_survives_a_missing_or_broken_newest_checkpoint() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(train(&run, &[]).args(["--steps", "20"]));
    let resume = |steps: &'static str| {
        let mut command = tweedie();
        command.args(["train", "--resume", "--steps", steps, "--out"]).arg(&run);
        command
    };
    // A row after the checkpoint, as a killed run leaves it, and bytes that are not text: a refusal changes
    // neither.
    let rows = std::fs::read(run.join("metrics.csv")).expect("rows");
    let more = [&rows[..], b"25,1,1,1,1,1,1,,,,,\n\xff\n"].concat();
    std::fs::write(run.join("metrics.csv"), &more).expect("rows");
    let message = refuse(&mut resume("19"));
    assert!(message.contains("--steps 19") && message.contains("has made 20 steps already"), "{message}");
    assert!(std::fs::read(run.join("metrics.csv")).expect("rows") == more);
    succeed(&mut resume("20"));
    assert!(std::fs::read(run.join("metrics.csv")).expect("rows") == rows);
    // Rows of another program are not dropped.
    let others = String::from_utf8(rows.clone()).expect("text").replace(',', ";");
    std::fs::write(run.join("metrics.csv"), &others).expect("rows");
    let message = refuse(&mut resume("21"));
    assert!(message.contains("metrics.csv: it does not begin with the header"), "{message}");
    assert!(std::fs::read(run.join("metrics.csv")).expect("rows") == others.as_bytes());
    std::fs::write(run.join("metrics.csv"), &rows).expect("rows");
    // A run that was killed before its first checkpoint starts again.
    let begun = folder.path().join("begun");
    std::fs::create_dir_all(begun.join("checkpoints")).expect("a folder");
    std::fs::copy(run.join("config.toml"), begun.join("config.toml")).expect("a file");
    succeed(tweedie().args(["train", "--resume", "--steps", "20", "--out"]).arg(&begun));
    let read = |run: &Path| std::fs::read(checkpoint(run, 20)).expect("a checkpoint");
    assert!(read(&begun) == read(&run));
    // `latest` is missing.
    std::fs::remove_file(run.join("checkpoints/latest")).expect("a file");
    let whole = std::fs::read(checkpoint(&run, 20)).expect("a checkpoint");
    succeed(&mut resume("30"));
    assert!(std::fs::read(checkpoint(&run, 20)).expect("a checkpoint") == whole);
    // The newest checkpoint is truncated, or one of its bits has changed: it is moved aside, and training from the
    // previous one leads to the same bytes.
    let newest = std::fs::read(checkpoint(&run, 30)).expect("a checkpoint");
    let mut flipped = newest.clone();
    *flipped.last_mut().expect("a byte") ^= 1;
    for damaged in [&newest[..1000], &flipped] {
        std::fs::write(checkpoint(&run, 30), damaged).expect("a file");
        let message = stderr(&mut resume("30"));
        assert!(message.contains("step-00000030.safetensors.damaged"), "{message}");
        assert!(std::fs::read(checkpoint(&run, 30)).expect("a checkpoint") == newest);
    }
}

/// The program with a file size limit of 0 bytes.
#[cfg(target_os = "linux")]
fn without_room() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_tweedie")]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_is_reported_and_leaves_nothing() {
    let (run, folder) = (trained(), folder());
    // Small enough for an encoder's buffer, which writes only when it is closed.
    for name in ["s.png", "s.npz", "pictures/"] {
        let out = folder.path().join(name);
        let message = refuse(without_room().arg("sample").arg(run).args(["-n", "1", "--out"]).arg(&out));
        assert!(message.contains("cannot be written; free some space there"), "{name}: {message}");
    }
    let pictures = folder.path().join("pictures");
    assert_eq!(std::fs::read_dir(&pictures).expect("a folder").count(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let out = folder.path().join("run");
    let mut command = without_room();
    command.args(["train", "configs/digits_ve.toml", "--out"]).arg(&out).args(["--steps", "1"]);
    let message = refuse(command.args(TINY.iter().flat_map(|set| ["--set", set])));
    assert!(message.contains("metrics.csv: ") && !out.join("config.toml").exists(), "{message}");
}

/// `/dev/full` is a disk that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_a_closed_pipe_is_not() {
    let (run, folder) = (trained(), folder());
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut command = tweedie();
    command.arg("devices").stdout(full());
    assert!(refuse(&mut command).contains("No space left"));
    // Training continues after the reader of its output is gone.
    let out = folder.path().join("run");
    let mut child = train(&out, &["training.log_freq=1"]);
    let mut child = child
        .args(["--steps", "12", "--json"])
        .stdout(Stdio::piped())
        .stderr(full())
        .spawn()
        .expect("a start");
    drop(child.stdout.take());
    assert!(child.wait().expect("an end").success());
    assert!(checkpoint(&out, 12).exists());
    // A folder that cannot be written is refused before sampling.
    let message = refuse(tweedie().arg("sample").arg(run).args(["--out", "/proc/samples.png"]));
    assert!(message.contains("/proc/samples.png cannot be written; choose another path"), "{message}");
}

#[test]
fn an_extension_in_capitals_is_recognised() {
    let (run, folder) = (trained(), folder());
    let out = folder.path().join("S.PNG");
    succeed(tweedie().arg("sample").arg(run).args(["-n", "1", "--out"]).arg(&out));
    assert!(out.is_file());
}

#[test]
fn one_seed_is_one_picture_and_a_sample_is_its_number() {
    let (run, folder) = (trained(), folder());
    let sample = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        succeed(tweedie().arg("sample").arg(run).args(extra).arg("--out").arg(&out));
        std::fs::read(&out).expect("samples")
    };
    let first = sample("a.npz", &["-n", "16"]);
    assert!(first == sample("b.npz", &["-n", "16"]));
    assert!(first != sample("c.npz", &["-n", "16", "--seed", "7"]));
    assert!(first == sample("d.npz", &["-n", "16", "--batch", "5"]), "a sample depends on its batch");

    let values = |name: &str| {
        let file = std::fs::File::open(folder.path().join(name)).expect("a file");
        let mut archive = zip::ZipArchive::new(file).expect("an archive");
        let array = npyz::NpyFile::new(archive.by_name("samples.npy").expect("samples")).expect("an array");
        (array.shape().to_vec(), array.into_vec::<f32>().expect("float32"))
    };
    sample("tail.npz", &["-n", "8", "--first", "8"]);
    let ((shape, whole), (_, tail)) = (values("a.npz"), values("tail.npz"));
    assert_eq!(shape, [16, 8, 8, 1]);
    assert_eq!(whole[whole.len() / 2..], tail);
    assert!(whole.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn samples_are_written_as_a_grid_a_folder_and_an_animation() {
    let (run, folder) = (trained(), folder());
    let at = |name: &str| folder.path().join(name);
    let mut command = tweedie();
    command.arg("sample").arg(run).args(["-n", "6", "--first", "3", "--json", "--out"]).arg(at("grid.png"));
    command.arg("--out").arg(at("pictures")).arg("--animate").arg(at("film.gif"));
    let report: serde_json::Value = serde_json::from_str(&succeed(&mut command)).expect("JSON");
    assert_eq!(report["evaluations"].as_f64(), Some(10.0));
    let grid = image::open(at("grid.png")).expect("a picture");
    // Three columns and two rows of 8 × 8, enlarged four times, with gaps of two.
    assert_eq!((grid.width(), grid.height()), (3 * 66 + 2, 2 * 66 + 2));
    for number in 3..9 {
        let picture = image::open(at("pictures").join(format!("{number:05}.png"))).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (8, 8));
    }
    assert!(std::fs::read(at("film.gif")).expect("a film").starts_with(b"GIF89a"));
}

#[test]
fn a_sampler_is_chosen_with_its_steps_and_reports_its_evaluations() {
    let (run, folder) = (trained(), folder());
    for (args, evaluations) in [
        (vec!["heun", "--steps", "4"], 7.0),
        (vec!["heun"], 35.0),
        (vec!["dpmpp_2m", "--steps", "4", "--schedule", "edm"], 4.0),
        (vec!["dpmpp_3m", "--steps", "4", "--eta", "2"], 4.0),
    ] {
        let mut command = tweedie();
        command.arg("sample").arg(run).args(["-n", "2", "--json", "--out"]).arg(folder.path().join("s.npz"));
        let report: serde_json::Value =
            serde_json::from_str(&succeed(command.arg("--sampler").args(&args))).expect("JSON");
        assert_eq!(report["evaluations"].as_f64(), Some(evaluations), "{args:?}");
    }
}

#[test]
fn predictors_correctors_and_samplers_are_selected_by_name() {
    let (run, folder) = (trained(), folder());
    let report = |args: &[&str]| -> serde_json::Value {
        let mut command = tweedie();
        command.arg("sample").arg(run).args(["-n", "2", "--json", "--out"]).arg(folder.path().join("s.png"));
        serde_json::from_str(&succeed(command.args(args))).expect("JSON")
    };
    // Two evaluations for each of four intervals and one at the end; seven for each of ten trajectories.
    let hmc = ["--predictor", "stochastic_runge_kutta", "--corrector", "hmc", "--corrector-steps", "2"];
    let hmc = report(&hmc);
    assert_eq!(hmc["evaluations"].as_f64(), Some(9.0 + 70.0));
    assert!(hmc["acceptance"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{hmc}");
    let flow = report(&["--predictor", "probability_flow", "--corrector", "ald", "--snr", "0.1"]);
    assert_eq!((flow["evaluations"].as_f64(), flow["acceptance"].as_f64()), (Some(10.0), None));
    let annealed = report(&["--sampler", "ald", "--steps", "4", "--corrector-steps", "3"]);
    assert_eq!(annealed["evaluations"].as_f64(), Some(13.0));
}

#[test]
fn memory_is_flat_from_step_20_to_step_500() {
    let folder = folder();
    let run = folder.path().join("run");
    // llvmpipe copies the immediates of every launch into buffers of 1 MiB, of which two live at most (Mesa 22.3),
    // and glibc, once it has freed such a block, takes the next ones from a heap that it does not give back: 2 to 6
    // MB more in the first 260 steps, by chance. With a fixed threshold each is mapped, and unmapped when freed.
    let mut command = train(&run, &["training.snapshot_freq=100", "training.log_freq=20"]);
    succeed(command.args(["--steps", "500"]).env("MALLOC_MMAP_THRESHOLD_", "131072"));
    let text = std::fs::read_to_string(run.join("metrics.csv")).expect("metrics");
    let column = |i: usize| -> Vec<f64> {
        text.lines()
            .skip(1)
            .map(|line| line.split(',').nth(i).expect("a cell").parse().expect("a number"))
            .collect()
    };
    let (device, process) = (column(5), column(6));
    assert_eq!(device.len(), 25);
    // The samples of the first checkpoint are more than a batch.
    let (before, after) = device.split_at(5);
    assert!(before.iter().all(|bytes| *bytes == before[0]), "{device:?}");
    assert!(after.iter().all(|bytes| *bytes == after[0]) && after[0] < 1.5 * before[0], "{device:?}");
    // With llvmpipe 0.9 to 1.1 MB, most of it at the first checkpoint, and room for one more buffer of the driver;
    // an H100's driver took 10.9 MB up to step 220 (measured without the threshold).
    let most = if gpu().adapter().is_cpu() { 3e6 } else { 24e6 };
    // From the first checkpoint on, whose pictures take more.
    let grown = process[24] - process[5];
    assert!(grown < most, "the process grew by {grown} bytes: {process:?}");
}

#[test]
fn devices_lists_the_adapter_that_is_used() {
    let text = succeed(tweedie().arg("devices"));
    assert!(text.contains("* 0: "), "{text}");
    let list: serde_json::Value =
        serde_json::from_str(&succeed(tweedie().args(["devices", "--json"]))).expect("JSON");
    assert_eq!(list[0]["index"], 0);
    assert_eq!(list[0]["chosen"], true);
    let message = refuse(tweedie().args(["devices", "--adapter", "no such card"]));
    assert!(message.contains("no adapter matches `no such card`") && message.contains("0: "), "{message}");
    let message = refuse(tweedie().arg("devices").env("WGPU_ADAPTER_NAME", "nor this one"));
    assert!(message.contains("nor this one"), "{message}");
    let message = refuse(tweedie().args(["devices", "--adapter", ""]));
    assert!(message.contains("no adapter matches ``"), "{message}");
}

#[test]
fn an_invalid_configuration_is_refused_before_anything_is_written() {
    let folder = folder();
    let out = folder.path().join("run");
    for (set, expected) in [
        ("model.nff=4", "model.nff: unknown key; did you mean nf?"),
        ("model.colour=4", "model.colour: unknown key, expected one of name"),
        ("model.dropuot=0", "model.dropuot: unknown key; did you mean dropout?"),
        ("model.attn_resolution=[4]", "did you mean attn_resolutions?"),
        // Similar to another key, but with another meaning.
        ("sampling.sigma_max=1", "sampling.sigma_max: unknown key, expected one of"),
        ("data.num_classes=10", "data.num_classes: unknown key, expected one of"),
        ("model.beta_1=0.9", "model.beta_1: unknown key, expected one of"),
        ("training=5", "training = 5: it must be a section of keys"),
        ("model.nf=2", "group norm"),
        ("model.nf=150", "group norm"),
        ("model.nf=0", "model.nf = 0: it must be at least 1"),
        ("model.ch_mult=[]", "model.ch_mult = []"),
        ("sampling.sigma_min=100", "sampling.sigma_min = 100.0: the process has noise levels from"),
        ("model.ch_mult=[1, 2, 2, 2, 2]", "data.image_size = 8: model.ch_mult has 5 levels"),
        ("model.attn_resolutions=[5]", "model.attn_resolutions = 5: no level has images of that height"),
        (
            "model.attn_resolutions_up=[4, 2]",
            "model.attn_resolutions_up = 2: no level has images of that height",
        ),
        ("data.image_size=4", "the images of digits are 8x8"),
        ("data.num_channels=3", "the configuration says data.image_size = 8 and data.num_channels = 3"),
        ("data.dataset=lsun", "data.dataset = lsun needs data.path"),
        ("model.sigma_max=0.001", "model.sigma_max = 0.001: it must be a number above model.sigma_min"),
        ("model.dropout=1.0", "model.dropout = 1.0"),
        ("model.nonlinearity=tanh", "model.nonlinearity = tanh: it must be swish, elu, "),
        ("training.continuous=false", "fourier embeds a continuous noise level"),
        ("training.batch_size=many", "training.batch_size = many: it must be a whole number"),
        ("sampling.hmc_leapfrog=0", "sampling.hmc_leapfrog = 0: it must be a whole number from 1 to 1000"),
        ("sampling.ald_eps=-1", "sampling.ald_eps = -1.0: it must be a number from 0 up"),
        ("model", "write it as section.key=value"),
        ("model..nf=4", "write it as section.key=value"),
        ("=4", "write it as section.key=value"),
        (
            "training.batch_size=-1",
            "training.batch_size = -1: it must be a whole number from 0 to 9223372036854775807",
        ),
        ("training.batch_size=1000000000000", "training.batch_size = 1000000000000: it must be at most"),
        ("training.batch_size=4000000000", "a tensor of shape [4000000000, 8, 8, 1]"),
        ("training.n_iters=4294967296", "training.n_iters = 4294967296: it must be at most"),
        (
            "seed=18446744073709551615",
            "seed = 18446744073709551615: it must be a whole number from 0 to 9223372036854775807",
        ),
        ("optim.lr=nan", "optim.lr = NaN: it must be a number from 0 up"),
        ("optim.grad_clip=0", "optim.grad_clip = 0.0"),
        ("sampling.steps=1", "sampling.steps = 1: pc needs at least 2"),
        ("model.sigma_max=nan", "model.sigma_max = NaN"),
        ("model.sigma_max=0.01", "model.sigma_max = 0.01: it must be a number above model.sigma_min"),
        ("model.fourier_scale=inf", "model.fourier_scale = inf: it must be a number above 0"),
        ("model.num_scales=1000000000000", "model.num_scales = 1000000000000"),
        ("model.num_res_blocks=1000000000", "model.num_res_blocks = 1000000000"),
        ("model.ch_mult=[1, 9223372036854775807]", "model.nf times model.ch_mult"),
        ("model.nf=100000", "parameters takes"),
    ] {
        let message = refuse(&mut train(&out, &[set]));
        assert!(message.contains(expected), "{set}: {message}");
        assert!(!out.exists(), "{set} left {} behind", out.display());
    }
    let message = refuse(&mut train(&out, &["sampling.method=ald", "training.sde=vpsde"]));
    assert!(
        message.contains("sampling.method = ald: annealed Langevin dynamics needs training.sde = vesde"),
        "{message}"
    );
    // An error in --set is not reported as an error of the file.
    let message = refuse(&mut train(&out, &["optim.lr=nan"]));
    assert!(message.starts_with("error: optim.lr = NaN: "), "{message}");
    let message = refuse(&mut train(Path::new("Cargo.toml"), &[]));
    assert!(message.contains("Cargo.toml is a file; choose another --out"), "{message}");
    let message = refuse(tweedie().args(["train", "no-such.toml", "--out"]).arg(&out));
    assert!(message.contains("no-such.toml cannot be read"), "{message}");
    let message = refuse(tweedie().args(["train", "--resume", "--out"]).arg(&out));
    assert!(message.contains("there is no run to resume"), "{message}");
}

#[test]
fn a_model_too_large_for_the_device_is_refused_and_leaves_nothing() {
    let folder = folder();
    let out = folder.path().join("run");
    let list: serde_json::Value =
        serde_json::from_str(&succeed(tweedie().args(["devices", "--json"]))).expect("JSON");
    let binding = list[0]["max_binding_bytes"].as_u64().expect("a number");
    // An 8 × 8 image of one channel takes 1,024 bytes with its padding.
    let batch = format!("training.batch_size={}", binding / 1024 + 1);
    let message = refuse(&mut train(&out, &[&batch]));
    assert!(message.contains("a tensor of shape [") && message.contains("smaller batch"), "{message}");
    assert!(!out.exists());
}

#[test]
fn an_error_in_a_configuration_names_its_line() {
    let folder = folder();
    let path = folder.path().join("bad.toml");
    let text = std::fs::read_to_string("configs/digits_ve.toml").expect("a file");
    std::fs::write(&path, text.replace("lr = 1e-3", "lrr = 1e-3")).expect("a file");
    let line = text.lines().position(|line| line.starts_with("lr = ")).expect("a line") + 1;
    let message = refuse(tweedie().arg("train").arg(&path).arg("--out").arg(folder.path().join("run")));
    assert!(message.contains(&format!("line {line}: optim.lrr: unknown key")), "{message}");
}

#[test]
fn idx_files_that_are_missing_cut_or_do_not_match_are_refused() {
    let folder = folder();
    let out = folder.path().join("run");
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits");
    let images = assets.join("train-images-idx3-ubyte.gz");
    let labels = assets.join("test-labels-idx1-ubyte.gz");
    let cut = folder.path().join("cut.gz");
    std::fs::write(&cut, &std::fs::read(&images).expect("a file")[..20_000]).expect("a file");
    let idx = |images: &Path, labels: Option<&Path>| {
        let images = format!("data.images={}", images.display());
        let labels = labels.map(|path| format!("data.labels={}", path.display()));
        let set: Vec<&str> = ["data.dataset=idx", &images].into_iter().chain(labels.as_deref()).collect();
        refuse(&mut train(&out, &set))
    };
    let message = idx(Path::new("no-such-file"), None);
    assert!(
        message.contains("no-such-file: ") && message.contains("name a path that can be read"),
        "{message}"
    );
    let message = idx(&cut, None);
    assert!(message.contains("cut.gz: it is truncated"), "{message}");
    let message = idx(&images, Some(&labels));
    assert!(message.contains("labels of shape [360] do not match the 1437 images"), "{message}");
    let message = idx(folder.path(), None);
    assert!(message.contains("is a folder; data.images and data.labels take IDX files"), "{message}");
    // A header with an impossible count.
    let huge = folder.path().join("huge");
    std::fs::write(&huge, [&[0, 0, 8, 3][..], &[0, 255, 255, 255].repeat(3)].concat()).expect("a file");
    let message = idx(&huge, None);
    assert!(message.contains("more than this machine has memory for"), "{message}");
    assert!(!out.exists());
    // A valid file trains.
    let images = format!("data.images={}", images.display());
    succeed(train(&out, &["data.dataset=idx", &images]).args(["--steps", "2"]));
}

#[test]
fn samples_that_cannot_be_drawn_or_written_are_refused() {
    let (run, folder) = (trained(), folder());
    let sample = |model: &Path, args: &[&str]| refuse(tweedie().arg("sample").arg(model).args(args));
    let out = folder.path().join("s.png");
    let out = out.to_str().expect("a path");
    for (args, expected) in [
        (vec!["--out", out, "-n", "0"], "-n 0: it must be a whole number from 1 to 4294967295"),
        (vec!["--out", out, "--steps", "1"], "--steps 1: pc needs at least 2"),
        (vec!["--out", out, "--snr", "-1"], "--snr -1: it must be a number from 0 up"),
        (vec!["--out", out, "--snr", "-1e-3"], "--snr -0.001"),
        (vec!["--out", out, "--class", "-1"], "was trained without classes"),
        (vec!["--out", "x/s.png", "--out", "./x/s.png"], "x/s.png and ./x/s.png are the same output"),
        (vec!["--out", out, "--trajectory", out], "are the same output; choose different paths"),
        (vec!["--out", "x/", "--trajectory", "x/00000.png"], "are the same output; choose different paths"),
        (vec!["--out", out, "--rtol", "0"], "--rtol 0: it must be a number above 0"),
        (vec!["--out", out, "--sampler", "ode", "--rtol", "1e-300"], "not a number that f32 can hold"),
        (vec!["--out", out, "--atol", "-1"], "--atol -1"),
        (vec!["--out", out, "--churn", "nan"], "--churn"),
        (vec!["--out", out, "--eta", "2.5"], "--eta 2.5: it must be a number from 0 to 2"),
        (
            vec!["--out", out, "--sampler", "ddim", "--steps", "1000000000000"],
            "--steps 1000000000000: it must be a whole number from 1 to 1000000",
        ),
        (vec!["--out", out, "--sampler", "ddim", "--sigma-min", "0"], "--sigma-min 0"),
        (
            vec!["--out", out, "--sampler", "ddim", "--sigma-min", "1e3"],
            "--sigma-min 1000.0: the process has noise levels from",
        ),
        (vec!["--out", out, "--sampler", "pc", "--sigma-min", "0.1"], "--sigma-min"),
        (
            vec!["--out", out, "--predictor", "none", "--corrector", "none"],
            "a sampler needs a predictor or a corrector",
        ),
        (
            vec!["--out", out, "--corrector-steps", "0"],
            "--corrector-steps 0: it must be a whole number from 1 to 65535",
        ),
        (vec!["--out", "samples.jpg"], "written as .png, .npz"),
        (vec!["--out", out, "--animate", "film.mp4"], "ends in .gif"),
        (vec!["--out", "samples.pngg"], "written as .png, .npz"),
        (vec!["--out", "/dev/null"], "/dev/null is not a folder; choose one, or F.png"),
        (vec!["--out", out, "--first", "4294967295", "-n", "2"], "exceed 4294967295"),
        (
            vec!["--out", out, "--seed", "18446744073709551615"],
            "--seed 18446744073709551615: it must be a whole number from 0 to 9223372036854775807",
        ),
        (vec!["--out", "film.gif"], "written as .png, .npz"),
        (vec!["--out", out, "-n", "-3"], "-n -3: it must be a whole number from 1 to 4294967295"),
        (vec!["--out", out, "-n", "4000000000"], "-n 4000000000: the samples take"),
        (
            vec!["--out", out, "--seed", "-1"],
            "--seed -1: it must be a whole number from 0 to 9223372036854775807",
        ),
        (vec!["--out", out, "--batch", "0"], "--batch 0"),
        (vec!["--out", "/dev/null/x/s.png"], "cannot be written; choose another path"),
    ] {
        let message = sample(run, &args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(sample(Path::new("no-such-run"), &["--out", out]).contains("does not exist"));
    assert!(sample(folder.path(), &["--out", out]).contains("holds no checkpoint"));
    let bytes = std::fs::read(checkpoint(run, 20)).expect("a checkpoint");
    for (name, bytes, fault) in [
        ("empty", &bytes[..0], "it is empty"),
        ("header", &bytes[..100], "truncated"),
        ("cut", &bytes[..bytes.len() - 1], "truncated"),
    ] {
        let path = folder.path().join(format!("{name}.safetensors"));
        std::fs::write(&path, bytes).expect("a file");
        let message = sample(&path, &["--out", out]);
        assert!(message.contains(fault), "{name}: {message}");
    }
}

#[test]
fn an_option_that_the_sampler_does_not_read_is_refused() {
    let (run, folder) = (trained(), folder());
    let out = folder.path().join("s.png");
    let refused = |command: &str, args: &[&str]| {
        refuse(tweedie().arg(command).arg(run).args(args).arg("--out").arg(&out))
    };
    // The model's own sampler is pc.
    for (sampler, option, value) in [
        ("pc", "schedule", "edm"),
        ("pc", "rtol", "1e-3"),
        ("pc", "churn", "1"),
        ("ald", "schedule", "time"),
        ("ald", "snr", "0.1"),
        ("ode", "steps", "10"),
        ("ode", "predictor", "none"),
        ("adaptive_sde", "corrector", "none"),
        ("heun", "atol", "1e-3"),
        ("heun", "eta", "1"),
        ("euler", "error-norm", "batch"),
        ("ddim", "corrector-steps", "2"),
        ("dpmpp_3m", "churn", "1"),
    ] {
        let flag = format!("--{option}");
        let expected = format!("{flag}: the sampler {sampler} does not use this option");
        let message = refused("sample", &["--sampler", sampler, &flag, value]);
        assert!(message.contains(&expected), "{sampler}: {message}");
        if sampler == "pc" {
            let known = ["--in", "data:digits:3", "--mask", "left", &flag, value];
            assert!(refused("inpaint", &known).contains(&expected), "inpaint {flag}");
        }
    }
    for (option, value) in [("--snr", "0.3"), ("--corrector-steps", "2")] {
        let message = refused("sample", &["--corrector", "none", option, value]);
        assert!(
            message.contains(&format!("{option}: the corrector none does not use this option")),
            "{message}"
        );
    }
    assert!(!out.exists());
}

#[test]
fn usage_errors_are_one_line() {
    for (args, expected) in [
        (&["smaple"][..], "unknown command smaple; did you mean sample?"),
        (&["sample"], "missing --out <F.png|F.npz|F.csv|DIR>, <MODEL>"),
        (
            &["sample", "runs/digits", "--out", "s.png", "--stepz", "4"],
            "unknown argument --stepz; did you mean --steps?",
        ),
        (
            &["sample", "runs/digits", "--out", "s.png", "--steps", "four"],
            "--steps four: it must be a whole number from 1",
        ),
        (
            &["sample", "runs/digits", "--out", "s.png", "--sampler", "huen"],
            "--sampler huen: it must be pc, ald, euler, heun, stochastic_heun, ddim, ",
        ),
        (
            &["likelihood", "runs/digits", "--exact", "--probes", "2"],
            "--exact and --probes <K> exclude each other",
        ),
        (&["likelihood", "runs/digits", "-n", "-1"], "-n -1: it must be a whole number from 1"),
        (&["bench", "kernels", "--only"], "--only <TEXT> needs a value"),
        (&["noise-scales", "--images", "-1"], "--images -1: it must be a whole number from 0"),
        (&["noise-scales", "--steps-each", "99999999999"], "--steps-each 99999999999: "),
        // An option is not the value of the previous option.
        (&["sample", "runs/digits", "-n", "--out", "s.png"], "-n <N> needs a value"),
        (&["sample", "runs/digits", "--snr", "--out", "s.png"], "--snr <X> needs a value"),
        (
            &["interpolate", "runs/digits", "--seeds", "3", "--out", "s.png"],
            "--seeds <S> <T> needs 2 values, not 1",
        ),
        (&["restore", "runs/digits", "--particles", "--simulate"], "--particles <P> needs a value"),
        (&["interpolate", "runs/digits", "--data", "digits"], "missing "),
    ] {
        let Output { status, stdout, stderr } = tweedie().args(args).output().expect("the program starts");
        let text = String::from_utf8(stderr).expect("text");
        assert!(!status.success() && stdout.is_empty(), "{args:?}: {text}");
        assert!(text.starts_with("error: ") && text.lines().count() == 1, "{args:?}: {text}");
        assert!(text.contains(expected) && text.contains("--help"), "{args:?}: {text}");
        assert!(!text.contains("tip:") && !text.contains("Usage:"), "{args:?}: {text}");
    }
}

/// Writes the first images of a set in the format of `tweedie sample`.
fn write_samples(path: &Path, set: &tweedie::data::Dataset, count: usize) {
    use npyz::WriterBuilder;
    let levels = (0..count).flat_map(|i| set.image(i));
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).expect("a file"));
    archive.start_file("samples.npy", zip::write::SimpleFileOptions::default()).expect("an entry");
    let shape = [count, set.size.height, set.size.width, set.channels].map(|extent| extent as u64);
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut array = options.writer(&mut archive).begin_nd().expect("a header");
    array.extend(levels.map(|level| f32::from(*level) / 255.0)).expect("values");
    array.finish().expect("an array");
    archive.finish().expect("an archive");
}

#[test]
fn copies_are_searched_among_the_training_images_of_every_built_in_data_set() {
    use tweedie::data::{Dataset, Split};
    let folder = folder();
    let path = folder.path().join("train.npz");
    for (name, set) in
        [("digits", Dataset::digits(Split::Train)), ("digits_color", Dataset::digits_color(Split::Train))]
    {
        write_samples(&path, &set.expect("digits"), 20);
        let text = succeed(tweedie().arg("evaluate").arg(&path).args(["--data", name]));
        assert!(text.contains("copies of training images: 20 of 20 samples"), "{name}: {text}");
        let mut command = tweedie();
        command.arg("evaluate").arg(&path).args(["--data", name, "--train", "images.idx"]);
        assert!(refuse(&mut command).contains(&format!("--train: {name} ")), "{name}");
    }
}

/// An array of numbers with an arbitrary `shape` in its header.
pub fn write_array(shape: &str, numbers: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let numbers: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), &numbers].concat()
}

#[test]
fn arrays_with_a_wrong_shape_in_their_header_are_refused() {
    let folder = folder();
    let path = folder.path().join("x.npz");
    let zeros = [0.0; 64];
    for (shape, numbers, holds) in [
        // 2⁶⁴ and more, with last 64 bits 0 or 64.
        ("(4294967296, 4294967296, 1, 1)", &[][..], "it holds 0 numbers"),
        ("(4611686018427387905, 8, 8, 1)", &zeros, "it holds 64 numbers"),
        ("(0, 8, 8, 1)", &[], "is empty, [0, 8, 8, 1]"),
        ("(2, 8, 8, 1)", &zeros, "`samples` holds fewer numbers than its header says"),
        ("(8, 8)", &zeros, "`samples` has 2 axes, not 4"),
        ("(1, 8, 8, 1)", &[255.0; 64], "some values are not in [0, 1]"),
    ] {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).expect("a file"));
        archive.start_file("samples.npy", zip::write::SimpleFileOptions::default()).expect("an entry");
        std::io::Write::write_all(&mut archive, &write_array(shape, numbers)).expect("an array");
        archive.finish().expect("an archive");
        let message = refuse(tweedie().arg("evaluate").arg(&path));
        assert!(message.contains("x.npz") && message.contains(holds), "{shape}: {message}");
        let mut encode = tweedie();
        encode.arg("encode").arg(trained()).arg("--in").arg(&path).arg("--out");
        let message = refuse(encode.arg(folder.path().join("z.safetensors")));
        assert!(message.contains("x.npz") && message.contains(holds), "{shape}: {message}");
    }
}

#[test]
fn real_digits_are_as_far_apart_as_the_reference_measured() {
    // 1,437 training digits against 360 test digits: 0.27.
    let folder = folder();
    let path = folder.path().join("train.npz");
    let set = tweedie::data::Dataset::digits(tweedie::data::Split::Train).expect("digits");
    write_samples(&path, &set, set.len());
    let text = succeed(tweedie().arg("evaluate").arg(&path).arg("--json"));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let distance = report["frechet_distance"].as_f64().expect("a number");
    assert!((distance - 0.27).abs() < 0.005, "{distance}");
    assert_eq!(report["copies"], 1437);
    let message = refuse(tweedie().args(["evaluate", "Cargo.toml"]));
    assert!(message.contains("tweedie sample --out F.npz"), "{message}");
    let message =
        refuse(tweedie().args(["evaluate", "--classifier", "c", "--class", "1", "--data", "digits"]));
    assert!(message.contains("exclude each other"), "{message}");
}

#[test]
fn every_published_noise_scale_of_the_digits_can_be_pasted_into_a_configuration() {
    let text = succeed(tweedie().args(["noise-scales", "--data", "digits"]));
    let lines: toml::Table = text.parse().expect("TOML");
    // The largest distance between two training digits; 64 dimensions need few levels.
    let sigma_max = lines["model"]["sigma_max"].as_float().expect("a number");
    assert!((sigma_max - 4.7996).abs() < 1e-4, "{text}");
    assert!((10..40).contains(&lines["model"]["num_scales"].as_integer().expect("a number")), "{text}");
    let json = succeed(tweedie().args(["noise-scales", "--data", "configs/digits_vp.toml", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // In [−1, 1] distances are twice as large.
    assert!((report["sigma_max"].as_f64().expect("a number") - 2.0 * sigma_max).abs() < 1e-3);
    assert_eq!(report["of"], 1437);
    // Half of one of 24 levels is 0.03.
    assert!((report["overlap"].as_f64().expect("a number") - 0.5668).abs() < 0.03);
    for sigma in ["7", "1e-300", "0", "NaN"] {
        let message = refuse(tweedie().args(["noise-scales", "--sigma-min", sigma]));
        assert!(message.contains(&format!("--sigma-min {sigma}")), "{message}");
    }
    assert!(refuse(tweedie().args(["noise-scales", "--data", "no-such.toml"])).contains("cannot be read"));
}

#[test]
fn the_bound_of_discrete_and_continuous_models_is_reported_term_by_term() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for config in ["configs/digits_ddpm.toml", "configs/digits_vp.toml"] {
        let run = at(if config.ends_with("ddpm.toml") { "ddpm" } else { "vp" });
        let mut command = tweedie();
        command.args(["train", "--config", config, "--steps", "10", "--set", "model.num_scales=30", "--out"]);
        command.arg(&run);
        for assignment in TINY {
            command.args(["--set", assignment]);
        }
        succeed(&mut command);
        let table = at("tables").join("terms.csv");
        let bound = |n: &str| {
            let mut command = tweedie();
            command.arg("bound").arg(&run).args(["--batch", "4", "-n", n]);
            command
        };
        assert!(refuse(bound("6").args(["--terms", "t.png"])).contains("written as .csv"));
        assert!(refuse(&mut bound("361")).contains("-n 361: the data set has only 360 images"));
        let text = succeed(bound("6").arg("--terms").arg(&table));
        assert!(text.contains("the bound") && text.contains("grey levels"), "{text}");
        let report: serde_json::Value =
            serde_json::from_str(&succeed(bound("6").arg("--json"))).expect("JSON");
        let rows: Vec<Vec<f64>> = std::fs::read_to_string(&table)
            .expect("a table")
            .lines()
            .skip(1)
            .map(|line| line.split(',').map(|cell| cell.parse().expect("a number")).collect())
            .collect();
        assert_eq!(rows.len(), 30);
        for (column, bound) in report["bounds"].as_array().expect("two").iter().enumerate() {
            let number = |key: &str| bound[key].as_f64().expect("a number");
            let total = number("prior") + number("steps") + number("decoder");
            assert!((total - number("bits_per_dim")).abs() < 1e-9 && total > 0.0);
            // Rates add up along the reverse chain.
            let spent = number("prior") + rows.iter().map(|row| row[1 + column]).sum::<f64>();
            assert!((spent - total).abs() < 1e-9, "{spent} is not {total}");
            assert!((rows[29][3 + column] + rows[29][1 + column] - total).abs() < 1e-9);
        }
        assert!(refuse(bound("6").args(["--data", "Cargo.toml"])).contains("Cargo.toml"));
        let message = refuse(bound("6").args(["--terms", "/dev/null/x/terms.csv"]));
        assert!(
            message.contains("/dev/null/x/terms.csv cannot be written; choose another path"),
            "{message}"
        );
        assert!(!message.contains(".writing-"), "{message}");
        assert!(refuse(&mut bound("500")).contains("the data set has only 360 images"));
    }
    assert!(refuse(tweedie().arg("bound").arg(trained())).contains("training.sde = vpsde"));
}

#[test]
fn help_teaches_every_subcommand() {
    let of_models = [
        "sample",
        "likelihood",
        "encode",
        "decode",
        "interpolate",
        "inpaint",
        "colorize",
        "restore",
        "bound",
        "score",
    ];
    let others = ["devices", "configs", "train", "evaluate", "noise-scales", "convert", "bench"];
    for subcommand in of_models.into_iter().chain(others) {
        let text = succeed(tweedie().args([subcommand, "--help"]));
        assert!(text.contains("Usage: tweedie"), "{text}");
        let models = ["A run folder", "Hugging Face's layout", "hf:OWNER/NAME[@REVISION]"];
        let told = models.iter().all(|model| text.contains(model));
        assert!(told || others.contains(&subcommand), "{text}");
    }
    let message = succeed(tweedie().arg("--help"));
    assert!(message.contains("tweedie train digits_ve --out runs/digits"), "{message}");
}

/// The keys of every line of JSON.
fn keys(lines: &str) -> Vec<String> {
    let line =
        |line: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).expect("JSON");
    lines.lines().flat_map(|text| line(text).into_iter().map(|(key, _)| key)).collect()
}

#[test]
fn help_names_the_keys_of_json_lines() {
    let folder = folder();
    let trained = train(&folder.path().join("run"), &[]).args(["--steps", "5", "--json"]).output();
    let trained = String::from_utf8(trained.expect("the program starts").stdout).expect("text");
    let bench = |args: &[&str]| succeed(tweedie().arg("bench").args(args).arg("--json"));
    for (command, lines) in [
        (&["train"][..], trained),
        (&["bench", "roofline"], bench(&["roofline"])),
        (&["bench", "kernels"], bench(&["kernels", "--only", "embedding"])),
    ] {
        let (help, keys) = (succeed(tweedie().args(command).arg("--help")), keys(&lines));
        assert!(!keys.is_empty(), "{command:?}");
        for key in keys {
            assert!(help.contains(&format!("`{key}`")), "{command:?} does not tell of `{key}`: {help}");
        }
    }
}

#[test]
fn bench_measures_the_ceilings_and_kernels() {
    let text = succeed(tweedie().args(["bench", "roofline", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(report["gflops"].as_f64().is_some_and(|v| v > 0.1));
    assert!(report["gbps"].as_f64().is_some_and(|v| v > 0.1));
    let text = succeed(tweedie().args(["bench", "kernels", "--only", "embedding", "--json"]));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(refuse(tweedie().args(["bench", "kernels", "--only", "nothing"])).contains("no case contains"));
}
