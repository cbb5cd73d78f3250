//! The files of a run folder: the lock, the checkpoints by number, and what is removed.

use super::checkpoint::Checkpoint;
use super::error::file_error;
use super::metrics::Metrics;
use super::run::Run;
use super::{TrainError, Trainer};
use crate::config::{Config, Training};
use crate::files::{sweep, write_whole};
use crate::nn::Architecture;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// A run folder that no other process trains in. The system releases the lock however the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Option<File>,
}

impl Run {
    /// Locks the folder, and removes the half-written files of a process that was killed in it.
    pub(super) fn lock(&self) -> Result<Lock, TrainError> {
        let path = self.folder().join("lock");
        // Through a link, another file would be emptied.
        for path in [&path, &self.checkpoints().join("latest")] {
            if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
                return Err(TrainError::NotPlain { path: path.clone() });
            }
        }
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|e| file_error(&path, e))?;
        match file.try_lock() {
            Ok(()) => {
                // For the message of a second process; the lock is the file's, whatever it says.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                [self.folder().to_path_buf(), self.checkpoints()].iter().for_each(|folder| sweep(folder));
                Ok(Lock { _file: Some(file) })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let known = holder.trim().parse::<u32>().map(|number| format!("process {number}"));
                let holder = known.unwrap_or("another process".into());
                Err(TrainError::InUse { folder: self.folder().to_path_buf(), holder })
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(Lock { _file: None }),
            Err(TryLockError::Error(e)) => Err(file_error(&path, e)),
        }
    }

    /// `checkpoints/`.
    pub(super) fn checkpoints(&self) -> PathBuf {
        self.folder().join("checkpoints")
    }

    /// The steps of which there are samples, the newest first.
    pub(crate) fn pictures(&self) -> Vec<u64> {
        steps_in(&self.folder().join("samples"), "png")
    }

    /// The grid of samples of a step.
    pub(crate) fn samples(&self, step: u64) -> PathBuf {
        self.folder().join("samples").join(format!("step-{step:08}.png"))
    }

    /// The reverse process of some samples of a step.
    pub(crate) fn process(&self, step: u64) -> PathBuf {
        self.folder().join("samples").join(format!("process-{step:08}.png"))
    }

    /// TensorBoard's events of the steps after `step`: TensorBoard reads the files of a folder in the order
    /// of their names.
    pub(crate) fn events(&self, step: u64) -> PathBuf {
        self.folder().join(format!("{EVENTS}{step:010}.tweedie"))
    }

    /// The step that the events of a file come after.
    pub(crate) fn events_after(name: &str) -> Option<u64> {
        name.strip_prefix(EVENTS)?.strip_suffix(".tweedie")?.parse().ok()
    }

    /// `config.toml`.
    pub(super) fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    /// The checkpoint of a step.
    pub(super) fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step:08}.safetensors"))
    }

    /// The steps of which there is a checkpoint, the newest first.
    pub(super) fn steps(&self) -> Vec<u64> {
        steps_in(&self.checkpoints(), "safetensors")
    }

    /// The checkpoint that `checkpoints/latest` names. Only a plain name of a checkpoint counts: a run folder
    /// from somebody else must not choose which file is read.
    pub(super) fn named(&self) -> Option<PathBuf> {
        let name = crate::files::read_to_string(&self.checkpoints().join("latest")).ok()?;
        let path = self.checkpoint(step_of(name.trim(), "safetensors")?);
        Some(path).filter(|path| path.is_file())
    }

    /// Returns true if the folder holds a run or a part of one: its configuration, checkpoints, or rows.
    pub(super) fn exists(&self) -> bool {
        let rows = || Metrics::last_step(&self.metrics()).is_ok_and(|step| step > 0);
        self.config().exists() || !self.steps().is_empty() || rows()
    }

    /// Makes the folder of a run that has no row, no checkpoint and no configuration yet.
    pub(super) fn create(&self) -> Result<Lock, TrainError> {
        let checkpoints = self.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(|e| file_error(&checkpoints, e))?;
        let lock = self.lock()?;
        // Another run may have been begun here meanwhile.
        if self.exists() {
            return Err(TrainError::Exists { folder: self.folder().to_path_buf() });
        }
        Metrics::begin(&self.metrics())?;
        Ok(lock)
    }

    /// Writes `config.toml`.
    pub(super) fn describe(&self, config: &Config) -> Result<(), TrainError> {
        let path = self.config();
        write_whole(&path, config.to_toml().as_bytes()).map_err(|e| file_error(&path, e))
    }

    /// The number of steps that was requested in place of `training.n_iters`; none if that has changed since.
    ///
    /// # Errors
    /// If the file holds no number.
    pub(super) fn remembered(&self, config: &Config) -> Result<Option<u64>, TrainError> {
        let path = self.folder().join("steps");
        let same = |before: Config| before.training.n_iters == config.training.n_iters;
        if !path.exists() || !self.recorded().is_ok_and(same) {
            return Ok(None);
        }
        let text = crate::files::read_to_string(&path).map_err(|e| file_error(&path, e))?;
        text.trim().parse().map(Some).map_err(|_| TrainError::NoNumber { path })
    }

    /// Remembers a number of steps. It is not a part of the configuration, on which the bytes of checkpoints
    /// depend.
    pub(super) fn remember(&self, steps: u64, config: &Config) -> Result<(), TrainError> {
        let path = self.folder().join("steps");
        if steps != config.training.n_iters {
            return write_whole(&path, steps.to_string().as_bytes()).map_err(|e| file_error(&path, e));
        }
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(file_error(&path, e)),
            _ => Ok(()),
        }
    }

    /// Removes the files of a run, its pictures included, for another one in its place.
    pub(super) fn clear(&self) -> Result<(), TrainError> {
        let lock = self.lock()?;
        let checkpoints = self.steps().into_iter().map(|step| self.checkpoint(step));
        let pictures = self.pictures().into_iter().flat_map(|step| [self.samples(step), self.process(step)]);
        let events = std::fs::read_dir(self.folder()).into_iter().flatten().flatten().map(|file| file.path());
        let events = events.filter(|path| path.file_name().is_some_and(is_event_file));
        let files = ["config.toml", "metrics.csv", "steps", "loss.png", "checkpoints/latest"];
        let files = files.map(|name| self.folder().join(name));
        for path in checkpoints.chain(pictures).chain(events).chain(files) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(file_error(&path, e)),
                _ => {}
            }
        }
        drop(lock);
        Ok(())
    }

    /// Writes a checkpoint, names it in `latest`, and removes those that the configuration does not keep.
    pub(super) fn save<A: Architecture>(&self, trainer: &Trainer<A>) -> Result<PathBuf, TrainError> {
        let path = self.checkpoint(trainer.step);
        Checkpoint::write(trainer, &path)?;
        self.point_to(trainer.step)?;
        for step in outdated(&self.steps(), &trainer.config.training) {
            // One that stays does no harm.
            let _ = std::fs::remove_file(self.checkpoint(step));
        }
        Ok(path)
    }

    /// Writes the checkpoint of step 0: a run that begins with other weights than its seed's cannot begin
    /// again without it.
    pub(super) fn save_initial(&self, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.checkpoint(0);
        write_whole(&path, bytes).map_err(|e| file_error(&path, e))?;
        self.point_to(0)
    }

    /// Names the checkpoint of a step in `latest`.
    pub(super) fn point_to(&self, step: u64) -> Result<(), TrainError> {
        let (path, name) = (self.checkpoints().join("latest"), self.checkpoint(step));
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        write_whole(&path, name.as_bytes()).map_err(|e| file_error(&path, e))
    }

    /// Moves a damaged checkpoint aside, so that nothing takes it for the newest.
    pub(super) fn set_aside(&self, damaged: &Path) -> Result<PathBuf, TrainError> {
        let aside = damaged.with_extension("safetensors.damaged");
        std::fs::rename(damaged, &aside).map_err(|e| file_error(damaged, e))?;
        Ok(aside)
    }
}

/// The beginning of the name of an event file.
const EVENTS: &str = "events.out.tfevents.";

fn is_event_file(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| Run::events_after(name).is_some())
}

/// The steps in the names of a folder's files `step-….ending`, the newest first.
fn steps_in(folder: &Path, ending: &str) -> Vec<u64> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let step = |file: std::fs::DirEntry| step_of(&file.file_name().to_string_lossy(), ending);
    let mut steps: Vec<u64> = files.filter_map(step).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    steps
}

/// The step in a name `step-….ending`.
fn step_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?.strip_suffix(ending)?.strip_suffix('.')?;
    digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The steps, newest first, whose checkpoints `keep_last` and `keep_every` do not keep.
fn outdated(steps: &[u64], training: &Training) -> Vec<u64> {
    let Training { keep_last, keep_every, .. } = *training;
    if keep_last == 0 {
        return Vec::new();
    }
    let kept = |step: &&u64| keep_every > 0 && step.is_multiple_of(keep_every);
    steps.iter().skip(keep_last as usize).filter(|step| !kept(step)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(steps: &[u64]) -> (tempfile::TempDir, Run) {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::at(folder.path());
        std::fs::create_dir(run.checkpoints()).unwrap();
        steps.iter().for_each(|step| std::fs::write(run.checkpoint(*step), "").unwrap());
        (folder, run)
    }

    #[test]
    fn checkpoints_are_ordered_by_number_beyond_eight_digits() {
        let (_folder, run) = folder_of(&[99_999_999, 100_000_000, 5]);
        std::fs::write(run.checkpoints().join("step-7.safetensors.damaged"), "").unwrap();
        assert_eq!(run.steps(), [100_000_000, 99_999_999, 5]);
    }

    #[test]
    fn latest_is_the_plain_name_of_a_checkpoint() {
        let (_folder, run) = folder_of(&[5, 9]);
        std::fs::write(run.folder().join("step-00000001.safetensors"), "").unwrap();
        let named = |name: &str| {
            std::fs::write(run.checkpoints().join("latest"), name).unwrap();
            run.named()
        };
        assert_eq!(named("step-00000005.safetensors\n"), Some(run.checkpoint(5)));
        let absolute = run.checkpoint(5).display().to_string();
        for name in ["../step-00000001.safetensors", &absolute, "step-00000007.safetensors", ""] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn the_last_checkpoints_and_every_so_many_steps_are_kept() {
        let steps: Vec<u64> = (1..=10).rev().map(|i| 10 * i).collect();
        let kept = |keep_last, keep_every| {
            let training = Training { keep_last, keep_every, ..Training::default() };
            let gone = outdated(&steps, &training);
            steps.iter().copied().filter(|step| !gone.contains(step)).collect::<Vec<u64>>()
        };
        assert_eq!(kept(0, 0), steps);
        assert_eq!(kept(2, 0), [100, 90]);
        assert_eq!(kept(2, 40), [100, 90, 80, 40]);
    }

    #[test]
    fn a_second_lock_is_refused_with_the_holders_number_until_the_first_is_gone() {
        let (_folder, run) = folder_of(&[]);
        let lock = run.lock().unwrap();
        let refused = run.lock().unwrap_err();
        let own = format!("process {}", std::process::id());
        assert!(matches!(&refused, TrainError::InUse { holder, .. } if *holder == own), "{refused}");
        drop(lock);
        assert!(run.lock().is_ok());
    }
}
