//! Names that come from outside and become parts of paths and addresses.

use super::HubError;

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `OWNER/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Name {
    /// `OWNER/NAME` or `OWNER/NAME@REVISION`.
    pub fn parse(text: &str) -> Result<Name, HubError> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let whole = repository.split('/').count() == 2;
        if !(whole && repository.split('/').all(is_part) && revision.split('/').all(is_part)) {
            return Err(HubError::Name(text.into()));
        }
        Ok(Name { repository: repository.into(), revision: revision.into() })
    }
}

/// Returns true for a plain part of a path, which needs no escape in an address.
pub fn is_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.')
}

/// An entity tag's or a commit's name, without the quotes and the mark of weakness of HTTP.
#[cfg(feature = "hub")]
pub fn tag(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    ((1..=LONGEST).contains(&text.len()) && text.chars().all(plain)).then(|| text.to_string())
}

/// Bytes of a part; file systems stop at 255, and an ending is added.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_owner_a_model_and_perhaps_a_revision() {
        let name = |text: &str| Name::parse(text).map(|name| (name.repository, name.revision)).ok();
        let parsed = |repository: &str, revision: &str| Some((repository.to_string(), revision.to_string()));
        assert_eq!(name("google/ddpm-cifar10-32"), parsed("google/ddpm-cifar10-32", "main"));
        assert_eq!(name("a/b.c@refs/pr/1"), parsed("a/b.c", "refs/pr/1"));
        for wrong in ["", "a", "a/", "/b", "a/b/c", "a/b@", "../b", "a/..", "a/b@../../c", "a/b c", "a/b?x"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        assert_eq!(name(&format!("a/{}", "b".repeat(129))), None);
    }

    #[cfg(feature = "hub")]
    #[test]
    fn a_tag_is_letters_digits_dashes_and_underscores() {
        for whole in ["abc", "\"abc\"", "W/\"abc\"", " abc "] {
            assert_eq!(tag(whole).as_deref(), Some("abc"), "{whole}");
        }
        let long = "a".repeat(129);
        let wrong =
            ["", "\"\"", "W/", "..", ".", "a/b", "a\\b", "C:x", "a.b", "a\0", "\"a", "ä", "a b", &long];
        for wrong in wrong {
            assert_eq!(tag(wrong), None, "{wrong}");
        }
    }
}
