//! Two runs of one configuration: one that was begun, to be hurt and resumed, and one that nothing interrupts.

use crate::cli::{checkpoint, folder, succeed};
use crate::cli_runs::{resume, small, steps};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const BEGUN: u32 = 40;
pub const WHOLE: u32 = 60;

/// A run of 40 steps and one of 60, with a checkpoint every 10.
pub struct Twins {
    folder: tempfile::TempDir,
}

impl Twins {
    pub fn new() -> Twins {
        let twins = Twins { folder: folder() };
        succeed(small(&twins.at("begun"), &[]).args(["--steps", &BEGUN.to_string()]));
        succeed(small(&twins.whole(), &[]).args(["--steps", &WHOLE.to_string()]));
        twins
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn whole(&self) -> PathBuf {
        self.at("whole")
    }

    /// A copy of the run of 40 steps in the place of the one before.
    pub fn copy(&self) -> PathBuf {
        let _ = std::fs::remove_dir_all(self.at("run"));
        self.copy_to(&self.at("run"))
    }

    pub fn copy_to(&self, run: &Path) -> PathBuf {
        succeed(Command::new("cp").arg("-r").arg(self.at("begun")).arg(run));
        run.to_path_buf()
    }

    /// `train --resume` to the whole run's last step.
    pub fn resume(&self, run: &Path) -> Command {
        let mut command = resume(run);
        command.args(["--steps", &WHOLE.to_string()]);
        command
    }

    /// The run is resumed and is then the whole one to the bit.
    pub fn goes_on(&self, run: &Path) {
        succeed(&mut self.resume(run));
        self.is_whole(run);
    }

    pub fn is_whole(&self, run: &Path) {
        same(run, &self.whole());
    }

    /// An untouched copy goes on.
    pub fn go_on(&self) {
        self.goes_on(&self.copy());
    }
}

/// Two runs have the same checkpoints to the bit and the same rows, once each; nothing half-written is left.
pub fn same(run: &Path, whole: &Path) {
    same_checkpoints(run, whole);
    assert!(losses(run) == losses(whole), "the rows differ");
}

/// The same without the rows.
pub fn same_checkpoints(run: &Path, whole: &Path) {
    for step in steps(whole) {
        let read = |run: &Path| std::fs::read(checkpoint(run, step as u32));
        assert!(read(run).ok() == read(whole).ok(), "the checkpoint of step {step} is lost or differs");
    }
    for folder in [run.to_path_buf(), run.join("checkpoints")] {
        for file in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with('.'), "{name} is left in {}", folder.display());
        }
    }
}

/// The step, loss, norm and learning rate of each row; the other columns are the machine's.
fn losses(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.csv")).expect("metrics");
    text.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect()
}
