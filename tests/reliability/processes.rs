//! Several processes on one folder, a process that is suspended, and closed or full outputs.

use super::record::Record;
use super::twins::{Twins, WHOLE};
use crate::cli::{refuse, succeed, tweedie};
use crate::cli_runs::{rows, signal, small, wait_for};
use std::process::{Command, Output, Stdio};

pub fn faults(record: &mut Record, twins: &Twins) {
    together(record, twins);
    suspended(record, twins);
    outputs(record);
}

/// One of two processes trains; the other is refused, or comes when all is done.
fn together(record: &mut Record, twins: &Twins) {
    let both = |commands: [Command; 2]| {
        let children = commands.map(|mut command| {
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a start")
        });
        let ends = children.map(|child| child.wait_with_output().expect("an end"));
        let said = |end: &Output| String::from_utf8_lossy(&end.stderr).into_owned();
        let [a, b] = [said(&ends[0]), said(&ends[1])];
        assert!(ends.iter().any(|end| end.status.success()), "{a}, {b}");
        assert!(ends.iter().all(|end| matches!(end.status.code(), Some(0 | 1))), "{a}, {b}");
    };
    record.resume("two that resume at once", || {
        let run = twins.copy();
        both([twins.resume(&run), twins.resume(&run)]);
        twins.is_whole(&run);
    });
    record.resume("two that begin at once", || {
        let run = twins.at("run");
        let _ = std::fs::remove_dir_all(&run);
        both([0, 1].map(|_| {
            let mut command = small(&run, &[]);
            command.args(["--steps", &WHOLE.to_string()]);
            command
        }));
        twins.is_whole(&run);
    });
    record.resume("half-written files of a process that was killed", || {
        let run = twins.copy();
        for name in [".writing-step-00000050.safetensors", "checkpoints/.writing-x.safetensors"] {
            std::fs::write(run.join(name), "half").expect("a file");
        }
        twins.goes_on(&run);
    });
}

/// While a process is suspended a second one is refused, and the first goes on as if nothing had been.
fn suspended(record: &mut Record, twins: &Twins) {
    record.resume("SIGSTOP, a second process, SIGCONT", || {
        let run = twins.at("run");
        let _ = std::fs::remove_dir_all(&run);
        let mut command = small(&run, &[]);
        let mut child = command.args(["--steps", &WHOLE.to_string()]).spawn().expect("a start");
        wait_for(&mut child, || !rows(&run).is_empty());
        signal(&child, "STOP");
        let message = refuse(&mut twins.resume(&run));
        signal(&child, "CONT");
        assert!(child.wait().expect("an end").success());
        assert!(message.contains(&format!("is in use by process {}", child.id())), "{message}");
        twins.is_whole(&run);
    });
}

/// An output that takes nothing is no reason to abort.
fn outputs(record: &mut Record) {
    for line in [
        "sample nothing --out x.png 2>/dev/full",
        "sample nothing --out x.png 2>&-",
        "devices >/dev/full",
        "--help >/dev/full",
    ] {
        record.case(line, || {
            let program = tweedie();
            let program = program.get_program().to_str().expect("text");
            let output = Command::new("sh").args(["-c", &format!("{program} {line}")]).output();
            let Output { status, stderr, .. } = output.expect("a shell");
            assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&stderr));
        });
    }
    record.case("a reader that has read enough", || {
        let run = crate::cli::folder();
        let mut child = small(&run.path().join("run"), &[])
            .args(["--json", "--steps", "20"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a start");
        drop(child.stdout.take());
        child.wait().expect("an end");
        succeed(crate::cli_runs::resume(&run.path().join("run")).args(["--steps", "21"]));
    });
}
