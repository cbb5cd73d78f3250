//! The command line: `command` has one file per subcommand. Nothing else in this crate prints.

mod command;
mod io;
mod sampling;

use crate::choice::Choice;
use crate::gpu::Gpu;
use clap::builder::{PossibleValue, PossibleValuesParser, RangedI64ValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use command::{
    bench, bound, colorize, convert, decode, devices, encode, evaluate, inpaint, interpolate, likelihood,
    noise_scales, restore, sample, score, train,
};
use io::model::{MODEL, open_model, open_score_model};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::Path;
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

/// The arguments. A number that cannot be is refused for what it is, and a negative one never taken for an option.
fn command() -> clap::Command {
    let fractions = [TypeId::of::<f32>(), TypeId::of::<f64>()];
    let whole_numbers =
        [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()];
    let number = |arg: Arg| {
        let kind = arg.get_value_parser().type_id();
        let arg = match kind {
            kind if kind == TypeId::of::<usize>() => arg.value_parser(whole::<usize>()),
            kind if kind == TypeId::of::<u64>() => arg.value_parser(whole::<u64>()),
            _ => arg,
        };
        let is_number = fractions.iter().chain(&whole_numbers).any(|number| kind == *number);
        if is_number { arg.allow_negative_numbers(true) } else { arg }
    };
    Cli::command().mut_subcommands(|command| command.mut_args(number))
}

/// A negative number as the parser knows one, which it does not with an exponent's sign.
fn spelt_out(argument: OsString) -> OsString {
    let negative = argument.to_str().filter(|text| text.starts_with('-'));
    let number = negative.and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    number.map_or(argument, |number| number.to_string().into())
}

/// Runs the program; errors are one line on standard error and a status of 1.
pub fn main() -> ExitCode {
    quiet_the_driver();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: this should not have happened; please report it: {panic}")
    }));
    let parsed = command()
        .try_get_matches_from(std::env::args_os().map(spelt_out))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help goes to standard output and is a success.
        Err(answer) if answer.use_stderr() && answer.kind() != MISSING => {
            eprintln!("{}", in_one_line(&answer));
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
                eprintln!("error: {}", told(&error));
            }
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// An error and its causes in one line. Some libraries' messages hold their causes', which are not told twice.
fn told(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

/// No command is named: the answer is help.
const MISSING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// What is wrong with the arguments, and where to read on.
fn in_one_line(answer: &clap::Error) -> String {
    let text = answer.render().to_string();
    // Nothing here takes a value that looks like an option.
    let boilerplate = |line: &str| {
        line.is_empty()
            || line.starts_with("Usage:")
            || line.starts_with("For more")
            || line.starts_with("tip: to pass")
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !boilerplate(line)).collect();
    let told = lines.join(" ").replace(" tip: ", "; ");
    // What the standard library says of integers.
    let told = told.replace("number too large to fit in target type", "it is too large");
    format!("{told}; --help tells more")
}

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

/// Parses a whole number from 0 up, as large as `T` and TOML's numbers can be.
fn whole<T: TryFrom<i64> + Clone + Send + Sync + 'static>() -> RangedI64ValueParser<T>
where
    <T as TryFrom<i64>>::Error: std::error::Error + Send + Sync + 'static,
{
    RangedI64ValueParser::new().range(0..=i64::MAX)
}

/// Parses a value by its name, and lists the names with their descriptions in the help.
fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|value| PossibleValue::new(value.name()).help(value.help()));
    PossibleValuesParser::new(values).try_map(|name| T::named(&name).ok_or("it is not one of the names"))
}

/// So many of something: "1 image", "2 images".
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// More probes, draws, particles or steps between images than anybody needs, and few enough that two of them multiplied are
/// counted in 32 bits.
const MANY: usize = 65_535;

/// `n` of something, so many at once: the first of each batch, and how many.
fn batches(n: usize, size: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |first| (first, size.min(n - first)))
}

/// Whether a file's name ends in `.ending`, in whatever letters.
fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Puts the keys of one JSON object into another.
fn extend(object: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// Writes a line to standard error, whether anybody reads it or not.
fn note(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a line; an error if nobody reads it any more.
fn print(line: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
