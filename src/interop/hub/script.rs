//! A hub whose answers are given: no byte leaves this machine.
//!
//! ureq promises no stability of its connectors, but tests alone use them.

use super::cache::Cache;
use super::client::{Client, Limits};
use super::fetch::Hub;
use super::{Address, HubError, Name};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error, config::Config};

/// Downloads a model into the cache at `root` from a hub that gives the answers in `script`, one for each request: status
/// line, headers and body, with a line of three dashes between two answers.
pub fn answered(script: &[u8], root: &Path) -> Result<PathBuf, HubError> {
    let lines: Vec<&[u8]> = script.split_inclusive(|byte| *byte == b'\n').collect();
    let answers = lines.split(|line| *line == b"---\n").map(|answer| answer.concat()).collect();
    let endpoint = "https://hub".to_string();
    let address = Address::parse(&endpoint).ok_or_else(|| HubError::Endpoint(endpoint.clone()))?;
    let name = Name::parse("owner/tiny")?;
    let script = Script(Mutex::new(answers));
    let client = Client::new(address, Some("hf_x".into()), Limits::default());
    let client = client.with(|config| Agent::with_parts(config, script, Nowhere));
    Hub { name: &name, endpoint, client, cache: Cache::new(root, &name) }.model(&mut |_| ())
}

/// The answers that are left.
#[derive(Debug)]
struct Script(Mutex<VecDeque<Vec<u8>>>);

impl Connector for Script {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, Error> {
        let next = self.0.lock().ok().and_then(|mut answers| answers.pop_front());
        let answer = io::Cursor::new(next.ok_or(Error::ConnectionFailed)?);
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Wire { buffers, answer }))
    }
}

/// A connection on which one answer arrives.
#[derive(Debug)]
struct Wire {
    buffers: LazyBuffers,
    answer: io::Cursor<Vec<u8>>,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let count = self.answer.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Every name's address.
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(([127, 0, 0, 1], 1).into());
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_answers_of_the_corpus_are_a_model() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/hub");
        for (name, file) in [
            ("whole", "unet/diffusion_pytorch_model.safetensors"),
            ("shards", "unet/two.safetensors"),
            ("redirects", "unet/diffusion_pytorch_model.safetensors"),
            ("chunked", "unet/diffusion_pytorch_model.safetensors"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let folder = answered(&std::fs::read(corpus.join(name)).unwrap(), root.path()).expect(name);
            assert!(folder.join("unet/config.json").exists() && folder.join(file).exists(), "{name}");
        }
    }
}
