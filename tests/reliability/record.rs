//! The cases and findings of a part, in a file of its own.

use serde::{Deserialize, Serialize};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The parts, in the page's order.
pub const PARTS: [&str; 6] = ["kill storm", "faults", "GPU faults", "hub", "hostile inputs", "soak"];

/// The cases and findings of a part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub part: String,
    /// The cases.
    pub tried: u64,
    /// Runs resumed to the bits of an uninterrupted run.
    pub resumed: u64,
    /// Losses, misreadings and panics.
    pub findings: Vec<String>,
    /// More figures, in words.
    pub figures: Vec<String>,
    /// Cases that this machine does not allow.
    pub not_run: Vec<String>,
    pub seconds: u64,
}

impl Record {
    /// Counts a case; if it panics, that is a finding.
    pub fn case<T>(&mut self, name: &str, case: impl FnOnce() -> T) -> Option<T> {
        self.tried += 1;
        let outcome = catch_unwind(AssertUnwindSafe(case));
        outcome.map_err(|panic| self.findings.push(format!("{name}: {}", words(&*panic)))).ok()
    }

    /// A case that ends with a run whose bits are those of an uninterrupted one.
    pub fn resume(&mut self, name: &str, case: impl FnOnce()) {
        if self.case(name, case).is_some() {
            self.resumed += 1;
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
}

/// The folder of the figures, `fuzz.tsv` of `make fuzz` included.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reliability")
}

fn file(part: &str) -> PathBuf {
    folder().join(part.replace(' ', "_")).with_extension("json")
}

/// Runs a part, leaves its figures, and fails if it found anything.
pub fn part(name: &str, run: impl FnOnce(&mut Record)) {
    let started = Instant::now();
    let mut record = Record { part: name.into(), ..Record::default() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut record))) {
        record.findings.push(words(&*panic));
    }
    record.seconds = started.elapsed().as_secs();
    std::fs::create_dir_all(folder()).expect("a folder");
    std::fs::write(file(name), serde_json::to_vec_pretty(&record).expect("JSON")).expect("a file");
    println!("{record:#?}");
    assert!(record.findings.is_empty(), "{name}: {} finding(s)", record.findings.len());
}

/// The records of all parts. A part without one did not come to an end.
pub fn all() -> Vec<Record> {
    let read = |part: &str| match std::fs::read(file(part)) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("a record"),
        Err(_) => Record {
            part: part.into(),
            findings: vec!["it did not come to an end".into()],
            ..Record::default()
        },
    };
    PARTS.iter().map(|part| read(part)).collect()
}
