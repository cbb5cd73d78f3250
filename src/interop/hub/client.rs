//! Requests: the token, redirects, time-outs, and the headers of an answer.

use super::{Address, Fault, name::tag};
use std::time::Duration;
use ureq::config::Config;
use ureq::http::{HeaderMap, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy, Timeout};

/// The longest times that a hub may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To take a connection, and before that to be found.
    pub connection: Duration,
    /// To answer a request. Hugging Face's own programs wait for 10 s.
    pub answer: Duration,
    /// Between two pieces of a file.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connection, answer, silence] = [10, 15, 30].map(Duration::from_secs);
        Limits { connection, answer, silence }
    }
}

/// Redirects of one request.
const REDIRECTS: usize = 5;

/// The largest file that is believed, 1 TiB. Disk space is used as bytes arrive and not before.
const LARGEST: u64 = 1 << 40;

/// A client of a hub.
pub struct Client {
    endpoint: Address,
    token: Option<String>,
    limits: Limits,
    agent: Agent,
}

/// A part of a file: its bytes from `first` to `last` of `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub last: u64,
    pub size: u64,
}

/// A file's tag and commit, from the hub's own headers. Those of other hosts do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub etag: String,
    pub commit: String,
}

/// An answer, whose body is still to be read.
pub struct Answer {
    pub facts: Facts,
    pub part: Part,
    pub host: String,
    pub body: ureq::BodyReader<'static>,
}

/// An answer that is no file.
pub struct Failure {
    pub host: String,
    pub why: Why,
}

/// Its reason.
pub enum Why {
    /// A status, with the hub's word for it. Other hosts have no word.
    Status(u16, Word),
    Fault(Fault),
}

/// The hub's words that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    NoFile,
    NoRevision,
    NoModel,
    NoAccess,
    /// The hub gives no reason.
    None,
    /// An unknown one, or another host than the hub.
    Other,
}

impl Client {
    pub fn new(endpoint: Address, token: Option<String>, limits: Limits) -> Client {
        Client { endpoint, token, limits, agent: Client::config(limits).into() }
    }

    /// A client whose requests another agent sends.
    #[cfg(any(test, fuzzing))]
    pub fn with(self, agent: impl FnOnce(Config) -> Agent) -> Client {
        Client { agent: agent(Client::config(self.limits)), ..self }
    }

    fn config(limits: Limits) -> Config {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        Agent::config_builder()
            .tls_config(tls)
            .proxy(Proxy::try_from_env())
            // A redirect is followed here, where the token is taken away, and a status has its own sentence.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("tweedie/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(limits.connection))
            .timeout_connect(Some(limits.connection))
            .timeout_send_request(Some(limits.answer))
            .timeout_recv_response(Some(limits.answer))
            .timeout_per_read(Some(limits.silence))
            .timeout_per_write(Some(limits.silence))
            .build()
    }

    pub fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    /// The token, for an address of the hub itself over https; none for any other.
    fn token_for(&self, address: &Address) -> Option<&str> {
        self.token.as_deref().filter(|_| address.is_https() && address.is_of(&self.endpoint))
    }

    /// Requests a range of bytes.
    pub fn get(&self, address: &Address, range: &str) -> Result<Answer, Failure> {
        let mut address = address.clone();
        let mut facts = Said::default();
        for _ in 0..=REDIRECTS {
            let failed = |why| Failure { host: address.host().to_string(), why };
            let fault = |fault| failed(Why::Fault(fault));
            let answer = self.send(&address, range).map_err(|e| fault(self.fault(e)))?;
            let (status, head) = (answer.status().as_u16(), answer.headers());
            let own = address.is_of(&self.endpoint);
            if own {
                facts.hear(head);
            }
            match status {
                301 | 302 | 303 | 307 | 308 => {
                    let location = head.get(header::LOCATION).ok_or_else(|| fault(Fault::NoLocation))?;
                    let location = location.to_str().map_err(|_| fault(Fault::BadLocation))?;
                    let next = address.redirect(location).map_err(fault)?;
                    address = next;
                }
                200 | 206 => {
                    // In this order the first reported fault is the hub's.
                    let facts = facts.whole().map_err(fault)?;
                    let part = part(status, head).map_err(fault)?;
                    let host = address.host().to_string();
                    return Ok(Answer { facts, part, host, body: answer.into_body().into_reader() });
                }
                _ => return Err(failed(Why::Status(status, if own { word(head) } else { Word::Other }))),
            }
        }
        Err(Failure { host: address.host().to_string(), why: Why::Fault(Fault::Redirects(REDIRECTS)) })
    }

    fn send(&self, to: &Address, range: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(to.uri()).header(header::RANGE, range);
        if let Some(token) = self.token_for(to) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if to.is_loopback() {
            request = request.config().proxy(None).build();
        }
        request.call()
    }

    /// An error of a request or of reading a body, in words of our own.
    pub fn fault(&self, error: ureq::Error) -> Fault {
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                Fault::Connection(self.limits.connection.as_secs())
            }
            ureq::Error::Timeout(Timeout::PerRead) => Fault::Silent(self.limits.silence.as_secs()),
            ureq::Error::Timeout(_) => Fault::Silent(self.limits.answer.as_secs()),
            ureq::Error::HostNotFound => Fault::Unreachable("its name is unknown".into()),
            ureq::Error::ConnectProxyFailed(_) => Fault::Unreachable("the proxy refuses".into()),
            ureq::Error::ConnectionFailed => Fault::Unreachable("no connection".into()),
            ureq::Error::Rustls(error) => Fault::Tls(printable(&error.to_string())),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Fault::Unreachable("it closed the connection".into())
            }
            // So the handshake names its errors.
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Fault::Tls(printable(&error.to_string()))
            }
            ureq::Error::Io(error) => Fault::Unreachable(printable(&error.to_string())),
            _ => Fault::Http,
        }
    }
}

/// A message that may quote a certificate, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).take(200).collect()
}

/// Tag and commit from the headers so far, over redirects within the hub; the last value counts.
#[derive(Default)]
struct Said {
    etag: Option<Option<String>>,
    commit: Option<Option<String>>,
}

impl Said {
    fn hear(&mut self, head: &HeaderMap) {
        let tag = |name: &str| head.get(name).map(|value| value.to_str().ok().and_then(tag));
        // The tag of a large file is its SHA-256, whatever the tag of the answer itself.
        self.etag = tag("x-linked-etag").or_else(|| tag("etag")).or_else(|| self.etag.take());
        self.commit = tag("x-repo-commit").or_else(|| self.commit.take());
    }

    fn whole(self) -> Result<Facts, Fault> {
        let tag =
            |said: Option<Option<String>>, name| said.ok_or(Fault::Missing(name))?.ok_or(Fault::Unsafe(name));
        Ok(Facts { etag: tag(self.etag, "ETag")?, commit: tag(self.commit, "X-Repo-Commit")? })
    }
}

/// The byte range of an answer.
fn part(status: u16, head: &HeaderMap) -> Result<Part, Fault> {
    let text = |name| head.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Fault::Compressed);
    }
    let length = text(header::CONTENT_LENGTH).map(number);
    let part = if status == 206 {
        let range = text(header::CONTENT_RANGE).ok_or(Fault::Missing("Content-Range"))?;
        let numbers = || {
            let (range, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some(Part { first: number(first)?, last: number(last)?, size: number(size)? })
        };
        numbers().filter(|part| part.first <= part.last && part.last < part.size).ok_or(Fault::Part)?
    } else {
        let size = length.ok_or(Fault::Missing("Content-Length"))?.ok_or(Fault::Part)?;
        // An empty file has no last byte, and no model has an empty file.
        Part { first: 0, last: size.checked_sub(1).ok_or(Fault::Part)?, size }
    };
    if part.size > LARGEST {
        return Err(Fault::Huge(part.size));
    }
    match length {
        Some(length) if length != Some(part.last - part.first + 1) => Err(Fault::Part),
        _ => Ok(part),
    }
}

/// Digits; `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The hub's word for a failure.
fn word(head: &HeaderMap) -> Word {
    match head.get("x-error-code").map(|word| word.as_bytes()) {
        None | Some(b"") => Word::None,
        Some(b"EntryNotFound") => Word::NoFile,
        Some(b"RevisionNotFound") => Word::NoRevision,
        Some(b"RepoNotFound") => Word::NoModel,
        Some(b"GatedRepo") => Word::NoAccess,
        Some(_) => Word::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn client(endpoint: &str, silence: Duration) -> Client {
        let limits = Limits { connection: Duration::from_secs(10), answer: silence, silence };
        Client::new(Address::parse(endpoint).expect(endpoint), Some("hf_x".into()), limits)
    }

    #[test]
    fn the_token_goes_to_the_hub_alone_and_only_in_secret() {
        let token = |endpoint: &str, to: &str| {
            let to = Address::parse(to).expect(to);
            client(endpoint, Duration::ZERO).token_for(&to).is_some()
        };
        assert!(token("https://hub/prefix", "https://hub/a"));
        assert!(token("https://hub:443", "https://HUB/a"));
        for (endpoint, to) in [
            ("https://hub", "https://hub:8443/a"),
            ("https://hub", "http://hub/a"),
            ("https://hub", "https://cdn.hub/a"),
            ("https://hub", "https://hub.other/a"),
            ("http://hub", "http://hub/a"),
            ("http://127.0.0.1", "http://127.0.0.1/a"),
        ] {
            assert!(!token(endpoint, to), "{endpoint} {to}");
        }
    }

    /// The fault of a server that takes a request, says `words`, and nothing more.
    fn silent_after(words: &'static str) -> Option<Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(words.as_bytes()).expect("an answer");
            let _ = wait.recv();
        });
        let client = client(&endpoint, Duration::from_millis(200));
        let fault = match client.get(client.endpoint(), "bytes=0-") {
            Ok(mut answer) => answer.body.read_to_end(&mut Vec::new()).err().map(|e| client.fault(e.into())),
            Err(Failure { why: Why::Fault(fault), .. }) => Some(fault),
            Err(_) => None,
        };
        drop(done);
        server.join().expect("a server");
        fault
    }

    #[test]
    fn a_hub_that_says_nothing_is_given_up() {
        let head = "HTTP/1.1 200 OK\r\nETag: a\r\nX-Repo-Commit: b\r\nContent-Length: 9\r\n";
        assert_eq!(silent_after(""), Some(Fault::Silent(0)));
        assert_eq!(silent_after(head), Some(Fault::Silent(0)));
        assert_eq!(silent_after(&*format!("{head}\r\nabc").leak()), Some(Fault::Silent(0)));
    }

    #[test]
    fn a_part_agrees_with_itself() {
        let read = |status, pairs: &[(&'static str, &str)]| {
            let head = pairs.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), value.parse().expect("a value"))
            });
            part(status, &head.collect())
        };
        let range = |text: &str| read(206, &[("content-range", text)]);
        assert_eq!(range("bytes 3-7/8"), Ok(Part { first: 3, last: 7, size: 8 }));
        assert_eq!(read(200, &[("content-length", "8")]), Ok(Part { first: 0, last: 7, size: 8 }));
        for wrong in
            ["", "bytes 0-7/2", "bytes 7-0/8", "bytes 0-0/many", "bytes 0-0/*", "bytes +0-7/8", "0-7/8"]
        {
            assert_eq!(range(wrong), Err(Fault::Part), "{wrong}");
        }
        assert_eq!(range("bytes 0-7/18446744073709551615"), Err(Fault::Huge(u64::MAX)));
        assert_eq!(read(206, &[("content-range", "bytes 0-7/8"), ("content-length", "9")]), Err(Fault::Part));
        assert_eq!(read(206, &[]), Err(Fault::Missing("Content-Range")));
        assert_eq!(read(200, &[]), Err(Fault::Missing("Content-Length")));
        assert_eq!(read(200, &[("content-length", "0")]), Err(Fault::Part));
        assert_eq!(
            read(200, &[("content-length", "8"), ("content-encoding", "gzip")]),
            Err(Fault::Compressed)
        );
    }
}
