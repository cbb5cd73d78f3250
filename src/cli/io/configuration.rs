//! Configurations in files, with assignments from the command line.

use super::paths::ends_in;
use crate::cli::note;
use crate::config::{Config, ConfigError};
use crate::interop::{InteropError, reference_config};
use anyhow::{Context, anyhow, bail};
use std::path::Path;

/// Reads a configuration, TOML or the reference implementation's JSON, or one of those in the program by its name, with `--set`
/// assignments on top.
pub fn read(path: &Path, set: &[String]) -> anyhow::Result<Config> {
    let shown = path.display();
    let text = text(path)?;
    let config = match ends_in(path, "json") {
        true => reference_config(&text, set),
        false => Config::from_toml(&text, set).map_err(InteropError::from),
    };
    let config = config.map_err(|error| match error {
        InteropError::Config(error) => with_source(error, set, path),
        other => anyhow::Error::from(other).context(shown.to_string()),
    })?;
    let unread: Vec<&str> = config.unread().collect();
    if !unread.is_empty() {
        note(format!("{shown}: nothing reads {} with this process and network", unread.join(", ")));
    }
    Ok(config)
}

/// The text of a file, or of the configuration in the program that has this name.
fn text(path: &Path) -> anyhow::Result<String> {
    let shown = path.display().to_string();
    let name = shown.strip_prefix("configs/").unwrap_or(&shown);
    let name = name.strip_suffix(".toml").unwrap_or(name);
    match (path.try_exists(), Config::preset_text(name)) {
        (Ok(false), Ok(text)) if shown == name => Ok(text.into()),
        (Ok(false), Ok(_)) => {
            bail!("{shown} cannot be read: there is no such file; `{name}` is a configuration in the program")
        }
        (Ok(false), Err(_)) => {
            bail!(
                "{shown} cannot be read: there is no such file, and no such configuration in the program (see `tweedie configs`)"
            )
        }
        _ => crate::files::read_to_string(path).with_context(|| format!("{shown} cannot be read")),
    }
}

/// An error of a configuration, with the file or the option that it comes from.
fn with_source(error: ConfigError, set: &[String], path: &Path) -> anyhow::Error {
    let assigned = |key: &str| set.iter().any(|set| set.split('=').next().map(str::trim) == Some(key));
    match &error {
        ConfigError::Assignment { .. } => anyhow!("--set {error}"),
        error if error.key().is_some_and(assigned) => anyhow!("{error}"),
        _ => anyhow::Error::from(error).context(path.display().to_string()),
    }
}
