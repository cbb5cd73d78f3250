//! The command line: `command` has one file per subcommand. Nothing else in this crate prints.

mod arguments;
mod command;
pub(crate) mod io;
mod progress;
mod report;
mod sampling;
mod stop;
mod training;
mod unfinished;
mod version;
mod watching;

use crate::gpu::{Gpu, GpuError, Options, choose, is_guarded};
use arguments::{MANY, choice, choice_among};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use command::Command;
use io::model::{MODEL, open_model, open_score_model};
use io::paths::{self, ends_in};
use report::{count, extend, note, print};
use std::process::ExitCode;

/// Train score-based generative models and sample from them on any GPU.
///
/// Everything runs in compute shaders through Vulkan, Metal or DX12; without a GPU a software driver will do.
#[derive(Parser)]
#[command(
    name = "tweedie",
    version,
    long_version = version::long(),
    after_help = "A first run, with nothing to download:\n  \
        tweedie train digits_ve --out runs/digits\n  \
        tweedie sample runs/digits -n 64 --out samples.png"
)]
struct Cli {
    #[command(flatten, next_help_heading = "Global options")]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// The options of every subcommand.
#[derive(clap::Args)]
struct Common {
    /// The adapter, by its index in `tweedie devices` or a part of its name [default: WGPU_ADAPTER_NAME, else the best]
    #[arg(long, global = true, value_name = "NAME|INDEX", allow_negative_numbers = true)]
    adapter: Option<String>,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    json: bool,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print what the graphics library logs: once for warnings, twice for more; RUST_LOG chooses exactly
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Check every index of the shaders while they run: slower, with the same results
    #[arg(long, global = true)]
    checked: bool,
}

impl Common {
    fn open(&self) -> anyhow::Result<Gpu> {
        let options = Options { checked: self.checked, ..Options::default() };
        choose(self.adapter.as_deref()).and_then(|adapter| Gpu::with(adapter, options)).map_err(with_adapter)
    }
}

/// An error of the device, with the option that mends it.
fn with_adapter(error: GpuError) -> anyhow::Error {
    match error {
        GpuError::NoSuchAdapter { .. } | GpuError::Unsupported { .. } => {
            anyhow::anyhow!("{error}; choose another with --adapter (see `tweedie devices`)")
        }
        other => other.into(),
    }
}

/// Runs the program; errors are one line on standard error and a status of 1.
pub fn main() -> ExitCode {
    quiet_the_driver();
    stop::outlive_size_limits();
    std::panic::set_hook(Box::new(|panic| {
        if is_guarded() {
            return;
        }
        note(format!("error: this should not have happened; please report it: {panic}"));
    }));
    let parsed = whole_command()
        .try_get_matches_from(std::env::args_os().map(arguments::without_exponent))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help goes to standard output and is a success.
        Err(answer) if answer.use_stderr() && answer.kind() != MISSING => {
            note(arguments::sentence(&answer));
            return ExitCode::FAILURE;
        }
        Err(answer) => {
            let shown = answer.print().is_ok();
            return if answer.use_stderr() || !shown { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    if cli.common.json || cli.common.quiet {
        report::quiet();
    }
    log_to_stderr(cli.common.verbose);
    match std::panic::catch_unwind(|| cli.command.run(&cli.common)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            if let Some(stopped) = error.downcast_ref::<stop::Stopped>() {
                note(stopped);
                return stopped.status().into();
            }
            // `| head` closes the pipe when it has read enough.
            let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
            if !error.downcast_ref::<std::io::Error>().is_some_and(closed) {
                note(format!("error: {}", report::chain(&error)));
            }
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// The command line with all that is added to the derived one.
fn whole_command() -> clap::Command {
    let command = arguments::with_numbers(arguments::with_aliases(Cli::command()));
    // The reference is long, and only this help has it.
    let asked = std::env::args_os().any(|argument| argument == "config");
    match asked {
        true => {
            command.mut_subcommand("config", |config| config.after_long_help(command::config::reference()))
        }
        false => command,
    }
}

/// Writes the log of libraries to standard error, above all that of wgpu.
fn log_to_stderr(verbose: u8) {
    let level = ["off", "warn", "info", "debug"][usize::from(verbose.min(3))];
    let environment = env_logger::Env::default().default_filter_or(level);
    // A program that calls this one may have a logger of its own.
    let _ = env_logger::Builder::from_env(environment).format_timestamp(None).try_init();
}

/// Without a command, help is shown.
const MISSING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Silences Mesa's device-selection layer, which writes to standard error where there is no display.
#[expect(unsafe_code, reason = "the environment is changed before any thread starts")]
fn quiet_the_driver() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Splits `n` things into batches of `size`: the first of each batch, and its length.
fn batches(n: usize, size: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |first| (first, size.min(n - first)))
}
