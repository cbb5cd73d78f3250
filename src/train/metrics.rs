//! The rows of `metrics.csv`.

use super::TrainError;
use super::error::file_error;
use crate::files::write_whole;
use std::io::Write;
use std::path::Path;

/// One row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Steps made.
    pub step: u64,
    /// The loss, averaged since the last row.
    pub loss: f64,
    /// The last gradient's norm before clipping.
    pub grad_norm: f64,
    /// The last step's learning rate.
    pub learning_rate: f64,
    /// Images per second since the last row.
    pub images_per_second: f64,
    /// Bytes allocated on the device.
    pub device_bytes: u64,
    /// Resident memory of this process in bytes.
    pub process_bytes: u64,
}

impl Metrics {
    const HEADER: &str = "step,loss,grad_norm,learning_rate,images_per_second,device_bytes,process_bytes\n";

    fn line(&self) -> String {
        let Metrics { step, loss, grad_norm, learning_rate, images_per_second, device_bytes, process_bytes } =
            self;
        format!(
            "{step},{loss},{grad_norm},{learning_rate},{images_per_second:.2},{device_bytes},{process_bytes}\n"
        )
    }

    /// Begins a file without rows.
    pub(super) fn begin(path: &Path) -> Result<(), TrainError> {
        write_whole(path, Metrics::HEADER.as_bytes()).map_err(|e| file_error(path, e))
    }

    /// Appends the row to a file.
    pub(super) fn append(&self, path: &Path) -> Result<(), TrainError> {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(self.line().as_bytes())).map_err(|e| file_error(path, e))
    }

    /// Removes the rows after `step`, which a resumed run makes again. Returns the fault if other rows are missing or are none.
    pub(super) fn keep_until(path: &Path, step: u64) -> Result<Option<String>, TrainError> {
        let text = read(path)?;
        let kept = Metrics::kept(&text, step).ok_or_else(|| TrainError::Rows { path: path.to_path_buf() })?;
        write_whole(path, kept.as_bytes()).map_err(|e| file_error(path, e))?;
        let others = text.lines().skip(1).filter(|line| !is_row(line)).count();
        Ok(match others {
            0 if text.is_empty() && step > 0 => Some("it was missing and begins again".into()),
            0 => None,
            others => Some(format!("damaged rows were removed, {others} of them")),
        })
    }

    /// The text of a file without the rows after `step`; nothing if it is another file's.
    pub(crate) fn kept(text: &str, step: u64) -> Option<String> {
        if !text.is_empty() && !text.starts_with(Metrics::HEADER) {
            return None;
        }
        let before = |line: &&str| is_row(line) && step_of(line).is_some_and(|made| made <= step);
        let kept = text.lines().skip(1).filter(before);
        Some(Metrics::HEADER.to_string() + &kept.map(|line| format!("{line}\n")).collect::<String>())
    }

    /// The step of a file's last row; 0 if there is none.
    pub(super) fn last_step(path: &Path) -> Result<u64, TrainError> {
        Ok(Metrics::last_step_of(&read(path)?))
    }

    /// The step of a text's last row; 0 if there is none.
    pub(crate) fn last_step_of(text: &str) -> u64 {
        text.lines().filter_map(step_of).max().unwrap_or(0)
    }
}

/// Returns true if a line is a whole row: a full disk may have cut one off.
fn is_row(line: &str) -> bool {
    line.split(',').count() == Metrics::HEADER.split(',').count() && step_of(line).is_some()
}

fn step_of(line: &str) -> Option<u64> {
    line.split(',').next()?.parse().ok()
}

/// The text of a file; empty if there is none.
fn read(path: &Path) -> Result<String, TrainError> {
    match crate::files::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(String::from_utf8_lossy(&read.map_err(|e| file_error(path, e))?).into_owned()),
    }
}
