//! SIGKILL at random moments, in training and while it starts, and signals that stop it: each time it is resumed.

use super::record::Record;
use super::twins::same;
use crate::cli::{checkpoint, folder, succeed};
use crate::cli_runs::{resume, rows, small, steps, stops, wait_for, with_default_signals};
use crate::hostile::Dice;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tweedie::train::Checkpoint;

/// Steps between two checkpoints: few, so that many kills hit a checkpoint under way.
const EVERY: u64 = 4;
const SET: [&str; 1] = ["training.snapshot_freq=4"];

pub fn storm(record: &mut Record, kills: u64) {
    let folder = folder();
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    let mut dice = Dice::new(1);
    let (mut seen, mut early) = (BTreeSet::new(), 0);
    for kill in 1..=kills {
        record.case(&format!("kill {kill}"), || {
            early += u64::from(killed(start(&run), &run, &mut dice));
            nothing_is_lost(&run, &mut seen);
        });
    }
    let stopped = [("TERM", 143), ("INT", 130), ("HUP", 129)];
    for (name, status) in stopped {
        record.case(name, || {
            let mut child = start(&run);
            trains(&mut child, &run);
            stops(child, &run, name, status);
            nothing_is_lost(&run, &mut seen);
        });
    }
    let last = (newest(&run) / EVERY + 2) * EVERY;
    record.resume("the end", || {
        succeed(resume(&run).args(["--steps", &last.to_string()]));
        succeed(small(&whole, &SET).args(["--steps", &last.to_string()]));
        same(&run, &whole);
    });
    record.figures = vec![
        format!("{kills} kills, {early} of them while it started"),
        format!("{} other signals", stopped.len()),
        format!("{last} steps, {} checkpoints, each equal to an uninterrupted run's", steps(&whole).len()),
    ];
}

/// Begins the run or resumes it, for more steps than it will make.
fn start(run: &Path) -> Child {
    let begun = run.join("config.toml").exists();
    let train = if begun { resume(run) } else { small(run, &SET) };
    let mut command = with_default_signals(&train);
    command
        .args(["--steps", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start")
}

/// Waits for a step that was not made before.
fn trains(child: &mut Child, run: &Path) {
    let last = || rows(run).last().copied().unwrap_or(0);
    let before = last();
    wait_for(child, || last() > before);
}

/// Kills a process, one in five while it starts; returns true for these.
fn killed(mut child: Child, run: &Path, dice: &mut Dice) -> bool {
    let early = dice.below(5) == 0;
    if !early {
        trains(&mut child, run);
    }
    std::thread::sleep(Duration::from_millis(dice.below(if early { 1500 } else { 1000 }) as u64));
    assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
    child.kill().expect("a signal");
    child.wait().expect("an end");
    early
}

fn newest(run: &Path) -> u64 {
    if run.join("checkpoints").is_dir() { steps(run).last().copied().unwrap_or(0) } else { 0 }
}

/// Every checkpoint that was there still is, and every new one is whole.
fn nothing_is_lost(run: &Path, seen: &mut BTreeSet<u64>) {
    if newest(run) == 0 {
        assert!(seen.is_empty(), "no checkpoint is left");
        return;
    }
    let now: BTreeSet<u64> = steps(run).into_iter().collect();
    for step in now.difference(seen) {
        let checkpoint = Checkpoint::read(&checkpoint(run, *step as u32)).expect("a whole checkpoint");
        assert_eq!(checkpoint.step(), *step);
        checkpoint.state().expect("a whole state");
    }
    assert!(now.is_superset(seen), "checkpoints are gone");
    *seen = now;
}
