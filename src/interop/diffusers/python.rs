//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity`, which no standard has.

use crate::files;
use crate::interop::InteropError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The numbers of Python's that are none of JSON's, the longest first.
const NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Reads a file's text; `name` is the file's. A number that JSON does not have becomes a text, which no key takes
/// for a number.
pub(super) fn read(name: &str, text: &str) -> Result<Value, InteropError> {
    // Some editors begin a file with a mark of its byte order.
    let text = quoted(text.trim_start_matches('\u{feff}'));
    let wrong = |what: String| InteropError::Unknown(format!("{name}: {what}"));
    let value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    match files::repeated_key(&text) {
        Some(key) => Err(wrong(format!("it holds {key} twice"))),
        None => Ok(value),
    }
}

/// A file's object as a type; an error names the key.
pub(super) fn typed<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, InteropError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = match error.path().iter().next() {
            Some(_) => format!("{}: ", error.path()),
            None => String::new(),
        };
        InteropError::Unknown(format!("{name}: {at}{}", error.into_inner()))
    })
}

/// The settings, as `key = value`, among the keys of an object that nothing reads: neither what the file's writer notes
/// for itself nor null and false, which set nothing.
pub(super) fn settings(rest: &Map<String, Value>) -> Vec<String> {
    let set = |(key, value): &(&String, &Value)| {
        !key.starts_with('_') && !value.is_null() && **value != Value::Bool(false)
    };
    rest.iter().filter(set).map(|(key, value)| format!("{key} = {value}")).collect()
}

/// The text with Python's numbers in quotes. Texts stay as they are.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside = false;
    while let Some(c) = rest.chars().next() {
        let number = NUMBERS.into_iter().find(|number| !inside && rest.starts_with(number));
        let len = match (number, c) {
            (Some(number), _) => {
                out.extend(["\"", number, "\""]);
                rest = &rest[number.len()..];
                continue;
            }
            // The next character is part of an escape, a quote as well.
            (None, '\\') if inside => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        inside ^= c == '"';
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pythons_numbers_are_read_and_texts_stay() {
        let text = r#"{"a": -Infinity, "b": [NaN, Infinity], "NaN": "x\"NaN \\", "c": -1.5}"#;
        let expected = json!({"a": "-Infinity", "b": ["NaN", "Infinity"], "NaN": "x\"NaN \\", "c": -1.5});
        assert_eq!(read("x", text).unwrap(), expected);
        for text in ["", "{", "\"\\", "-Inf", "{\"a\": NaNN}", "NaN NaN", "\"é\\é"] {
            let message = read("file.json", text).unwrap_err().to_string();
            assert!(message.starts_with("file.json: ") && !message.contains('\n'), "{message}");
        }
    }
}
