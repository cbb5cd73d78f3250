//! The progress of long work on standard error: a bar on a terminal, a line now and then elsewhere, nothing with --json.

use crate::cli::report::{is_quiet, say};
use crate::gpu::Gpu;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The shortest time between two lines where there is no terminal.
pub const QUIET: Duration = Duration::from_secs(10);

/// Steps of work.
pub struct Steps {
    bar: ProgressBar,
    /// The number of steps, if it is known.
    of: Option<u64>,
    started: Instant,
    /// The time of the last line; none on a terminal.
    spoken: Option<Cell<Instant>>,
    /// Follows the number of steps in a line.
    unit: &'static str,
}

/// `n` steps with the remaining time; a count if their number is unknown.
pub fn steps(n: Option<usize>) -> Steps {
    let bar = match n {
        _ if is_quiet() => ProgressBar::hidden(),
        Some(n) => ProgressBar::new(n as u64).with_style(style("{bar:30} {pos}/{len} steps, ETA {eta}")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {pos} steps{msg}, {elapsed}")),
    };
    let started = Instant::now();
    let spoken = (!std::io::stderr().is_terminal()).then(|| Cell::new(started));
    Steps { bar, of: n.map(|n| n as u64), started, spoken, unit: "" }
}

impl Steps {
    /// Counts a step.
    pub fn step(&self) {
        self.bar.inc(1);
        let Some(spoken) = self.spoken.as_ref().filter(|spoken| spoken.get().elapsed() > QUIET) else {
            return;
        };
        spoken.set(Instant::now());
        let (made, seconds) = (self.bar.position(), self.started.elapsed().as_secs_f64());
        say(match self.of {
            Some(of) => {
                let left = seconds / made as f64 * of.saturating_sub(made) as f64;
                format!("step {made}/{of}{} ETA {left:.0}s", self.unit)
            }
            None => format!("step {made}{}, {seconds:.0}s", self.bar.message()),
        });
    }

    /// Sets what is shown beside the count.
    pub fn set_message(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Ends the work.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Work of a known amount, as a percentage.
pub struct Share {
    steps: Steps,
    done: Cell<u64>,
    of: u64,
}

/// Work of the amount `of`, with the remaining time.
pub fn share(of: u64) -> Share {
    let steps = Steps { unit: " %", ..steps(Some(100)) };
    steps.bar.set_style(style("{bar:30} {pos} %, ETA {eta}"));
    Share { steps, done: Cell::new(0), of: of.max(1) }
}

impl Share {
    /// Counts an amount as done.
    pub fn advance(&self, amount: usize) {
        let (before, after) = (self.done.get(), self.done.get() + amount as u64);
        self.done.set(after);
        let percent = |done: u64| (100 * u128::from(done.min(self.of)) / u128::from(self.of)) as u64;
        (percent(before)..percent(after)).for_each(|_| self.steps.step());
    }

    /// Ends the work.
    pub fn finish(&self) {
        self.steps.finish();
    }
}

/// Says what begins, and on which device.
pub fn announce(gpu: &Gpu, what: &str) {
    let (adapter, memory) = (gpu.adapter(), crate::gpu::Bytes(gpu.memory().allocated));
    let device = format!("{} ({}), {memory} in use", adapter.name(), adapter.backend());
    say(format!("{what}: {device}; compiling the kernels"));
}

/// The style of a template.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar())
}

/// A bar of bytes with a file's name.
pub fn bytes() -> ProgressBar {
    let bar = if is_quiet() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.with_style(style("{msg} {bar:30} {bytes}/{total_bytes}, ETA {eta}"))
}
