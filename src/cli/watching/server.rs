//! The server: requests from this machine's own pages only.

use super::answer::{Answer, Watched};
use std::io::Cursor;
use tiny_http::{Header, Method, Request, Response, Server};

/// Requests that are answered at once.
const THREADS: usize = 4;

/// Whom requests may come from.
pub struct Guard {
    hosts: [String; 3],
    /// An origin besides the page's own.
    allowed: Option<String>,
}

/// The page needs nothing but itself.
const POLICY: &str =
    "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:";

impl Guard {
    /// Requests to this port of the loopback address, from the page itself or the allowed origin. Another
    /// name in `Host` is that of a page elsewhere whose name now leads here (DNS rebinding).
    pub fn new(port: u16, allowed: Option<String>) -> Guard {
        Guard { hosts: ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}")), allowed }
    }

    /// The reason to refuse a request with these headers, if there is one.
    fn refuses(&self, host: Option<&str>, origin: Option<&str>) -> Option<&'static str> {
        if !host.is_some_and(|host| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))) {
            return Some("this page is at 127.0.0.1 or localhost only, with its port");
        }
        let own = |origin: &str| {
            self.hosts.iter().any(|host| origin.eq_ignore_ascii_case(&format!("http://{host}")))
        };
        let welcome = origin.is_none_or(|origin| own(origin) || self.allowed.as_deref() == Some(origin));
        (!welcome).then_some("other origins are refused; --allow-origin names one")
    }

    fn response(&self, request: &Request, watched: &Watched) -> Response<Cursor<Vec<u8>>> {
        let value = |name: &'static str| {
            let header = request.headers().iter().find(|header| header.field.equiv(name));
            header.map(|header| header.value.as_str())
        };
        let refuse =
            |status: u16, why: &str| Response::from_data(format!("{why}\n")).with_status_code(status);
        if let Some(why) = self.refuses(value("Host"), value("Origin")) {
            return refuse(403, why);
        }
        if !matches!(request.method(), Method::Get | Method::Head) {
            return refuse(405, "pages are only read here");
        }
        let path = request.url().split('?').next().unwrap_or_default();
        let Some(Answer { kind, body }) = watched.answer(path) else {
            return refuse(404, "there is nothing here");
        };
        let headers = [
            ("Content-Type", kind),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", POLICY),
            // Programs at the allowed origin may read the answer.
            ("Access-Control-Allow-Origin", self.allowed.as_deref().unwrap_or_default()),
        ];
        let headers = headers.iter().filter(|(_, value)| !value.is_empty());
        headers.fold(Response::from_data(body), |response, (name, value)| {
            match Header::from_bytes(name.as_bytes(), value.as_bytes()) {
                Ok(header) => response.with_header(header),
                Err(()) => response,
            }
        })
    }
}

/// Answers requests until the process ends.
pub fn serve(server: &Server, guard: &Guard, watched: &Watched) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok(request) = server.recv() {
                    let response = guard.response(&request, watched);
                    // A browser that has gone away misses nothing.
                    let _ = request.respond(response);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_and_origins_are_refused() {
        let guard = Guard::new(6116, Some("https://example.org".into()));
        let welcome = |host: &str, origin: Option<&str>| guard.refuses(Some(host), origin).is_none();
        for host in ["127.0.0.1:6116", "localhost:6116", "LOCALHOST:6116", "[::1]:6116"] {
            assert!(welcome(host, None) && welcome(host, Some(&format!("http://{host}"))), "{host}");
        }
        for host in ["127.0.0.1", "127.0.0.1:80", "example.org:6116", "localhost.example.org:6116", ""] {
            assert!(!welcome(host, None), "{host}");
        }
        assert!(guard.refuses(None, None).is_some());
        assert!(welcome("localhost:6116", Some("https://example.org")));
        for origin in ["null", "http://example.org", "https://example.org.evil", "https://localhost:6116"] {
            assert!(!welcome("localhost:6116", Some(origin)), "{origin}");
        }
    }
}
