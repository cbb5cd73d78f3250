//! The answers: the page, the state of the runs, their rows and pictures. Only these files of the runs are
//! read, by number and step: no part of a request becomes a part of a path.

use crate::config::Config;
use crate::train::{Metrics, Run};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The largest number of rows that the page gets: as many as it has pixels.
const ROWS: usize = 2000;

const PAGE: &str = include_str!("page.html");

/// The runs of the page.
pub struct Watched {
    runs: Vec<Run>,
}

/// An answer's type and contents.
pub struct Answer {
    pub kind: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    fn json(value: &Value) -> Answer {
        Answer { kind: "application/json", body: value.to_string().into_bytes() }
    }
}

impl Watched {
    pub fn new(folders: &[impl AsRef<Path>]) -> Watched {
        Watched { runs: folders.iter().map(|folder| Run::at(folder.as_ref())).collect() }
    }

    /// The answer to a path; none if there is nothing there.
    pub fn answer(&self, path: &str) -> Option<Answer> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let run = |number: &str| self.runs.get(number.parse::<usize>().ok()?);
        let step = |step: &str| step.parse::<u64>().ok();
        match parts[..] {
            [""] => Some(Answer { kind: "text/html; charset=utf-8", body: PAGE.into() }),
            ["runs"] => Some(Answer::json(&self.runs.iter().map(state).collect())),
            ["runs", number, "rows"] => Some(Answer::json(&rows(run(number)?))),
            ["runs", number, "samples", at] => picture(&run(number)?.samples(step(at)?)),
            ["runs", number, "process", at] => picture(&run(number)?.process(step(at)?)),
            _ => None,
        }
    }
}

/// The name of a run, its steps made and to make, width / height of its images, the version of its rows, and
/// the steps of its snapshots.
fn state(run: &Run) -> Value {
    let name = |path: &Path| path.file_name().map(OsStr::to_owned);
    let name =
        name(run.folder()).or_else(|| name(&std::path::absolute(run.folder()).ok()?)).unwrap_or_default();
    let steps =
        std::fs::read_to_string(run.folder().join("steps")).ok().and_then(|text| text.trim().parse().ok());
    let text = crate::files::read_to_string(&run.folder().join("config.toml")).ok();
    let config = text.and_then(|text| Config::from_toml(&text, &[]).ok());
    let aspect = config.as_ref().map_or(1.0, |config| {
        let [h, w, _] = config.data.shape();
        w as f64 / h as f64
    });
    let version = run.metrics().metadata().ok().map(|file| {
        let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        format!("{}-{}", file.len(), changed.map_or(0, |since| since.as_nanos()))
    });
    let steps = steps.or(config.map(|config| config.training.n_iters));
    let made = Metrics::read(&run.metrics()).ok().and_then(|rows| rows.last().map(|row| row.step));
    let mut snapshots = run.pictures();
    snapshots.reverse();
    json!({
        "name": name.to_string_lossy(), "step": made.unwrap_or(0), "steps": steps,
        "aspect": aspect, "version": version.unwrap_or_default(), "snapshots": snapshots,
    })
}

/// At most [`ROWS`] rows at equal distances, with the last.
fn rows(run: &Run) -> Value {
    // A run may just be about to write its first row.
    let rows = Metrics::read(&run.metrics()).unwrap_or_default();
    let every = rows.len().div_ceil(ROWS).max(1);
    let last = rows.len().saturating_sub(1);
    let chosen = rows.iter().enumerate().filter(|(i, _)| (last - i).is_multiple_of(every));
    chosen.map(|(_, row)| of_row(row)).collect()
}

fn of_row(row: &Metrics) -> Value {
    let mut object = json!({
        "step": row.step, "loss": row.loss, "grad_norm": row.grad_norm, "learning_rate": row.learning_rate,
        "images_per_second": row.images_per_second, "held_out_loss": row.held_out_loss,
    });
    for (i, loss) in row.held_out_levels.iter().enumerate() {
        object[format!("level_{}", i + 1)] = json!(loss);
    }
    object
}

/// A picture that is a plain file: a link in the folder leads nowhere.
fn picture(path: &Path) -> Option<Answer> {
    let plain = path.symlink_metadata().is_ok_and(|found| found.is_file());
    plain.then(|| crate::files::read(path).ok()).flatten().map(|body| Answer { kind: "image/png", body })
}
