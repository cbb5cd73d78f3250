//! `tweedie configs`.

use crate::cli::{Common, print};
use crate::config::Config;

/// List the configurations that are in the program, or print one of them.
///
/// `tweedie train` takes their names in place of a file.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie configs\n  \
    tweedie configs digits_ve > my.toml\n  \
    tweedie train digits_ve --out runs/digits")]
pub struct Args {
    /// The configuration to print, as TOML
    name: Option<String>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        let text = Config::preset_text(name)?;
        return match common.json {
            true => print(serde_json::to_string_pretty(&Config::from_toml(text, &[])?)?),
            false => print(text.trim_end()),
        };
    }
    let all: Vec<_> = Config::presets().zip(Config::presets().map(description)).collect();
    if common.json {
        let entry =
            |(name, about): &(&str, String)| serde_json::json!({ "name": name, "description": about });
        return print(serde_json::to_string_pretty(&all.iter().map(entry).collect::<Vec<_>>())?);
    }
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    all.iter().try_for_each(|(name, about)| print(format!("{name:width$}  {about}")))
}

/// The comment at the head of a configuration.
fn description(name: &str) -> String {
    let text = Config::preset_text(name).unwrap_or_default();
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_string()
}
