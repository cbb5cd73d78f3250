//! Errors of configurations.

use super::read::line_of;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A key that does not exist.
    #[error("{}{key}: unknown key{}", shown(line), suggestion(key.rsplit('.').next().unwrap_or_default(), known))]
    UnknownKey {
        /// The key, as `section.key`.
        key: String,
        /// Its line, from 1.
        line: Option<usize>,
        /// The keys of its section.
        known: Vec<&'static str>,
    },
    /// A key that has no default is left out.
    #[error("{key} is missing")]
    MissingKey {
        /// The key, as `section.key`.
        key: String,
    },
    /// A key has a value that it does not take.
    #[error("{}{key} = {value}: {why}", shown(line))]
    Value {
        /// The key, as `section.key`.
        key: String,
        /// Its line, from 1.
        line: Option<usize>,
        /// Its value.
        value: String,
        /// The values that it takes.
        why: String,
    },
    /// Keys that exclude or require each other.
    #[error("{0}")]
    Combination(&'static str),
    /// An assignment that is not `section.key=value`.
    #[error("{assignment}: {why}")]
    Assignment {
        /// The assignment.
        assignment: String,
        /// The fault.
        why: &'static str,
    },
}

impl ConfigError {
    /// The key that the error is about, as `section.key`.
    pub fn key(&self) -> Option<&str> {
        match self {
            ConfigError::UnknownKey { key, .. }
            | ConfigError::MissingKey { key }
            | ConfigError::Value { key, .. } => Some(key),
            ConfigError::Syntax { .. } | ConfigError::Combination(_) | ConfigError::Assignment { .. } => None,
        }
    }

    /// An error in a table that was read as the variant `name` of an enum, in terms of the whole table: the key `tag` holds the
    /// variant's name, and `others` are keys of every variant.
    pub(super) fn of_variant(
        mut self,
        name: &str,
        tag: &'static str,
        others: &[&'static str],
    ) -> ConfigError {
        if let ConfigError::UnknownKey { key, .. }
        | ConfigError::MissingKey { key }
        | ConfigError::Value { key, .. } = &mut self
        {
            let own = key.strip_prefix(name).map(|rest| rest.trim_start_matches('.'));
            *key = own.filter(|own| !own.is_empty()).unwrap_or(tag).into();
        }
        if let ConfigError::UnknownKey { known, .. } = &mut self {
            known.extend([&[tag], others].concat());
        }
        self
    }

    /// The same with the line of its key in a text.
    pub(super) fn located(mut self, text: &str) -> ConfigError {
        if let ConfigError::UnknownKey { key, line, .. } | ConfigError::Value { key, line, .. } = &mut self {
            *line = line_of(text, key);
        }
        self
    }
}

/// An error in the value of a key.
pub(crate) fn refuse(
    key: impl Into<String>,
    value: impl std::fmt::Debug,
    why: impl Into<String>,
) -> ConfigError {
    let value = format!("{value:?}");
    // A text that is shown keeps the quotes within it.
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(&value)
        .replace("\\\"", "\"");
    ConfigError::Value { key: key.into(), line: None, value, why: why.into() }
}

fn shown(line: &Option<usize>) -> String {
    line.map_or(String::new(), |line| format!("line {line}: "))
}

/// The name that was probably meant, else all known names.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> String {
    // One letter, or one in five, is left out, added, changed or exchanged.
    let slips = |key: &&str| strsim::osa_distance(name, key);
    let near = known.iter().copied().min_by_key(slips).filter(|key| slips(key) <= (name.len() / 5).max(1));
    near.map_or_else(
        || format!(", expected one of {}", known.join(", ")),
        |key| format!("; did you mean {key}?"),
    )
}
