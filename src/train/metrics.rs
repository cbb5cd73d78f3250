//! The rows of `metrics.csv`.

use super::TrainError;
use super::error::file_error;
use super::held_out::LEVELS;
use crate::files::write_whole;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// One row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    /// The loss on held-out images, if this step evaluated it.
    pub held_out_loss: Option<f64>,
    /// The same in each part of the noise levels, from the lowest up.
    pub held_out_levels: [Option<f64>; LEVELS],
}

/// The columns. New ones are appended, so that the rows of an older run can be read.
const COLUMNS: [&str; 8 + LEVELS] = [
    "step",
    "loss",
    "grad_norm",
    "learning_rate",
    "images_per_second",
    "device_bytes",
    "process_bytes",
    "held_out_loss",
    "held_out_loss_level_1",
    "held_out_loss_level_2",
    "held_out_loss_level_3",
    "held_out_loss_level_4",
];

/// The columns of the first version.
const FIRST_COLUMNS: usize = 7;

/// The rows of a text, and the number of lines that are none.
struct Rows {
    rows: Vec<Metrics>,
    damaged: usize,
}

impl Metrics {
    /// The rows of a file; none if there is no file.
    ///
    /// # Errors
    /// [`TrainError::Rows`] if it does not begin with the header, and if it cannot be read.
    pub fn read(path: &Path) -> Result<Vec<Metrics>, TrainError> {
        let none = || TrainError::Rows { path: path.to_path_buf() };
        Ok(parsed(&read(path)?).ok_or_else(none)?.rows)
    }

    /// The rows of a text; none if it does not begin with the header.
    pub(crate) fn rows(text: &str) -> Vec<Metrics> {
        parsed(text).map_or(Vec::new(), |parsed| parsed.rows)
    }

    /// Begins a file without rows.
    pub(super) fn begin(path: &Path) -> Result<(), TrainError> {
        write_whole(path, text(&[]).as_bytes()).map_err(|e| file_error(path, e))
    }

    /// Appends the row to a file.
    pub(super) fn append(&self, path: &Path) -> Result<(), TrainError> {
        let file = std::fs::OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(&lines(&[*self]))).map_err(|e| file_error(path, e))
    }

    /// Removes the rows after `step`, which a resumed run makes again. Returns the fault if other rows are
    /// missing or are none.
    pub(super) fn keep_until(path: &Path, step: u64) -> Result<Option<String>, TrainError> {
        let before = read(path)?;
        let Rows { rows, damaged } =
            parsed(&before).ok_or_else(|| TrainError::Rows { path: path.to_path_buf() })?;
        let kept: Vec<Metrics> = rows.into_iter().filter(|row| row.step <= step).collect();
        write_whole(path, text(&kept).as_bytes()).map_err(|e| file_error(path, e))?;
        Ok(match damaged {
            0 if before.is_empty() && step > 0 => Some("it was missing and begins again".into()),
            0 => None,
            damaged => Some(format!("damaged rows were removed, {damaged} of them")),
        })
    }

    /// The text of a file without the rows after `step`; nothing if it is another file's.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn kept(before: &str, step: u64) -> Option<String> {
        let rows = parsed(before)?.rows;
        Some(text(&rows.into_iter().filter(|row| row.step <= step).collect::<Vec<_>>()))
    }

    /// The step of a file's last row; 0 if there is none.
    pub(super) fn last_step(path: &Path) -> Result<u64, TrainError> {
        Ok(Metrics::last_step_of(&read(path)?))
    }

    /// The step of a text's last row; 0 if there is none.
    pub(crate) fn last_step_of(text: &str) -> u64 {
        Metrics::rows(text).iter().map(|row| row.step).max().unwrap_or(0)
    }
}

/// The rows of a text. `None` if it begins with another header than this program's, of now or before.
fn parsed(text: &str) -> Option<Rows> {
    if text.is_empty() {
        return Some(Rows { rows: Vec::new(), damaged: 0 });
    }
    // A full disk may have cut a line off; a quote in it does not swallow the next ones.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .quoting(false)
        .from_reader(text.as_bytes());
    let mut records = reader.records().map_while(Result::ok);
    let header = records.next()?;
    let columns = header.len();
    if columns < FIRST_COLUMNS || !header.iter().eq(COLUMNS.into_iter().take(columns)) {
        return None;
    }
    let (mut rows, mut damaged) = (Vec::new(), 0);
    for mut record in records {
        let whole = record.len() == columns;
        (columns..COLUMNS.len()).for_each(|_| record.push_field(""));
        match record.deserialize(None) {
            Ok(row) if whole => rows.push(row),
            _ => damaged += 1,
        }
    }
    Some(Rows { rows, damaged })
}

/// The text of a file with these rows.
fn text(rows: &[Metrics]) -> String {
    format!("{}\n{}", COLUMNS.join(","), String::from_utf8_lossy(&lines(rows)))
}

/// The lines of rows.
fn lines(rows: &[Metrics]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    // Numbers are always written, and memory does not refuse them.
    rows.iter().for_each(|row| writer.serialize(row).unwrap_or_default());
    writer.into_inner().unwrap_or_default()
}

/// The text of a file; empty if there is none.
fn read(path: &Path) -> Result<String, TrainError> {
    match crate::files::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(String::from_utf8_lossy(&read.map_err(|e| file_error(path, e))?).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "step,loss,grad_norm,learning_rate,images_per_second,device_bytes,process_bytes\n\
                       20,28.5,3.25,0.0002,91.37,1000,2000\n";

    #[test]
    fn rows_of_an_older_run_are_read_and_go_on_with_more_columns() {
        let old = Metrics::rows(OLD);
        let new = Metrics { step: 40, held_out_loss: Some(30.25), held_out_levels: [Some(1.5); 4], ..old[0] };
        assert_eq!((old[0].loss, old[0].held_out_loss, old[0].held_out_levels), (28.5, None, [None; 4]));
        let both = text(&[old[0], new]);
        assert_eq!(both.lines().nth(1), Some("20,28.5,3.25,0.0002,91.37,1000,2000,,,,,"));
        assert_eq!(both.lines().nth(2), Some("40,28.5,3.25,0.0002,91.37,1000,2000,30.25,1.5,1.5,1.5,1.5"));
        assert_eq!(Metrics::rows(&both), [old[0], new]);
        assert_eq!(Metrics::kept(&both, 39).as_deref(), Some(&*text(&old)));
    }

    #[test]
    fn lines_that_are_no_rows_are_counted_and_another_header_is_refused() {
        for line in ["30,1,1,1,1,1", "30,\"a,1,1,1,1,1", "x,1,1,1,1,1,1", "30,1,1,1,1,1,1,1"] {
            let rows = parsed(&format!("{OLD}{line}\n50,1,1,1,1,1,1\n")).unwrap();
            assert_eq!((rows.rows.len(), rows.damaged), (2, 1), "{line}");
        }
        for header in
            ["a,b", "step,loss", "loss,step,grad_norm,learning_rate,images_per_second,device_bytes,x"]
        {
            assert!(parsed(&format!("{header}\n1,2\n")).is_none(), "{header}");
        }
    }
}
