//! The command line: `command` has one file per subcommand. Nothing else in this crate prints.

mod arguments;
mod command;
mod io;
mod progress;
mod report;
mod sampling;

use crate::gpu::Gpu;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use command::{
    bench, bound, colorize, convert, decode, devices, encode, evaluate, inpaint, interpolate, likelihood,
    noise_scales, restore, sample, score, train,
};
use std::process::ExitCode;

/// Train score-based generative models and sample from them on any GPU.
///
/// Everything runs in compute shaders through Vulkan, Metal or DX12; without a GPU a software driver will do.
#[derive(Parser)]
#[command(
    name = "tweedie",
    version,
    after_help = "A first run, with nothing to download:\n  \
        tweedie train configs/digits_ve.toml --out runs/digits\n  \
        tweedie sample runs/digits -n 64 --out samples.png"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(clap::Args)]
struct Common {
    /// The adapter, by its index in `tweedie devices` or a part of its name [default: WGPU_ADAPTER_NAME, else the best]
    #[arg(long, global = true, value_name = "NAME|INDEX", allow_negative_numbers = true)]
    adapter: Option<String>,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn open(&self) -> anyhow::Result<Gpu> {
        Ok(Gpu::open(self.adapter.as_deref())?)
    }
}

#[derive(Subcommand)]
enum Command {
    Devices(devices::Args),
    Train(train::Args),
    Sample(sample::Args),
    Inpaint(inpaint::Args),
    Colorize(colorize::Args),
    Restore(restore::Args),
    Likelihood(likelihood::Args),
    Encode(encode::Args),
    Decode(decode::Args),
    Interpolate(interpolate::Args),
    Evaluate(evaluate::Args),
    Bound(bound::Args),
    NoiseScales(noise_scales::Args),
    Score(score::Args),
    Convert(convert::Args),
    Bench(bench::Args),
}

/// Runs the program; errors are one line on standard error and a status of 1.
pub fn main() -> ExitCode {
    quiet_the_driver();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: this should not have happened; please report it: {panic}")
    }));
    let parsed = arguments::with_numbers(Cli::command())
        .try_get_matches_from(std::env::args_os().map(arguments::without_exponent))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help goes to standard output and is a success.
        Err(answer) if answer.use_stderr() && answer.kind() != MISSING => {
            eprintln!("{}", arguments::sentence(&answer));
            return ExitCode::FAILURE;
        }
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match std::panic::catch_unwind(|| run(&cli)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // A closed pipe is how `| head` says that it has seen enough.
            let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
            if !error.downcast_ref::<std::io::Error>().is_some_and(closed) {
                eprintln!("error: {}", report::chain(&error));
            }
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// No command is named: the answer is help.
const MISSING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

fn run(cli: &Cli) -> anyhow::Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Devices(args) => devices::run(common, args),
        Command::Train(args) => train::run(common, args),
        Command::Sample(args) => sample::run(common, args),
        Command::Inpaint(args) => inpaint::run(common, args),
        Command::Colorize(args) => colorize::run(common, args),
        Command::Restore(args) => restore::run(common, args),
        Command::Likelihood(args) => likelihood::run(common, args),
        Command::Encode(args) => encode::run(common, args),
        Command::Decode(args) => decode::run(common, args),
        Command::Interpolate(args) => interpolate::run(common, args),
        Command::Evaluate(args) => evaluate::run(common, args),
        Command::Bound(args) => bound::run(common, args),
        Command::NoiseScales(args) => noise_scales::run(common, args),
        Command::Score(args) => score::run(common, args),
        Command::Convert(args) => convert::run(common, args),
        Command::Bench(args) => bench::run(common, args),
    }
}

/// Mesa's device-selection layer complains on standard error where there is no display; we show nothing on one.
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
