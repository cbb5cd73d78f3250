//! Progress bars on standard error; hidden where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The style of a template.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar())
}

/// A bar of `n` steps with the remaining time; a spinner if their number is unknown.
pub fn steps(n: Option<usize>) -> ProgressBar {
    match n {
        Some(n) => ProgressBar::new(n as u64).with_style(style("{bar:30} {pos}/{len} steps, ETA {eta}")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {pos} steps{msg}, {elapsed}")),
    }
}

/// A bar of bytes with a file's name.
pub fn bytes() -> ProgressBar {
    ProgressBar::new(0).with_style(style("{msg} {bar:30} {bytes}/{total_bytes}, ETA {eta}"))
}
