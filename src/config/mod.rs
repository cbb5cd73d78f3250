//! Configurations: TOML with the reference implementation's keys.

mod data;
mod model;
mod objective;
mod optim;
mod presets;
mod problem;
mod sampling;
mod training;

pub use data::Data;
pub use model::{
    Combine, EmbeddingType, Model, ModelName, Nonlinearity, Prediction, Progressive, ProgressiveInput,
    ResblockType,
};
pub(crate) use model::{GROUPS, MAX_TAPS};
pub use objective::{ObjectiveName, Projection};
pub use optim::Optim;
pub use problem::{Measure, Problem};
pub use sampling::{CorrectorName, MAX_ETA, Method, Over, PredictorName, Sampling, Schedule};
pub use training::{SdeName, Training};

use crate::sde::{Process, SubVp, Ve, Vp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML, or a key is unknown, missing or of another type.
    #[error("{0}")]
    Text(String),
    /// A value that cannot be.
    #[error("{key} = {value}: {why}")]
    Value {
        /// The key, as `section.key`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        why: String,
    },
}

/// An error about one key.
pub(crate) fn refuse(key: &'static str, value: impl std::fmt::Debug, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: format!("{value:?}").replace('"', ""), why: why.into() }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// All randomness derives from it: 0 to 2⁶³ − 1.
    #[serde(default = "seed")]
    pub seed: u64,
    /// How to train.
    pub training: Training,
    /// How to sample.
    #[serde(default)]
    pub sampling: Sampling,
    /// What to train on.
    pub data: Data,
    /// The network and the process.
    pub model: Model,
    /// The optimiser.
    #[serde(default)]
    pub optim: Optim,
}

fn seed() -> u64 {
    42
}

fn yes() -> bool {
    true
}

impl Config {
    /// A configuration from TOML with `section.key=value` assignments on top, checked.
    ///
    /// # Errors
    /// If the text cannot be read, or a value cannot be; the message names the key and what it must be.
    pub fn from_toml(text: &str, assignments: &[String]) -> Result<Config, ConfigError> {
        let table: toml::Table = text.parse().map_err(|e| in_line(text, &e))?;
        if !assignments.is_empty() {
            return Self::from_table(table, assignments);
        }
        // From the text itself, so that a message can name the line.
        let config = toml::from_str(text).map_err(|e| in_line(text, &e))?;
        Self::checked(config, &table)
    }

    /// A configuration from what has no lines to name.
    pub(crate) fn from_table(mut table: toml::Table, assignments: &[String]) -> Result<Config, ConfigError> {
        for assignment in assignments {
            assign(&mut table, assignment)?;
        }
        let config = table.clone().try_into().map_err(|e: toml::de::Error| in_line("", &e))?;
        Self::checked(config, &table)
    }

    /// The configuration that a table has become, with what follows from what was left out.
    fn checked(mut config: Config, table: &toml::Table) -> Result<Config, ConfigError> {
        let said = table.get("training").is_some_and(|training| training.get("continuous").is_some());
        if let Some(continuous) = config.training.objective.continuous().filter(|_| !said) {
            config.training.continuous = continuous;
        }
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is made of what TOML can say")
    }

    /// The forward process.
    pub fn process(&self) -> Arc<dyn Process> {
        let Model { sigma_min, sigma_max, beta_min, beta_max, .. } = self.model;
        match self.training.sde {
            SdeName::Vesde => Arc::new(Ve { sigma_min, sigma_max }),
            SdeName::Vpsde => Arc::new(Vp { beta_min, beta_max }),
            SdeName::Subvpsde => Arc::new(SubVp { beta_min, beta_max }),
        }
    }

    /// Whether it describes a classifier, which has no score.
    pub fn is_classifier(&self) -> bool {
        self.training.objective == ObjectiveName::Classifier
    }

    /// What the network's output stands for.
    pub fn prediction(&self) -> Prediction {
        self.model.prediction.unwrap_or(match (self.training.objective, self.training.sde) {
            (ObjectiveName::Edm, _) => Prediction::Edm,
            (_, SdeName::Vesde) => Prediction::Score,
            (_, SdeName::Vpsde | SdeName::Subvpsde) => Prediction::Eps,
        })
    }

    /// Checks every value that some other part would trip over.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.training.check()?;
        self.optim.check()?;
        self.sampling.check()?;
        if self.sampling.method == Method::Ald && self.training.sde != SdeName::Vesde {
            let why = "annealed Langevin dynamics runs on training.sde = vesde alone";
            return Err(refuse("sampling.method", "ald", why));
        }
        self.data.check()?;
        objective::check(self)?;
        self.model.check(&self.training, &self.data)?;
        self.check_grid()
    }

    /// Whether the process has the noise level that a grid is to end at.
    fn check_grid(&self) -> Result<(), ConfigError> {
        let (process, sigma) = (self.process(), self.sampling.sigma_min);
        if sigma.is_none_or(|sigma| self.is_classifier() || process.level_within(sigma).is_some()) {
            return Ok(());
        }
        let [least, most] = [process.sampling_eps(), 1.0].map(|t| process.level(t).sigma);
        let why =
            format!("the process has noise levels from {least:.3e} to below {most:.3}; take one of them");
        Err(refuse("sampling.sigma_min", sigma.unwrap_or_default(), why))
    }
}

/// Steps, and images in one, are counted in 32 bits by the random numbers.
const MAX_STEPS: u64 = u32::MAX as u64;
/// More channels than any device has room for, and few enough that no count of parameters overflows.
const MAX_CHANNELS: u64 = 1 << 20;

fn count(key: &'static str, value: u64, most: u64) -> Result<(), ConfigError> {
    match value {
        0 => Err(refuse(key, value, "it must be at least 1")),
        _ if value > most => Err(refuse(key, value, format!("it must be at most {most}"))),
        _ => Ok(()),
    }
}

fn within(key: &'static str, value: f64, range: std::ops::Range<f64>, what: &str) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(refuse(key, value, format!("it must be {what}"))) }
}

/// What Rust calls a type, and what anyone does.
const TYPES: [(&str, &str); 5] = [
    ("` as i128, expected any valid TOML value", "`, expected one of at most 9223372036854775807"),
    ("expected usize", "expected a whole number from 0 up"),
    ("expected u64", "expected a whole number from 0 to 9223372036854775807"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected f64", "expected a number"),
];

/// A parser's message in one line, with the key or the line it is about.
fn in_line(text: &str, error: &toml::de::Error) -> ConfigError {
    let message = error.message().replace('\n', " ");
    let message = TYPES.iter().fold(message, |message, (theirs, ours)| message.replace(theirs, ours));
    let message = match message.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a section of keys"),
        None => nearest_named(&message).unwrap_or(message),
    };
    // The key stands only in the whole message: "…\nin `section.key`\n".
    let whole = error.to_string();
    let key = whole.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let message = key.map_or(message.clone(), |key| format!("{key}: {message}"));
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    match line {
        Some(line) if !text.is_empty() => ConfigError::Text(format!("line {line}: {message}")),
        _ => ConfigError::Text(message),
    }
}

/// The refusal of a key that is nearly another one, naming that instead of all there are.
fn nearest_named(message: &str) -> Option<String> {
    let (unknown, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    // Between backticks: every other part.
    nearest(unknown, known.split('`').skip(1).step_by(2)).map(|key| did_you_mean(unknown, key))
}

/// The key that an unknown one is by a slip of the hand: one letter, or one in five, left out, added, changed or exchanged.
fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |key: &&str| strsim::osa_distance(unknown, key);
    known.into_iter().min_by_key(slips).filter(|key| slips(key) <= (unknown.len() / 5).max(1))
}

fn did_you_mean(unknown: &str, key: &str) -> String {
    format!("unknown field `{unknown}`; did you mean `{key}`?")
}

/// Applies `section.key=value` to a table.
fn assign(table: &mut toml::Table, assignment: &str) -> Result<(), ConfigError> {
    let wrong = |why: &str| ConfigError::Text(format!("--set {assignment}: {why}"));
    let form = || wrong("write it as section.key=value");
    let (path, value) = assignment.split_once('=').ok_or_else(form)?;
    if path.split('.').any(|part| part.trim().is_empty()) {
        return Err(form());
    }
    // A bare word is a string: nobody wants to quote in a shell.
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let (sections, key) = path.trim().rsplit_once('.').map_or((None, path.trim()), |(s, k)| (Some(s), k));
    let mut place = table;
    for section in sections.into_iter().flat_map(|s| s.split('.')) {
        let entry = place.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| wrong("the part before the last dot is no section"))?;
    }
    place.insert(key.to_string(), value);
    Ok(())
}
