//! Run folders from the command line: stopping, resuming, locks, retention, divergence.

use crate::cli::{checkpoint, folder, refuse, stderr, succeed, train, tweedie};
use crate::support::gpu;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tweedie::config::Config;
use tweedie::data::FloatDataset;
use tweedie::train::{Run, RunOptions, TrainError};

/// A model whose steps take a few milliseconds, with a row for each.
const SMALL: [&str; 5] = [
    "model.ch_mult=[1]",
    "model.attn_resolutions=[]",
    "model.progressive_input=none",
    "training.batch_size=2",
    "training.log_freq=1",
];

pub fn small(run: &Path, set: &[&str]) -> Command {
    train(run, &[&SMALL[..], set].concat())
}

pub fn resume(run: &Path) -> Command {
    let mut command = tweedie();
    command.args(["train", "--resume", "--out"]).arg(run);
    command
}

/// The steps of the rows of a run.
pub fn rows(run: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split(',').next()?.parse().ok()).collect()
}

/// The steps of the checkpoints of a run.
pub fn steps(run: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(run.join("checkpoints")).expect("a folder").flatten();
    let step = |name: String| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
    let mut steps: Vec<u64> = files.filter_map(|file| step(file.file_name().into_string().ok()?)).collect();
    steps.sort_unstable();
    steps
}

pub fn wait_for(child: &mut Child, what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_secs(120), "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Sends a signal to a process that trains: it says so, and no step is lost.
pub fn stops(child: Child, run: &Path, name: &str, status: i32) {
    signal(&child, name);
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(&format!("stopped by SIG{name} at step ")) && said.contains("--resume"), "{said}");
    let last = *rows(run).last().expect("a row");
    assert_eq!(*steps(run).last().expect("a checkpoint"), last);
    assert_eq!(rows(run), (1..=last).collect::<Vec<u64>>());
}

/// The command with the usual effects of signals: `nohup` and the background of a shell make their processes ignore some.
pub fn with_default_signals(command: &Command) -> Command {
    let mut wrapped =
        Command::new(if cfg!(target_os = "linux") { "env".as_ref() } else { command.get_program() });
    if cfg!(target_os = "linux") {
        wrapped.arg("--default-signal=TERM,INT,HUP").arg(command.get_program());
    }
    wrapped.args(command.get_args()).stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    wrapped
}

#[test]
fn a_signal_ends_training_after_a_checkpoint_and_the_run_goes_on_bit_for_bit() {
    let folder = folder();
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    for (name, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let before = rows(&run).len();
        let mut command =
            if before == 0 { small(&run, &["training.snapshot_freq=1000"]) } else { resume(&run) };
        if before == 0 {
            command.args(["--steps", "100000"]);
        }
        let mut child = with_default_signals(&command).stderr(Stdio::piped()).spawn().expect("a start");
        wait_for(&mut child, || rows(&run).len() > before + 3);
        stops(child, &run, name, status);
    }
    let last = *rows(&run).last().expect("a row");
    // The number of steps was remembered; one more step, and as many at once.
    assert_eq!(std::fs::read_to_string(run.join("steps")).expect("a number"), "100000");
    let more = (last + 1).to_string();
    succeed(resume(&run).args(["--steps", &more]));
    succeed(small(&whole, &["training.snapshot_freq=1000"]).args(["--steps", &more]));
    let read = |run: &Path| std::fs::read(checkpoint(run, last as u32 + 1)).expect("a checkpoint");
    assert!(read(&run) == read(&whole));
}

#[test]
fn a_second_process_on_a_run_is_refused() {
    let folder = folder();
    let run = folder.path().join("run");
    let mut child = small(&run, &[]).args(["--steps", "100000"]).spawn().expect("a start");
    wait_for(&mut child, || !rows(&run).is_empty());
    let message = refuse(&mut resume(&run));
    assert!(message.contains(&format!("is in use by process {}", child.id())), "{message}");
    child.kill().expect("a signal");
    child.wait().expect("an end");
    // The system has released the lock, and what the process left half-written is swept.
    std::fs::write(run.join("checkpoints/.writing-x.safetensors"), "half").expect("a file");
    let more = (rows(&run).len() as u64 + 20).to_string();
    succeed(resume(&run).args(["--steps", &more]));
    assert!(!run.join("checkpoints/.writing-x.safetensors").exists());
}

#[test]
fn overwrite_replaces_a_run_and_only_then() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &[]).args(["--steps", "10"]));
    let before = std::fs::read(checkpoint(&run, 10)).expect("a checkpoint");
    // A configuration that cannot run leaves the run as it was.
    refuse(small(&run, &["model.nf=2"]).args(["--overwrite", "--steps", "10"]));
    assert!(std::fs::read(checkpoint(&run, 10)).expect("a checkpoint") == before);
    refuse(resume(&run).arg("--overwrite"));
    succeed(small(&run, &["optim.lr=0.01"]).args(["--overwrite", "--steps", "3"]));
    assert_eq!((steps(&run), rows(&run)), (vec![3], vec![1, 2, 3]));
}

#[test]
fn old_checkpoints_are_removed_but_for_the_last_and_every_so_many_steps() {
    let folder = folder();
    let run = folder.path().join("run");
    let set = ["training.snapshot_freq=2", "training.keep_last=2", "training.keep_every=6"];
    succeed(small(&run, &set).args(["--steps", "16"]));
    assert_eq!(steps(&run), [6, 12, 14, 16]);
    let message = refuse(small(&folder.path().join("x"), &["training.keep_every=6"]).args(["--steps", "1"]));
    assert!(
        message.contains("training.keep_every = 6") && message.contains("training.keep_last"),
        "{message}"
    );
}

#[test]
fn checkpoints_are_written_by_the_clock_as_well() {
    let folder = folder();
    let run = folder.path().join("run");
    let set = ["training.snapshot_freq=1000", "training.snapshot_minutes=1e-9"];
    succeed(small(&run, &set).args(["--steps", "4"]));
    assert_eq!(steps(&run), [1, 2, 3, 4]);
}

#[test]
fn a_run_without_its_checkpoints_does_not_begin_at_0() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &[]).args(["--steps", "20"]));
    let moved = folder.path().join("moved");
    std::fs::rename(run.join("checkpoints"), &moved).expect("a folder");
    let kept = std::fs::read(run.join("metrics.csv")).expect("rows");
    for _ in 0..2 {
        let message = refuse(&mut resume(&run));
        assert!(message.contains("has made 20 steps, and its checkpoints are missing"), "{message}");
        assert!(std::fs::read(run.join("metrics.csv")).expect("rows") == kept);
        // An empty folder is no better.
        std::fs::create_dir_all(run.join("checkpoints")).expect("a folder");
    }
    // Nor without a configuration: the rows are a run's.
    let config = std::fs::read(run.join("config.toml")).expect("a configuration");
    std::fs::remove_file(run.join("config.toml")).expect("a file");
    refuse(&mut resume(&run));
    refuse(small(&run, &[]).args(["--steps", "20"]));
    std::fs::write(run.join("config.toml"), config).expect("a file");
    std::fs::remove_dir(run.join("checkpoints")).expect("a folder");
    std::fs::rename(moved, run.join("checkpoints")).expect("a folder");
    succeed(resume(&run).args(["--steps", "21"]));
}

#[test]
fn a_run_goes_on_without_its_configuration_file() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &[]).args(["--steps", "10"]));
    let before = std::fs::read(checkpoint(&run, 10)).expect("a checkpoint");
    std::fs::remove_file(run.join("config.toml")).expect("a file");
    let message = refuse(small(&run, &[]).args(["--steps", "1"]));
    assert!(message.contains("holds a run already"), "{message}");
    let message = refuse(tweedie().arg("convert").arg(checkpoint(&run, 10)).arg(&run));
    assert!(message.contains("holds a run already"), "{message}");
    succeed(resume(&run).args(["--steps", "12"]));
    assert_eq!(rows(&run), (1..=12).collect::<Vec<u64>>());
    assert!(run.join("config.toml").exists());
    assert!(std::fs::read(checkpoint(&run, 10)).expect("a checkpoint") == before);
}

#[test]
fn another_learning_rate_goes_on_in_another_folder() {
    let folder = folder();
    let (run, new) = (folder.path().join("run"), folder.path().join("new"));
    succeed(small(&run, &[]).args(["--steps", "10"]));
    let message = refuse(resume(&run).args(["--set", "optim.lr=1e-4"]));
    assert!(message.contains("tweedie convert") && message.contains("--set optim.lr="), "{message}");
    succeed(tweedie().arg("convert").arg(checkpoint(&run, 10)).arg(&new).args(["--set", "optim.lr=1e-4"]));
    succeed(resume(&new).args(["--steps", "12"]));
    assert_eq!((steps(&new), rows(&new)), (vec![10, 12], vec![11, 12]));
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let folder = folder();
    let (run, out) = (folder.path().join("run"), folder.path().join("out"));
    succeed(small(&run, &[]).args(["--steps", "10"]));
    // Room for the small files, and none for the checkpoint.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_tweedie")]);
    refuse(limited.arg("convert").arg(checkpoint(&run, 10)).arg(&out));
    assert!(!out.exists());
    succeed(tweedie().arg("convert").arg(checkpoint(&run, 10)).arg(&out));
    // The imported model's checkpoint is missing: a random one does not take its place.
    std::fs::remove_file(checkpoint(&out, 10)).expect("a file");
    let message = refuse(resume(&out).args(["--steps", "20"]));
    assert!(message.contains("its checkpoints are missing"), "{message}");
}

#[test]
fn a_run_is_resumed_with_its_data_wherever_they_are() {
    let folder = folder();
    let (run, at) = (folder.path().join("run"), |name: &str| folder.path().join(name));
    let idx = |name: &str, levels: &dyn Fn(usize) -> u8| {
        let header = [0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 8];
        let pixels: Vec<u8> = (0..12 * 64).map(levels).collect();
        std::fs::write(at(name), [&header[..], &pixels].concat()).expect("a file");
        format!("data.images={}", at(name).display())
    };
    let (a, b) = (idx("a.idx", &|i| (i % 251) as u8), idx("b.idx", &|i| (i % 241) as u8));
    succeed(small(&run, &["data.dataset=idx", &a]).args(["--steps", "3"]));
    let message = refuse(resume(&run).args(["--steps", "4", "--set", &b]));
    assert!(message.contains("was begun on 12 images of 8x8x1 (SHA-256 "), "{message}");
    std::fs::rename(at("a.idx"), at("moved.idx")).expect("a file");
    let moved = format!("data.images={}", at("moved.idx").display());
    succeed(resume(&run).args(["--steps", "4", "--set", &moved]));
    // The new place is remembered.
    succeed(resume(&run).args(["--steps", "5"]));
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_a_lock_is_refused_and_its_target_stays() {
    let folder = folder();
    let (run, other) = (folder.path().join("run"), folder.path().join("other"));
    std::fs::create_dir(&run).expect("a folder");
    std::fs::write(&other, "text").expect("a file");
    std::os::unix::fs::symlink(&other, run.join("lock")).expect("a link");
    let message = refuse(small(&run, &[]).args(["--steps", "1"]));
    assert!(message.contains("lock is no plain file"), "{message}");
    assert_eq!(std::fs::read_to_string(&other).expect("a file"), "text");
}

#[test]
fn a_checkpoint_under_the_name_of_another_step_is_left_out_and_lost_rows_are_named() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &["training.snapshot_freq=2", "training.log_freq=1"]).args(["--steps", "4"]));
    std::fs::copy(checkpoint(&run, 2), checkpoint(&run, 99)).expect("a copy");
    std::fs::write(run.join("checkpoints/latest"), "step-00000099.safetensors").expect("a file");
    let metrics = run.join("metrics.csv");
    let rows = std::fs::read_to_string(&metrics).expect("rows");
    std::fs::write(&metrics, format!("{rows}abc,def\n")).expect("rows");
    let said = stderr(resume(&run).args(["--steps", "5"]));
    assert!(said.contains("it holds step 2, not that of its name"), "{said}");
    assert!(said.contains("training from step 4 to step 5"), "{said}");
    assert!(said.contains("damaged rows were removed, 1 of them"), "{said}");
    assert!(!checkpoint(&run, 99).exists() && checkpoint(&run, 4).exists());
}

#[test]
fn test_images_that_do_not_exist_are_refused_before_training() {
    let folder = folder();
    let run = folder.path().join("run");
    let images = folder.path().join("a.idx");
    let header = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8];
    std::fs::write(&images, [&header[..], &[7; 64]].concat()).expect("a file");
    let set = format!("data.images={}", images.display());
    let message = refuse(&mut small(&run, &["data.dataset=idx", &set, "data.test_images=/nowhere/b.idx"]));
    assert!(message.contains("/nowhere/b.idx") && !run.exists(), "{message}");
}

#[test]
fn numbers_that_are_not_finite_are_never_written() {
    let folder = folder();
    let run = folder.path().join("run");
    // The update of step 3 overflows; the loss and the gradient before it do not show it.
    let set = ["optim.lr=1e38", "optim.warmup=0", "training.snapshot_freq=1"];
    let message = refuse(small(&run, &set).args(["--steps", "5"]));
    assert!(message.contains("training has diverged") && message.contains("not finite"), "{message}");
    for step in steps(&run) {
        let bytes = std::fs::read(checkpoint(&run, step as u32)).expect("a checkpoint");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
        for (name, tensor) in tensors.tensors() {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            assert!(values.iter().all(|v| v.is_finite()), "step {step}: {name}");
        }
    }
}

#[test]
fn a_run_is_not_replaced_by_one_that_diverges_at_once() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &[]).args(["--steps", "3"]));
    let before = std::fs::read(checkpoint(&run, 3)).expect("a checkpoint");
    // Squares of these values are beyond f32.
    let images = FloatDataset::new(vec![3e38; 2 * 64], [2, 8, 8, 1], None).expect("images");
    let text = std::fs::read_to_string(run.join("config.toml")).expect("a configuration");
    let config = Config::from_toml(&text, &[]).expect("a configuration");
    let options = RunOptions { overwrite: true, steps: Some(1), ..RunOptions::default() };
    let result = Run::at(&run).train_on(gpu(), &config, &images, options, &mut |_| Ok(()));
    assert!(matches!(result, Err(TrainError::Diverged { step: 1, .. })));
    assert!(std::fs::read(checkpoint(&run, 3)).expect("a checkpoint") == before);
    assert_eq!(rows(&run), [1, 2, 3]);
}

#[test]
fn pictures_never_end_a_run() {
    let folder = folder();
    let run = folder.path().join("run");
    succeed(small(&run, &[]).args(["--steps", "10"]));
    // A row that a logarithmic axis cannot show, and a folder in the place of the plot.
    let rows = std::fs::read_to_string(run.join("metrics.csv")).expect("rows");
    std::fs::write(
        run.join("metrics.csv"),
        format!("{rows}10,inf,1,1,1,1,1,,,,,\n10,1e-310,1,1,1,1,1,,,,,\n"),
    )
    .expect("rows");
    std::fs::remove_file(run.join("loss.png")).expect("a file");
    std::fs::create_dir(run.join("loss.png")).expect("a folder");
    let impossible =
        ["training.snapshot_sampler=adaptive_sde", "sampling.sde_rtol=1e-30", "sampling.sde_atol=1e-30"];
    let set = [&["training.snapshot_sampling=true"], &impossible[..]].concat();
    let said = stderr(resume(&run).args(["--steps", "20"]).args(set.iter().flat_map(|set| ["--set", set])));
    assert_eq!(said.matches("training continues").count(), 2, "{said}");
    assert_eq!(steps(&run), [10, 20]);
}
