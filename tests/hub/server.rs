//! A hub on the loopback address that does as it is told.

use crate::interop::tweedie;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The files of a model's folder by their paths in it.
pub type Files = HashMap<String, Vec<u8>>;

/// A hub with one model, `owner/tiny`, and one commit, `main` and `v1`.
pub struct Hub {
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub path: String,
    /// The first byte that it asks for.
    pub from: usize,
    pub token: Option<String>,
}

/// An answer; without a length it ends with the connection.
pub struct Reply {
    pub status: &'static str,
    pub head: Vec<(&'static str, String)>,
    pub length: Option<usize>,
    pub body: Vec<u8>,
}

impl Reply {
    fn of(status: &'static str, head: Vec<(&'static str, String)>, body: &[u8]) -> Reply {
        Reply { status, head, length: Some(body.len()), body: body.to_vec() }
    }

    /// Changes or removes a header.
    pub fn set(&mut self, name: &'static str, value: Option<&str>) {
        self.head.retain(|(other, _)| *other != name);
        self.head.extend(value.map(|value| (name, value.to_string())));
    }

    /// Makes it a redirect.
    pub fn redirect(&mut self, location: Option<&str>) {
        (self.status, self.length) = ("302 Found", Some(0));
        self.body.clear();
        self.set("Location", location);
    }
}

/// What becomes of an honest answer.
pub type Twist = Box<dyn Fn(&Asked, &mut Reply) + Send + Sync>;

impl Hub {
    /// An honest hub.
    pub fn serve(files: Files) -> Hub {
        Hub::twist(files, Box::new(|_, _| {}))
    }

    /// A hub whose answers are twisted.
    pub fn twist(files: Files, twist: Twist) -> Hub {
        Hub::start("http", files, twist, |stream| Some(Box::new(stream)))
    }

    /// A hub with the certificate of `tests/hub`.
    #[cfg(target_os = "linux")]
    pub fn secret(files: Files, twist: Twist) -> Hub {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let chain = CertificateDer::from_pem_slice(include_bytes!("certificate.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("a configuration");
        let config = Arc::new(config);
        Hub::start("https", files, twist, move |mut stream| {
            let mut connection = rustls::ServerConnection::new(config.clone()).ok()?;
            connection.complete_io(&mut stream).ok()?;
            Some(Box::new(rustls::StreamOwned::new(connection, stream)))
        })
    }

    fn start(
        scheme: &str,
        files: Files,
        twist: Twist,
        open: impl Fn(std::net::TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    ) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(stream) = open(stream.expect("a connection")) else { continue };
                let mut stream = BufReader::new(stream);
                let Some(question) = read(&mut stream) else { continue };
                log.lock().expect("a log").push(question.clone());
                let mut reply = honest(&question, &files);
                twist(&question, &mut reply);
                // The program may have heard enough.
                let _ = write(stream.get_mut(), &reply);
            }
        });
        Hub { endpoint, asked }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a log").clone()
    }

    /// The program with this hub and a cache.
    pub fn program(&self, cache: &Path) -> Command {
        program(&self.endpoint, cache)
    }
}

/// The program with a hub, a cache and nothing else of the surroundings.
pub fn program(endpoint: &str, cache: &Path) -> Command {
    let mut command = tweedie();
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", cache);
    for proxy in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(proxy);
    }
    for other in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"] {
        command.env_remove(other);
    }
    command
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_string());
    }
    let path = lines.first()?.split(' ').nth(1)?.to_string();
    let header = |name: &str| {
        let named = |line: &&String| line.to_lowercase().starts_with(name);
        lines.iter().find(named).map(|line| line[name.len()..].trim().to_string())
    };
    let from = header("range: bytes=").and_then(|range| range.split('-').next()?.parse().ok());
    Some(Asked { path, from: from.unwrap_or(0), token: header("authorization:") })
}

fn honest(question: &Asked, files: &Files) -> Reply {
    let Asked { path, from, .. } = question;
    let known = ["/owner/tiny/resolve/main/", "/owner/tiny/resolve/v1/"];
    let file = known.iter().find_map(|prefix| path.strip_prefix(prefix));
    let word = |word: &str| vec![("X-Error-Code", word.to_string())];
    match (file, file.and_then(|file| files.get(file))) {
        (Some(_), Some(bytes)) => {
            let head = vec![
                ("ETag", format!("\"{:x}\"", bytes.iter().map(|b| *b as u64).sum::<u64>())),
                ("X-Repo-Commit", "0123abcd".to_string()),
                ("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            ];
            Reply::of("206 Partial Content", head, &bytes[*from..])
        }
        (Some(_), None) => Reply::of("404 Not Found", word("EntryNotFound"), &[]),
        (None, _) if path.starts_with("/owner/tiny/") => {
            Reply::of("404 Not Found", word("RevisionNotFound"), &[])
        }
        (None, _) if path.starts_with("/owner/broken/") => {
            Reply::of("503 Service Unavailable", Vec::new(), &[])
        }
        (None, _) => Reply::of("401 Unauthorized", word("RepoNotFound"), &[]),
    }
}

fn write(stream: &mut dyn Stream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", reply.status);
    head.extend(reply.head.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    head.extend(reply.length.map(|length| format!("Content-Length: {length}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&reply.body)?;
    stream.flush()
}
