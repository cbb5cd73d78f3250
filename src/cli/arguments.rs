//! Parsers of arguments, and usage errors in one sentence.

use crate::choice::Choice;
use crate::config::{Data, ImageSize};
use crate::train::Weights;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use std::any::TypeId;
use std::error::Error;
use std::ffi::OsString;
use std::num::NonZeroU32;

/// The largest number of probes, draws, particles or steps between images: two such numbers multiply to 32 bits.
pub const MANY: usize = 65_535;

/// The evaluation of a model in batches.
#[derive(Clone, clap::Args)]
#[group(skip)]
pub struct Evaluation {
    /// The weights
    #[arg(long, value_parser = choice::<Weights>(), default_value_t = Weights::Ema)]
    pub weights: Weights,
    /// Samples in a batch: speed and memory depend on it, results only if a norm is taken over the batch [default: 100; of
    /// points 5000]
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroU32>,
    /// Go on where the same command was stopped, after its last finished batch
    #[arg(long)]
    pub resume: bool,
}

impl Evaluation {
    /// Samples of these data in a batch.
    pub fn batch(&self, data: &Data) -> usize {
        self.batch.map_or(if data.is_points() { 5000 } else { 100 }, |batch| batch.get() as usize)
    }
}

/// The other names of options, as programs of this kind have them: an option, its short name, and its long ones.
const ALIASES: &[(&str, Option<char>, &[&str])] = &[
    ("out", Some('o'), &["output"]),
    ("n", None, &["num-samples"]),
    ("batch", None, &["batch-size"]),
    ("adapter", None, &["device", "gpu"]),
];

/// Gives options their other names.
pub fn with_aliases(command: Command) -> Command {
    let named = |arg: Arg| match ALIASES.iter().find(|(id, ..)| arg.get_id() == *id && !arg.is_positional()) {
        Some((_, short, long)) => {
            let arg = short.iter().fold(arg, |arg, short| arg.short(*short));
            arg.visible_aliases(long.iter().copied())
        }
        None => arg,
    };
    command.mut_args(named).mut_subcommands(|command| command.mut_args(named))
}

/// Sets parsers that explain why a number is refused, and lets numbers be negative rather than look like options.
pub fn with_numbers(command: Command) -> Command {
    let number = |arg: Arg| {
        let kind = arg.get_value_parser().type_id();
        // Numbers of samples and images are counts: -n 0 would do nothing.
        let least = i64::from(arg.get_short() == Some('n'));
        let is = |types: &[TypeId]| types.iter().any(|number| kind == *number);
        let arg = match () {
            () if is(&[TypeId::of::<usize>()]) => arg.value_parser(whole::<usize>(least, i64::MAX)),
            () if is(&[TypeId::of::<u64>()]) => arg.value_parser(whole::<u64>(least, i64::MAX)),
            () if is(&[TypeId::of::<u32>()]) => arg.value_parser(whole::<u32>(least, u32::MAX.into())),
            () if is(&[TypeId::of::<u16>(), TypeId::of::<f32>(), TypeId::of::<f64>()]) => arg,
            () if is(&[TypeId::of::<NonZeroU32>()]) => arg.value_parser(positive),
            () => return arg,
        };
        arg.allow_negative_numbers(true)
    };
    command.mut_subcommands(|command| command.mut_args(number))
}

/// A negative number without an exponent, which the parser would take for an option.
pub fn without_exponent(argument: OsString) -> OsString {
    let negative = argument.to_str().filter(|text| text.starts_with('-'));
    let number = negative.and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    number.map_or(argument, |number| number.to_string().into())
}

/// Parses a whole number from `least` to `most`, which `T` holds; a TOML file holds no larger one than `i64::MAX`.
fn whole<T: TryFrom<i64> + Clone + Send + Sync + 'static>(
    least: i64,
    most: i64,
) -> impl TypedValueParser<Value = T> {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
    }
}

/// Parses a whole number from 1.
fn positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("it must be a whole number from 1 to {}", u32::MAX))
}

/// Parses the size of images: a number for squares, or HEIGHTxWIDTH.
pub fn image_size(text: &str) -> Result<ImageSize, String> {
    let extent = |text: &str| text.parse::<usize>().ok().filter(|extent| (1..=1 << 16).contains(extent));
    let size = match text.split_once('x') {
        Some((height, width)) => extent(height).zip(extent(width)).map(|(h, w)| ImageSize::new(h, w)),
        None => extent(text).map(ImageSize::from),
    };
    size.ok_or_else(|| format!("it must be a number of pixels from 1 to {}, or HEIGHTxWIDTH", 1 << 16))
}

/// Parses a value by its name; help lists the names with their descriptions.
pub fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    choice_among(|_| true)
}

/// Parses one of the values that fit by its name.
pub fn choice_among<T: Choice + Send + Sync>(fits: fn(T) -> bool) -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().filter(|value| fits(**value));
    one_of(values.map(|value| (value.name(), value.help())))
        .try_map(|name| T::named(&name).ok_or("it is not one of the names"))
}

/// Parses one of several names, each with a description.
pub fn one_of<'a>(names: impl Iterator<Item = (&'static str, &'a str)>) -> PossibleValuesParser {
    names.map(|(name, help)| PossibleValue::new(name).help(help.to_string())).collect::<Vec<_>>().into()
}

/// A usage error in one sentence.
pub fn sentence(error: &clap::Error) -> String {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(text)) => text.to_string(),
        Some(ContextValue::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let (arg, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    // An argument is shown as "--flag <VALUE>"; a sentence about its value needs the flag only.
    let flag = arg.split(" <").next().unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown argument {arg}"),
        ErrorKind::InvalidSubcommand => format!("unknown command {}", text(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingSubcommand => format!("name one of {}", text(ContextKind::ValidSubcommand)),
        ErrorKind::MissingRequiredArgument => format!("missing {arg}"),
        ErrorKind::ArgumentConflict if text(ContextKind::PriorArg).is_empty() => {
            format!("{arg} excludes other arguments")
        }
        ErrorKind::ArgumentConflict if text(ContextKind::PriorArg) == arg => {
            format!("{arg} is given more than once")
        }
        ErrorKind::ArgumentConflict => {
            format!("{arg} and {} exclude each other", text(ContextKind::PriorArg))
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{arg} needs a value"),
        ErrorKind::InvalidValue => format!("{flag} {value}: it must be {}", text(ContextKind::ValidValue)),
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{flag} {value}: {why}")
        }
        ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues | ErrorKind::TooManyValues => {
            let expected = [ContextKind::ExpectedNumValues, ContextKind::MinValues].map(text).concat();
            format!("{arg} needs {expected} values, not {}", text(ContextKind::ActualNumValues))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        other => other.to_string(),
    };
    let near = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let near = near.map(text).concat();
    let hint = if near.is_empty() { near } else { format!("; did you mean {near}?") };
    format!("error: {what}{hint} (see --help)")
}
