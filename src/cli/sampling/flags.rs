//! The flags of samplers, made from the table of their options.

use crate::choice::Choice;
use crate::cli::arguments::one_of;
use crate::config::sampling::{OPTIONS, SamplingOption, Value, Values};
use crate::config::{Config, ConfigError, CorrectorName, Method, Sampling};
use clap::builder::{TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Command};
use std::marker::PhantomData;

/// The flags that a command has.
pub trait Selection {
    /// Their names; all flags if there are none.
    const FLAGS: &'static [&'static str];
}

/// All flags.
#[derive(Clone)]
pub struct All;

impl Selection for All {
    const FLAGS: &'static [&'static str] = &[];
}

/// The flags of the adaptive solver `ode`.
pub struct Tolerances;

impl Selection for Tolerances {
    const FLAGS: &'static [&'static str] = &["rtol", "atol", "error-norm"];
}

/// The flags of the solvers that follow the probability flow.
pub struct Decoding;

impl Selection for Decoding {
    const FLAGS: &'static [&'static str] = &["steps", "rtol", "atol", "error-norm"];
}

/// The values of a selection of flags.
#[derive(Clone)]
pub struct SamplingFlags<S> {
    given: Vec<(&'static str, Value)>,
    selection: PhantomData<S>,
}

/// Each flag of a selection once, with the first option that it sets.
fn flags<S: Selection>() -> impl Iterator<Item = (&'static str, &'static SamplingOption)> {
    OPTIONS.iter().enumerate().filter_map(|(i, option)| {
        let flag = option.flag.filter(|flag| S::FLAGS.is_empty() || S::FLAGS.contains(flag))?;
        OPTIONS[..i].iter().all(|other| other.flag != Some(flag)).then_some((flag, option))
    })
}

fn argument((flag, option): (&'static str, &'static SamplingOption)) -> Arg {
    let values = option.values;
    let text = move |text: &str| values.parse(text).ok_or_else(|| format!("it must be {values}"));
    let (name, parser) = match values {
        Values::Names(names) => ("NAME", one_name(names())),
        Values::Count(..) | Values::CountOrUnset(..) => ("N", ValueParser::new(text)),
        _ => ("X", ValueParser::new(text)),
    };
    let help = option.help.trim().trim_end_matches('.');
    let numeric = !matches!(values, Values::Names(_));
    Arg::new(flag)
        .long(flag)
        .value_name(name)
        .help_heading("Solver")
        .value_parser(parser)
        .allow_negative_numbers(numeric)
        .help(format!("{help} [default: the model's]"))
}

fn one_name(names: Vec<(&'static str, &'static str)>) -> ValueParser {
    let parser = one_of(names.iter().copied());
    let value =
        move |name: String| names.iter().find(|(known, _)| *known == name).map(|(name, _)| Value::Name(name));
    ValueParser::new(parser.try_map(move |name| value(name).ok_or("it is not one of the names")))
}

/// An argument of a command that imposes known values on the samples: only samplers that allow that can be chosen, and flags of
/// other samplers are not shown.
pub fn constrained(arg: Arg) -> Arg {
    let methods = || Method::ALL.iter().filter(|method| method.capabilities().constrained);
    let reads = |option: &SamplingOption| {
        methods().any(|method| option.is_read_by(&Sampling { method: *method, ..Sampling::default() }))
    };
    let own: Vec<_> =
        OPTIONS.iter().filter(|option| option.flag.is_some_and(|flag| arg.get_id() == flag)).collect();
    match &own[..] {
        [] => arg,
        [SamplingOption { key: "sampling.method", .. }] => {
            arg.value_parser(one_name(methods().map(|method| (method.name(), method.help())).collect()))
        }
        _ => arg.hide(!own.into_iter().any(reads)),
    }
}

impl<S: Selection> clap::Args for SamplingFlags<S> {
    fn augment_args(command: Command) -> Command {
        command.args(flags::<S>().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> clap::FromArgMatches for SamplingFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |(flag, _): (&'static str, _)| Some((flag, *matches.get_one::<Value>(flag)?));
        Ok(SamplingFlags { given: flags::<S>().filter_map(value).collect(), selection: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S> SamplingFlags<S> {
    /// The value of a flag, if it is given.
    pub fn get(&self, flag: &str) -> Option<Value> {
        self.given.iter().find(|(given, _)| *given == flag).map(|(_, value)| *value)
    }

    /// The name of a flag that is given, if any is.
    pub fn any(&self) -> Option<&'static str> {
        self.given.first().map(|(flag, _)| *flag)
    }

    /// The sampler, if it is given.
    pub fn method(&self) -> Option<Method> {
        if let Some(Value::Name(name)) = self.get("sampler") { Method::named(name) } else { None }
    }

    /// Overrides a configuration. A flag sets the option that the sampler reads.
    ///
    /// # Errors
    /// If the sampler reads no option of a flag.
    fn apply(&self, sampling: &mut Sampling) -> anyhow::Result<()> {
        if let Some(method) = self.method() {
            sampling.set_method(method);
        }
        for (flag, value) in &self.given {
            let mut options = OPTIONS.iter().filter(|option| option.flag == Some(*flag));
            match options.clone().find(|option| option.is_read_by(sampling)) {
                Some(option) => option.set(sampling, *value),
                None => {
                    let corrected = Sampling { corrector: CorrectorName::Langevin, ..sampling.clone() };
                    let reader = match options.any(|option| option.is_read_by(&corrected)) {
                        true => format!("corrector {}", sampling.corrector),
                        false => format!("sampler {}", sampling.method),
                    };
                    anyhow::bail!("--{flag}: the {reader} does not use this option; leave it out");
                }
            }
        }
        Ok(())
    }

    /// Overrides a model's configuration, and checks it.
    pub fn configure(&self, config: &mut Config) -> anyhow::Result<()> {
        self.apply(&mut config.sampling)?;
        config.sampling.steps = config.sampling_steps();
        config.check().map_err(|error| self.explain(error))
    }

    /// An error of the configuration; if a flag has set its key, in terms of the flag.
    fn explain(&self, error: ConfigError) -> anyhow::Error {
        let flag_of = |key: &str| OPTIONS.iter().find(|option| option.key == key)?.flag;
        if let ConfigError::Value { key, value, why, .. } = &error
            && let Some(flag) = flag_of(key).filter(|flag| self.get(flag).is_some())
        {
            return anyhow::anyhow!("--{flag} {value}: {why}");
        }
        error.into()
    }
}
