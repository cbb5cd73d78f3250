//! The header of a safetensors file: the checksum that this program keeps there, and names that occur twice.

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// The place of the checksum in the header of a safetensors file: JSON inside a string of JSON, up to its digits.
const BEFORE_SUM: &[u8] = br#"\"crc32\":\""#;
/// The digits in its place while it is computed.
pub const NO_SUM: &str = "00000000";

/// The place of a checksum's digits in the bytes of a safetensors file, if its header has one.
pub fn place_of_sum(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let head = bytes.get(8..)?.get(..length)?;
    let place = head.windows(BEFORE_SUM.len()).position(|window| window == BEFORE_SUM)? + BEFORE_SUM.len();
    (place + NO_SUM.len() <= head.len()).then_some(8 + place)
}

/// Compares the checksum in a safetensors file with its contents: CRC-32 of the whole file, its own digits counted as
/// [`NO_SUM`]. `None` if the header has no checksum.
pub fn is_whole(bytes: &[u8]) -> Option<bool> {
    let (before, rest) = bytes.split_at(place_of_sum(bytes)?);
    let (digits, after) = rest.split_at(NO_SUM.len());
    let mut sum = crc32fast::Hasher::new();
    [before, NO_SUM.as_bytes(), after].iter().for_each(|part| sum.update(part));
    Some(format!("{:08x}", sum.finalize()).as_bytes() == digits)
}

/// A name that the header of a safetensors file has twice, of which a reader would take the last. Other faults of a header are
/// left to its reader.
pub fn repeated_name(bytes: &[u8]) -> Option<String> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let header = bytes.get(8..)?.get(..length)?;
    serde_json::Deserializer::from_slice(header).deserialize_map(Names).ok()?
}

/// A key that the object in a text of JSON has twice, of which a reader would take the last.
pub fn repeated_key(json: &str) -> Option<String> {
    serde_json::Deserializer::from_str(json).deserialize_map(Names).ok()?
}

/// Reads an object for a name that it has twice.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut header: A) -> Result<Option<String>, A::Error> {
        let (mut names, mut twice) = (HashSet::new(), None);
        while let Some((name, IgnoredAny)) = header.next_entry::<String, IgnoredAny>()? {
            if let Some(name) = names.replace(name) {
                twice = Some(name);
            }
        }
        Ok(twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_occurs_twice_is_found() {
        let file = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let one = |name: &str| format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
        let two = |a, b| file(&format!("{{{},{}}}", one(a), one(b)));
        assert_eq!(repeated_name(&two("x", "y")), None);
        assert_eq!(repeated_name(&two("x", "x")).as_deref(), Some("x"));
        for bytes in [vec![], vec![0xff; 8], file("{"), file("[1]")] {
            assert_eq!(repeated_name(&bytes), None);
        }
    }
}
