//! Lines on standard output and standard error.

use anyhow::Context;
use serde_json::Value;
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line.
///
/// # Errors
/// If standard output is closed.
pub fn print(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output cannot be written")
}

/// Writes a line to standard error, whether or not anybody reads it.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out lines and bars about the progress from now on: --json or --quiet is set.
pub fn quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Returns true if lines and bars about the progress are left out.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line about the progress to standard error; none with --json or --quiet.
pub fn say(line: impl Display) {
    if !is_quiet() {
        note(line);
    }
}

/// A number of things: "1 image", "2 images".
pub fn count(n: usize, what: &str) -> String {
    let plural = if what.ends_with("ch") { "es" } else { "s" };
    format!("{n} {what}{}", if n == 1 { "" } else { plural })
}

/// A mean number of evaluations of the score: "1 score evaluation", "31.5 score evaluations".
pub fn evaluations(mean: f64) -> String {
    let rounded = (10.0 * mean).round() / 10.0;
    format!("{rounded} score evaluation{}", if rounded == 1.0 { "" } else { "s" })
}

/// Adds the keys of one JSON object to another.
pub fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// An error and its causes in one line. Some libraries' messages contain those of their causes, which are not repeated.
pub fn chain(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |line, cause| if line.contains(&cause) { line } else { format!("{line}: {cause}") })
}
