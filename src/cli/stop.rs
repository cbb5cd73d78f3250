//! Signals that stop a command: at the first it ends with its work saved, the second ends the process at once.

use crate::cli::report::say;
use crate::sample::{self, SampleError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// A request to stop, by a signal.
#[derive(Clone)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// The end of a command by a signal, after its work was saved.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {} {what}", name(*.signal))]
pub struct Stopped {
    signal: i32,
    what: String,
}

impl Stopped {
    /// The exit status, as a shell counts it.
    pub fn status(&self) -> u8 {
        128 + self.signal as u8
    }
}

impl Stop {
    /// Watches for signals from now on. A signal that the process was started to ignore, as by `nohup`, stays ignored.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn on_signals() -> std::io::Result<Stop> {
        let stop = Stop { flag: Arc::default(), signal: Arc::default() };
        let ignored = ignored();
        for signal in SIGNALS.iter().filter(|signal| ignored >> (**signal - 1) & 1 == 0) {
            // In this order: the second signal finds the flag set.
            flag::register_conditional_shutdown(*signal, 128 + signal, stop.flag.clone())?;
            flag::register_usize(*signal, stop.signal.clone(), *signal as usize)?;
            flag::register(*signal, stop.flag.clone())?;
        }
        let watched = SIGNALS.iter().filter(|signal| ignored >> (**signal - 1) & 1 == 0);
        acknowledge(Signals::new(watched)?);
        Ok(stop)
    }

    /// Set once a signal has come.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Returns true once a signal has come.
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Ends a sampler's run once a signal has come.
    ///
    /// # Errors
    /// [`SampleError::Stopped`] then.
    pub fn check(&self) -> sample::Result<()> {
        if self.requested() { Err(SampleError::Stopped) } else { Ok(()) }
    }

    /// The error of a command that has stopped; `what` says where, and how to go on.
    pub fn stopped(&self, what: String) -> anyhow::Error {
        Stopped { signal: self.signal.load(Ordering::Relaxed) as i32, what }.into()
    }
}

/// Says that a signal was received, unless the command ends at once.
fn acknowledge(mut signals: Signals) {
    const SOON: Duration = Duration::from_millis(500);
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::thread::sleep(SOON);
            say(
                "stopping and saving the finished work; a second signal ends the command at once and saves nothing",
            );
        }
    });
}

/// Lets a write beyond the limit on file sizes fail with an error; without a handler the signal ends the process.
pub fn outlive_size_limits() {
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// The signals that this process ignores, a bit each from signal 1. Linux alone tells them without unsafe code.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        _ => "SIGHUP",
    }
}
