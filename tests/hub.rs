//! Models by name, from a test hub on the loopback address.

use crate::interop::{checkpoint, folder, refuse, succeed, tweedie};
use crate::support::tiny;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tweedie::interop::write_diffusers;
use tweedie::train::Checkpoint;

/// A hub with one model, `owner/tiny`, and one commit, `main` and `v1`.
struct Hub {
    endpoint: String,
    /// The requested paths.
    asked: Arc<Mutex<Vec<String>>>,
}

type Files = HashMap<String, Vec<u8>>;

impl Hub {
    fn serve(files: Files) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let path = answer(stream.expect("a connection"), &files);
                log.lock().expect("a log").extend(path);
            }
        });
        Hub { endpoint, asked }
    }

    /// The program with this hub and a cache.
    fn program(&self, cache: &Path) -> Command {
        let mut command = tweedie();
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", cache);
        for proxy in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(proxy);
        }
        command
    }
}

/// Answers one request and returns its path.
fn answer(mut stream: TcpStream, files: &Files) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_string());
    }
    let path = lines.first()?.split(' ').nth(1)?.to_string();
    let range =
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
    let (from, to) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let known = ["/owner/tiny/resolve/main/", "/owner/tiny/resolve/v1/"];
    let file = known.iter().find_map(|prefix| path.strip_prefix(prefix));
    let (head, body) = match (file, file.and_then(|file| files.get(file))) {
        (Some(_), Some(bytes)) => {
            let first = from.parse::<usize>().expect("a number");
            let last = to.parse::<usize>().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
            let range = format!("Content-Range: bytes {first}-{last}/{}", bytes.len());
            let tag = format!(
                "ETag: \"{:x}\"\r\nX-Repo-Commit: 0123abcd",
                bytes.iter().map(|b| *b as u64).sum::<u64>()
            );
            (format!("206 Partial Content\r\n{range}\r\n{tag}"), &bytes[first..=last])
        }
        (Some(_), None) => ("404 Not Found\r\nX-Error-Code: EntryNotFound".into(), &[][..]),
        (None, _) if path.starts_with("/owner/tiny/") => {
            ("404 Not Found\r\nX-Error-Code: RevisionNotFound".into(), &[][..])
        }
        (None, _) if path.starts_with("/owner/broken/") => ("503 Service Unavailable".into(), &[][..]),
        (None, _) => ("401 Unauthorized\r\nX-Error-Code: RepoNotFound".into(), &[][..]),
    };
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
    Some(path)
}

/// The files of a model's folder by their paths in it.
fn files(folder: &Path) -> Files {
    let names =
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"];
    names.iter().map(|name| (name.to_string(), std::fs::read(folder.join(name)).expect("a file"))).collect()
}

#[test]
fn a_model_of_the_hub_is_downloaded_once_and_found_in_the_cache_without_a_network() {
    let (config, _, state) = tiny();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write_diffusers(&at("model"), &config, &state).expect("a model");
    let mut all = files(&at("model"));
    let hub = Hub::serve(all.clone());
    succeed(hub.program(&at("cache")).args(["convert", "hf:owner/tiny"]).arg(at("run")));
    let imported = Checkpoint::read(&checkpoint(&at("run"))).expect("a checkpoint").state().expect("a state");
    assert!(imported == state);
    assert!(hub.asked.lock().expect("a log").len() >= 6);
    assert!(at("cache/hub/models--owner--tiny/refs/main").exists());

    // An unreachable hub: the cache suffices for downloaded models.
    let nobody = Hub { endpoint: "http://127.0.0.1:1".into(), asked: Arc::default() };
    succeed(nobody.program(&at("cache")).args(["convert", "hf:owner/tiny"]).arg(at("again")));
    assert!(checkpoint(&at("again")).exists());
    let message = refuse(nobody.program(&at("cache")).args(["convert", "hf:owner/tiny@v1"]).arg(at("none")));
    assert!(message.contains("cannot be reached"), "{message}");

    // The format of the first published models, without folders, by a revision's name.
    for (place, name) in [
        ("unet", "config.json"),
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("scheduler", "scheduler_config.json"),
    ] {
        let bytes = all.remove(&format!("{place}/{name}")).expect("a file");
        all.insert(name.into(), bytes);
    }
    let flat = Hub::serve(all);
    succeed(flat.program(&at("cache2")).args(["convert", "hf:owner/tiny@v1"]).arg(at("flat")));
    let imported =
        Checkpoint::read(&checkpoint(&at("flat"))).expect("a checkpoint").state().expect("a state");
    assert!(imported == state);
    assert!(!at("none").exists());
}

#[test]
fn a_model_that_the_hub_does_not_have_is_refused_in_one_sentence() {
    let hub = Hub::serve(HashMap::from([("unet/config.json".to_string(), b"{}".to_vec())]));
    let folder = folder();
    for (name, expected) in [
        ("hf:owner/none", "the hub has no model owner/none"),
        ("hf:owner/tiny@nope", "no revision nope of owner/tiny"),
        ("hf:owner/tiny", "holds no unet/diffusion_pytorch_model.safetensors"),
        ("hf:owner/broken", "answers 503"),
        ("hf:tiny", "hf:OWNER/NAME"),
        ("hf:owner/../tiny", "hf:OWNER/NAME"),
    ] {
        let out = folder.path().join("out.npz");
        let mut command = hub.program(&folder.path().join("cache"));
        let message = refuse(command.args(["sample", name, "--out"]).arg(&out));
        assert!(message.contains(expected), "{message}");
        assert!(!out.exists());
    }
}
