//! A long run: resident memory, file handles and threads, as the system counts them.

use super::record::Record;
use super::twins::same_checkpoints;
use crate::cli::{checkpoint, folder, succeed};
use crate::cli_runs::{resume, rows, small, steps};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The growth that is too much.
const BOUND: i64 = 1 << 20;

const SET: [&str; 3] = ["training.log_freq=100", "training.snapshot_freq=500", "training.keep_last=2"];

/// The resources of a process at a step.
#[derive(Debug, Clone, Copy)]
struct Seen {
    step: u64,
    resident: i64,
    handles: usize,
    threads: usize,
}

impl Seen {
    /// `None` if the process has ended.
    fn of(process: u32, run: &Path) -> Option<Seen> {
        let at = format!("/proc/{process}");
        let status = std::fs::read_to_string(format!("{at}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let count = |folder: &str| Some(std::fs::read_dir(format!("{at}/{folder}")).ok()?.count());
        Some(Seen {
            step: rows(run).last().copied().unwrap_or(0),
            resident: 1024 * resident.trim().strip_suffix(" kB")?.parse::<i64>().ok()?,
            handles: count("fd")?,
            threads: count("task")?,
        })
    }
}

pub fn soak(record: &mut Record, length: u64) {
    let folder = folder();
    let run = folder.path().join("run");
    let seen = watch(&run, length);
    // Buffers, pipelines and the plot's memory have been made by then.
    let warm = length / 10;
    let (first, last) = (seen.iter().find(|seen| seen.step >= warm), seen.last());
    let (first, last) = (*first.expect("a look"), *last.expect("a look"));
    let growth = last.resident - first.resident;
    record.case("memory", || assert!(growth < BOUND, "{growth} bytes more from {first:?} to {last:?}"));
    let most = |count: fn(&Seen) -> usize| seen.iter().filter(|seen| seen.step >= warm).map(count).max();
    let (handles, threads) = (most(|seen| seen.handles), most(|seen| seen.threads));
    record.case("handles", || assert!(last.handles <= first.handles, "from {first:?} to {last:?}"));
    record.case("threads", || assert!(last.threads <= first.threads, "from {first:?} to {last:?}"));
    record.figures = vec![
        format!("{length} steps"),
        format!("{:+} KiB from step {} to step {} (bound: 1024 KiB)", growth / 1024, first.step, last.step),
        format!("{:.1} MiB resident at the end", last.resident as f64 / f64::from(1 << 20)),
        format!("at most {} handles and {} threads", handles.unwrap_or(0), threads.unwrap_or(0)),
    ];
    record.resume("the last part of it once more", || repeats(&run, &folder.path().join("again"), length));
}

/// Trains, and looks at the process some times a second.
fn watch(run: &Path, length: u64) -> Vec<Seen> {
    let mut command = small(run, &SET);
    command.args(["--steps", &length.to_string()]).stdout(Stdio::null());
    let mut child = command.spawn().expect("a start");
    let mut seen = Vec::new();
    let status = loop {
        std::thread::sleep(Duration::from_millis(200));
        seen.extend(Seen::of(child.id(), run));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
    };
    assert!(status.success(), "the run failed");
    seen
}

/// Without its newest checkpoint the run goes on from the one before, to the same bits.
fn repeats(run: &Path, again: &Path, length: u64) {
    succeed(std::process::Command::new("cp").arg("-r").arg(run).arg(again));
    let newest = *steps(again).last().expect("a checkpoint");
    assert!(newest == length && steps(again).len() == 2, "{:?}", steps(again));
    std::fs::remove_file(checkpoint(again, newest as u32)).expect("a file");
    succeed(resume(again).args(["--steps", &length.to_string()]));
    same_checkpoints(again, run);
}
