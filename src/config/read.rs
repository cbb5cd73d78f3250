//! Typed values from tables of TOML, with errors that are data: serde reports unknown and missing keys by name, and
//! [`Node`] checks the types that it is asked for.

use super::{ConfigError, refuse};
use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use std::fmt::Display;
use toml::{Table, Value};

/// The largest whole number of TOML.
const LARGEST: u64 = i64::MAX as u64;

/// Parses TOML.
pub(super) fn parse(text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', " "),
    })
}

/// Reads a value of a key into a type; the whole file has an empty key.
pub(super) fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, ConfigError> {
    T::deserialize(Node(value)).map_err(|Problem { mut path, what }| {
        path.push(key.into());
        path.reverse();
        if let What::Unknown { name, .. } | What::Missing { name } = &what {
            path.push(name.clone());
        }
        let key = path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        match what {
            What::Unknown { known, .. } => ConfigError::UnknownKey { key, line: None, known: known.to_vec() },
            What::Missing { .. } => ConfigError::MissingKey { key },
            What::Kind { found, expected } => refuse(key, found, format!("it must be {expected}")),
        }
    })
}

/// The line of a text that sets a key, from 1; a key within a list or an inline table has that of the list or table.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let (mut table, mut start) = (document.get_ref(), None);
    for part in key.split('.') {
        let Some((name, value)) = table.get_key_value(part) else { break };
        start = Some(name.span().start);
        let Some(next) = value.get_ref().as_table() else { break };
        table = next;
    }
    start.map(|start| line_at(text, start))
}

fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

/// A value that cannot be read: the keys that lead to it, the innermost first, and the reason.
#[derive(Debug)]
struct Problem {
    path: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Unknown { name: String, known: &'static [&'static str] },
    Missing { name: String },
    Kind { found: String, expected: String },
}

impl Problem {
    fn new(what: What) -> Problem {
        Problem { path: Vec::new(), what }
    }

    fn kind(found: impl Display, expected: impl Display) -> Problem {
        Problem::new(What::Kind { found: found.to_string(), expected: expected.to_string() })
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Problem {}

impl serde::de::Error for Problem {
    fn custom<T: Display>(message: T) -> Self {
        Problem::kind("this value", message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Problem::kind(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Problem::kind(found, expected)
    }

    fn unknown_variant(found: &str, names: &'static [&'static str]) -> Self {
        Problem::kind(found, names.join(", "))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Problem::new(What::Unknown { name: name.into(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Problem::new(What::Missing { name: name.into() })
    }
}

/// A value to read.
struct Node(Value);

impl Node {
    /// Itself, if it is `right`; else an error that says what it must be.
    fn expect(self, right: impl Fn(&Value) -> bool, expected: &str) -> Result<Node, Problem> {
        match &self.0 {
            value if right(value) => Ok(self),
            // In quotes where it would look like the value that it must be.
            Value::String(text) if text.parse::<Value>().is_ok() => Err(Problem::kind(&self.0, expected)),
            Value::String(text) => Err(Problem::kind(text, expected)),
            Value::Table(_) => Err(Problem::kind("a section", expected)),
            value => Err(Problem::kind(value, expected)),
        }
    }

    /// Reads a whole number of at most `most`.
    fn whole<'de, V: Visitor<'de>>(self, most: u64, visitor: V) -> Result<V::Value, Problem> {
        let number =
            |value: &Value| value.as_integer().and_then(|i| u64::try_from(i).ok()).filter(|i| *i <= most);
        match number(&self.0) {
            Some(number) => visitor.visit_u64(number),
            None => {
                let expected = format!("a whole number from 0 to {most}");
                self.expect(|_| false, &expected)?.deserialize_any(visitor)
            }
        }
    }
}

impl<'de> IntoDeserializer<'de, Problem> for Node {
    type Deserializer = Node;

    fn into_deserializer(self) -> Node {
        self
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(on) => visitor.visit_bool(on),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Node))),
            Value::Table(table) => visitor.visit_map(Keys { rest: table.into_iter(), next: None }),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.whole(LARGEST, visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.whole(u16::MAX.into(), visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.expect(|value| value.is_float() || value.is_integer(), "a number")?.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.expect(Value::is_bool, "true or false")?.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.expect(Value::is_str, "a text in quotes")?.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.expect(Value::is_array, "a list")?.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.expect(Value::is_table, "a section of keys")?.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// A name, or a table that holds the variant's keys under its name.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            Value::Table(table) => {
                visitor.visit_enum(MapAccessDeserializer::new(Keys { rest: table.into_iter(), next: None }))
            }
            value => Err(Problem::kind(value, names.join(", "))),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u32 u128 f32 char str bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

/// The keys of a table; an error in a value is given its key.
struct Keys {
    rest: toml::map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Keys {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.next = self.rest.next();
        let name = self.next.as_ref().map(|(name, _)| name.as_str());
        name.map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let (name, value) = self.next.take().unwrap_or((String::new(), Value::Boolean(false)));
        seed.deserialize(Node(value)).map_err(|mut problem| {
            problem.path.push(name);
            problem
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_on_its_line() {
        let text = "seed = 1\n\n[model]\n# a comment\nnf = 4\nfir_kernel = [1,\n 3]\n[data]\nsize = 8\n";
        assert_eq!(line_of(text, "model.nf"), Some(5));
        assert_eq!(line_of(text, "data.size"), Some(9));
        assert_eq!(line_of(text, "data"), Some(8));
        assert_eq!(line_of(text, "optim.lr"), None);
    }
}
