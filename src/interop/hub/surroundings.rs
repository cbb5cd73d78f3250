//! The settings of the hub in the environment, those of Hugging Face's own programs.

use super::{Address, HubError};
use std::fs;
use std::path::PathBuf;

/// The hub if the environment names none.
const HUB: &str = "https://huggingface.co";

/// The hub's address, the cache, and the login.
pub struct Surroundings {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The folder of the models.
    pub cache: PathBuf,
    /// The login.
    pub token: Option<String>,
}

impl Surroundings {
    pub fn read() -> Result<Surroundings, HubError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || {
            let home = set("HF_HOME").map(PathBuf::from);
            home.or_else(|| Some(dirs::home_dir()?.join(".cache/huggingface"))).ok_or(HubError::NoHome)
        };
        let endpoint = set("HF_ENDPOINT").map_or(HUB.into(), |text| text.to_string_lossy().into_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_string();
        // An address with a question would swallow the file's name.
        if Address::parse(&endpoint).is_none() || endpoint.contains(['?', '#']) {
            return Err(HubError::Endpoint(endpoint));
        }
        let cache = match set("HF_HUB_CACHE") {
            Some(folder) => folder.into(),
            None => home()?.join("hub"),
        };
        let token = match set("HF_TOKEN") {
            Some(token) => checked(&token.to_string_lossy(), || "HF_TOKEN".into())?,
            None => {
                // Without a home folder there is no login either.
                let path =
                    set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home().ok()?.join("token")));
                match path.and_then(|path| Some((fs::read_to_string(&path).ok()?, path))) {
                    Some((text, path)) => checked(&text, || path.display().to_string())?,
                    None => None,
                }
            }
        };
        Ok(Surroundings { endpoint, cache, token })
    }
}

/// The token in a text. It becomes a part of a request and must not end its line.
fn checked(text: &str, place: impl Fn() -> String) -> Result<Option<String>, HubError> {
    let token = text.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HubError::Token(place()));
    }
    Ok(Some(token.to_string()).filter(|token| !token.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        let token = |text: &str| checked(text, String::new).ok();
        assert_eq!(token("hf_x\n"), Some(Some("hf_x".into())));
        assert_eq!(token(" \n"), Some(None));
        assert_eq!(token("hf_x\r\nHost: other"), None);
        assert_eq!(token("hf_ä"), None);
    }
}
