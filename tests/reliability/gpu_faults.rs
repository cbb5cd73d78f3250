//! Vulkan calls that fail while a model trains or samples: a sentence, nothing half-written, and a run that resumes.

use super::record::Record;
use super::twins::{Twins, same};
use crate::cli::{folder, refuse, succeed, trained, tweedie};
use crate::cli_runs::{resume, small};
use crate::gpu_faults::{LOST, NO_MEMORY, faulty, layer};
use std::path::Path;
use std::process::Command;

const NO_HOST_MEMORY: i32 = -1;
const MAP_FAILED: i32 = -5;

/// A kind of call, how many of it succeed first, and what the others return.
type Fault = (&'static str, u32, i32);

const FAULTS: [Fault; 18] = [
    ("submit", 0, LOST),
    ("submit", 3, LOST),
    ("submit", 60, LOST),
    ("submit", 200, LOST),
    ("submit", 60, NO_MEMORY),
    ("submit", 60, NO_HOST_MEMORY),
    ("wait", 0, LOST),
    ("wait", 3, LOST),
    ("wait", 60, LOST),
    ("wait", 30, NO_HOST_MEMORY),
    ("alloc", 0, NO_MEMORY),
    ("alloc", 0, NO_HOST_MEMORY),
    ("alloc", 0, LOST),
    ("map", 0, MAP_FAILED),
    ("pipeline", 0, NO_MEMORY),
    ("pipeline", 5, NO_MEMORY),
    ("pipeline", 5, NO_HOST_MEMORY),
    ("pipeline", 5, LOST),
];

/// Calls that fail once: the program may get over it.
const ONCE: [Fault; 4] =
    [("submit", 12, LOST), ("wait", 12, LOST), ("alloc", 0, NO_MEMORY), ("pipeline", 12, NO_MEMORY)];

pub fn faults(record: &mut Record) {
    let Some(layers) = layer() else {
        record.not_run.push("GPU faults: no C compiler, no header of Vulkan, or another driver".into());
        return;
    };
    let whole = folder();
    succeed(&mut train(&whole.path().join("run")));
    let whole = whole.path().join("run");
    for fault @ (call, after, result) in FAULTS {
        record.resume(&format!("train, {call} {result} after {after}"), || {
            trains(layers.path(), fault, false, &whole);
        });
        // Two samples do not make so many calls.
        if after < 100 {
            record.case(&format!("sample, {call} {result} after {after}"), || samples(layers.path(), fault));
        }
    }
    for fault @ (call, after, result) in ONCE {
        record.resume(&format!("train, {call} {result} once after {after}"), || {
            trains(layers.path(), fault, true, &whole);
        });
    }
    record.resume("after it", || Twins::new().go_on());
}

fn train(run: &Path) -> Command {
    let mut command = small(run, &["training.log_freq=5", "training.snapshot_freq=5"]);
    command.args(["--steps", "30"]);
    command
}

/// Training ends in a sentence, and is begun again or resumed to the bits of an uninterrupted run.
fn trains(layers: &Path, (call, after, result): Fault, once: bool, whole: &Path) {
    let folder = folder();
    let run = folder.path().join("run");
    let mut command = faulty(train(&run), layers, call, after, result);
    if once {
        command.env("FAULT_ONCE", "1");
    }
    let output = command.output().expect("a start");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert!(once, "the fault was not noticed: {said}");
    } else {
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
        assert!(!said.contains("should not have happened"), "{said}");
        let begun = run.join("config.toml").exists();
        succeed(&mut if begun { resume(&run) } else { train(&run) });
    }
    same(&run, whole);
}

fn samples(layers: &Path, (call, after, result): Fault) {
    let folder = folder();
    let out = folder.path().join("samples.png");
    let mut sample = tweedie();
    sample.arg("sample").arg(trained()).args(["-n", "2", "--steps", "60", "--out"]).arg(&out);
    let message = refuse(&mut faulty(sample, layers, call, after, result));
    assert!(!message.contains("should not have happened"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "something is left");
}
