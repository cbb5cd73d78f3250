//! `tweedie config`.

use crate::cli::{Common, print};
use crate::config::Config;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::fmt::Write;

/// Explain the keys of a configuration: types, defaults and meanings. `tweedie help config` prints all.
///
/// With --json the schema of configurations (JSON Schema 2020-12), which editors read.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie config\n  \
    tweedie config training\n  \
    tweedie config data.image_size\n  \
    tweedie config --markdown > configuration.md")]
pub struct Args {
    /// A section, or a key
    #[arg(value_name = "SECTION|SECTION.KEY")]
    what: Option<String>,
    /// Print Markdown
    #[arg(long, conflicts_with = "what")]
    markdown: bool,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    if common.json {
        return print(serde_json::to_string_pretty(&schema())?);
    }
    if args.markdown {
        return print(markdown(&keys()).trim_end());
    }
    let wanted = |key: &&Key| match args.what.as_deref() {
        None => true,
        Some(what) => key.name == what || key.section == what,
    };
    let keys = keys();
    let found: Vec<&Key> = keys.iter().filter(wanted).collect();
    if let (true, Some(what)) = (found.is_empty(), &args.what) {
        let names = keys.iter().flat_map(|key| [&key.name, &key.section]);
        let near = names.max_by(|a, b| strsim::jaro(a, what).total_cmp(&strsim::jaro(b, what)));
        anyhow::bail!(
            "no section or key of a configuration is called {what}; did you mean {}?",
            near.map_or("", |n| n)
        );
    }
    print(text(&found).trim_end())
}

/// Every key, for the end of the command's help.
pub fn reference() -> String {
    text(&keys().iter().collect::<Vec<_>>())
}

/// A key of a configuration.
struct Key {
    /// `seed`, or `section.key`.
    name: String,
    /// The section, or nothing.
    section: String,
    about: String,
    values: String,
    /// As TOML; none if the key must be given or has no value unless it is.
    default: Option<String>,
    required: bool,
    /// The names that it takes, with their descriptions.
    names: Vec<(String, String)>,
}

fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

fn keys() -> Vec<Key> {
    let schema = schema();
    let mut all = Vec::new();
    for (name, property) in properties(&schema) {
        match properties(property).collect::<Vec<_>>() {
            own if own.is_empty() => all.push(Key::new("", name, property, &schema)),
            own => all.extend(own.into_iter().map(|(key, value)| Key::new(name, key, value, property))),
        }
    }
    all
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

impl Key {
    fn new(section: &str, key: &str, schema: &Value, parent: &Value) -> Key {
        let is_key = |name: &Value| name.as_str() == Some(key);
        // A section with a default has those of its keys.
        let default = schema.get("default").or_else(|| parent.get("default")?.get(key));
        let default = default.filter(|value| !value.is_null());
        Key {
            name: if section.is_empty() { key.into() } else { format!("{section}.{key}") },
            section: section.into(),
            about: plain(schema["description"].as_str().unwrap_or_default()),
            values: values(schema),
            default: default.map(ToString::to_string),
            required: parent["required"].as_array().is_some_and(|required| required.iter().any(is_key)),
            names: names(schema),
        }
    }

    fn default(&self) -> String {
        match (&self.default, self.required) {
            (_, true) => "required".into(),
            (Some(default), _) => default.clone(),
            (None, _) => "unset".into(),
        }
    }
}

/// Alternatives of a schema, or itself.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let either = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    either.map_or(vec![schema], |all| all.iter().flat_map(alternatives).collect())
}

/// The names that a schema takes.
fn names(schema: &Value) -> Vec<(String, String)> {
    let named = |one: &Value| {
        let about = plain(one["description"].as_str().unwrap_or_default());
        let several = one["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let single = one["const"].as_str();
        several.chain(single).map(|name| (name.to_string(), about.clone())).collect::<Vec<_>>()
    };
    alternatives(schema).into_iter().flat_map(named).collect()
}

/// The type of a schema's values.
fn values(schema: &Value) -> String {
    let one = |schema: &Value| -> Option<String> {
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            return Some("a name".into());
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect::<Vec<_>>(),
        };
        let kind = kinds.into_iter().find(|kind| *kind != "null")?;
        Some(match kind {
            "integer" => "a whole number".into(),
            "number" => "a number".into(),
            "boolean" => "true or false".into(),
            "string" => "text".into(),
            "array" => {
                let items = values(&schema["items"]);
                let items = items.strip_prefix("a ").unwrap_or(&items);
                let count = schema["minItems"].as_u64().map_or(String::new(), |n| format!("{n} "));
                format!("a list of {count}{items}s")
            }
            other => other.into(),
        })
    };
    let mut all: Vec<String> = alternatives(schema).into_iter().filter_map(one).collect();
    all.dedup();
    all.join(", or ")
}

/// A doc comment as plain text: on one line, with the texts of its links.
fn plain(doc: &str) -> String {
    let words = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    let mut rest = &words[..];
    while let Some((before, after)) = rest.split_once("](") {
        let (linked, kept) = before.rsplit_once('[').unwrap_or(("", before));
        let _ = write!(text, "{linked}{kept}");
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    // Links without a target of their own.
    text.replace("[`", "`").replace("`]", "`")
}

fn text(keys: &[&Key]) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in keys {
        if key.section != section {
            section = &key.section;
            let _ = writeln!(out, "[{section}]");
        }
        let short = key.name.rsplit('.').next().unwrap_or_default();
        let _ = writeln!(out, "  {short}: {} ({})", key.values, key.default());
        let _ = writeln!(out, "      {}", key.about);
        for (name, about) in &key.names {
            let _ = writeln!(out, "      - {name}{}{about}", if about.is_empty() { "" } else { ": " });
        }
    }
    out
}

fn markdown(keys: &[Key]) -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         Every key of a configuration, generated by `tweedie config --markdown` from the types in `src/config`. \
         [training.md](training.md) explains how to choose.\n",
    );
    let mut section = None;
    for key in keys {
        if section != Some(&key.section) {
            section = Some(&key.section);
            let title = if key.section.is_empty() { "At the top" } else { &key.section };
            let _ = write!(
                out,
                "\n## {title}\n\n| key | values | default | meaning |\n| --- | --- | --- | --- |\n"
            );
        }
        let short = key.name.rsplit('.').next().unwrap_or_default();
        let cell = |text: &str| text.replace('|', "\\|");
        let named = |(name, about): &(String, String)| match about.is_empty() {
            true => format!("<br>`{name}`"),
            false => format!("<br>`{name}`: {}", cell(about)),
        };
        let names: String = key.names.iter().map(named).collect();
        let default = match (&key.default, key.required) {
            (Some(default), false) => format!("`{default}`"),
            _ => key.default(),
        };
        let _ = writeln!(
            out,
            "| `{short}` | {} | {} | {}{names} |",
            key.values,
            cell(&default),
            cell(&key.about)
        );
    }
    out
}
