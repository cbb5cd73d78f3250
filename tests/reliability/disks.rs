//! Disks that are full, read-only or limited, and folders that are moved or removed.

use super::record::Record;
use super::twins::{BEGUN, Twins, WHOLE, same};
use crate::cli::{checkpoint, refuse, succeed, tweedie};
use crate::cli_runs::{resume, rows, small, steps, wait_for};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub fn faults(record: &mut Record, twins: &Twins) {
    full(record, twins);
    read_only(record, twins);
    limited(record, twins);
    moved(record, twins);
}

/// A mounted file system, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` if the system lets this process mount nothing.
    fn at(path: &Path, options: &[&str]) -> Option<Mount> {
        let mounted = Command::new("mount").args(options).arg(path).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Mount(path.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Fills a disk but for some bytes and returns the file that does.
fn fill(disk: &Path, room: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut file = std::fs::File::create(&path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().expect("a length").len();
    file.set_len(length.saturating_sub(room)).expect("room");
    path
}

fn full(record: &mut Record, twins: &Twins) {
    let disk = twins.at("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let Some(_mount) = Mount::at(&disk, &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) else {
        record.not_run.push("full disks: this process may not mount one".into());
        return;
    };
    for room in [0, 4096, 16384, 98304] {
        record.resume(&format!("a disk with room for {room} bytes"), || {
            let run = twins.copy_to(&disk.join("run"));
            let filler = fill(&disk, room);
            let message = refuse(&mut twins.resume(&run));
            assert!(message.contains("No space left"), "{message}");
            std::fs::remove_file(filler).expect("a file");
            twins.goes_on(&run);
            std::fs::remove_dir_all(run).expect("a folder");
        });
    }
    let begun = twins.at("begun");
    for (name, more) in [("a.png", &["--steps", "2", "-n", "64"][..]), ("a.npz", &["--steps", "2"])] {
        record.case(&format!("samples on a full disk, {name}"), || {
            let filler = fill(&disk, 0);
            refuse(tweedie().arg("sample").arg(&begun).args(more).arg("--out").arg(disk.join(name)));
            std::fs::remove_file(filler).expect("a file");
            assert_eq!(std::fs::read_dir(&disk).expect("a folder").count(), 0, "something is left");
        });
    }
    record.resume("an import on a full disk", || {
        let filler = fill(&disk, 16384);
        let convert = || {
            let mut command = tweedie();
            command.arg("convert").arg(checkpoint(&begun, BEGUN)).arg(disk.join("run"));
            command
        };
        refuse(&mut convert());
        assert!(!disk.join("run").exists(), "something is left");
        std::fs::remove_file(filler).expect("a file");
        succeed(&mut convert());
        succeed(&mut twins.resume(&disk.join("run")));
        let last = |run: &Path| std::fs::read(checkpoint(run, WHOLE));
        assert!(last(&disk.join("run")).ok() == last(&twins.whole()).ok());
    });
}

fn read_only(record: &mut Record, twins: &Twins) {
    let run = twins.copy();
    // Root writes where it has no permission to; the mount is read-only to everybody.
    let path = run.to_str().expect("text");
    let mount = Mount::at(&run, &["--bind", path]).filter(|_| {
        let options = ["-o", "remount,ro,bind"];
        Command::new("mount").args(options).arg(&run).status().is_ok_and(|status| status.success())
    });
    if mount.is_none() {
        record.not_run.push("a read-only folder: this process may not mount one".into());
        return;
    }
    record.case("samples from a read-only folder", || {
        let out = twins.at("samples.npz");
        succeed(tweedie().arg("sample").arg(&run).args(["-n", "1", "--steps", "2", "--out"]).arg(out));
        refuse(
            tweedie()
                .arg("sample")
                .arg(&run)
                .args(["-n", "1", "--steps", "2", "--out"])
                .arg(run.join("a.png")),
        );
    });
    record.resume("a read-only folder", || {
        let message = refuse(&mut twins.resume(&run));
        assert!(message.contains("Read-only"), "{message}");
        drop(mount);
        twins.goes_on(&run);
    });
}

fn limited(record: &mut Record, twins: &Twins) {
    for blocks in [16, 64] {
        record.resume(&format!("files of at most {blocks} blocks"), || {
            let run = twins.copy();
            let command = twins.resume(&run);
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"]);
            refuse(shell.arg(command.get_program()).args(command.get_args()));
            twins.goes_on(&run);
        });
    }
}

/// A new run that trains, with at least some rows.
fn training(run: &Path) -> Child {
    let mut command = small(run, &[]);
    command.args(["--steps", "100000"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a start");
    wait_for(&mut child, || rows(run).len() > 12);
    child
}

fn fails(child: Child) {
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && !said.contains("should not have happened"), "{said}");
}

fn moved(record: &mut Record, twins: &Twins) {
    let (run, elsewhere) = (twins.at("run"), twins.at("elsewhere"));
    let fresh = || {
        let _ = std::fs::remove_dir_all(&run);
        let _ = std::fs::remove_dir_all(&elsewhere);
    };
    record.resume("a folder that is removed while it trains", || {
        fresh();
        let child = training(&run);
        std::fs::rename(&run, &elsewhere).expect("a folder");
        std::fs::remove_dir_all(&elsewhere).expect("a folder");
        fails(child);
        assert!(!run.exists(), "a half folder is left");
        succeed(small(&run, &[]).args(["--steps", &WHOLE.to_string()]));
        twins.is_whole(&run);
    });
    record.resume("checkpoints that are moved away and back", || {
        let run = twins.copy();
        std::fs::rename(run.join("checkpoints"), &elsewhere).expect("a folder");
        let message = refuse(&mut twins.resume(&run));
        assert!(message.contains("its checkpoints are missing"), "{message}");
        let _ = std::fs::remove_dir(run.join("checkpoints"));
        std::fs::rename(&elsewhere, run.join("checkpoints")).expect("a folder");
        twins.goes_on(&run);
    });
    record.resume("checkpoints that are removed while it trains", || {
        fresh();
        let child = training(&run);
        std::fs::rename(run.join("checkpoints"), &elsewhere).expect("a folder");
        fails(child);
        let _ = std::fs::remove_dir_all(run.join("checkpoints"));
        std::fs::rename(&elsewhere, run.join("checkpoints")).expect("a folder");
        // It was begun for more steps than the whole run has.
        let last = *steps(&run).last().expect("a checkpoint");
        let to = (last + 10).to_string();
        succeed(resume(&run).args(["--steps", &to]));
        succeed(small(&twins.at("longer"), &[]).args(["--steps", &to]));
        same(&run, &twins.at("longer"));
    });
}
