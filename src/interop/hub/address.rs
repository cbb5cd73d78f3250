//! Addresses: the hub's own, and those to which it redirects.

use super::Fault;
use ureq::http::Uri;

/// An address of http or https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    uri: Uri,
    port: u16,
}

impl Address {
    /// Reads an address. One with a name and a password is refused: they belong to one host, and to no redirect.
    pub fn parse(text: &str) -> Option<Address> {
        let uri: Uri = text.parse().ok()?;
        let default = match uri.scheme_str()? {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let (authority, host) = (uri.authority()?.as_str(), uri.host()?);
        let port = match authority.strip_prefix(host)? {
            "" => default,
            // `parse` alone would take a sign.
            port => port.strip_prefix(':').filter(|port| !port.starts_with('+'))?.parse().ok()?,
        };
        (1..=LONGEST_HOST).contains(&host.len()).then_some(Address { uri, port })
    }

    /// The address to which a `Location` leads from here.
    pub fn redirect(&self, location: &str) -> Result<Address, Fault> {
        let scheme = if self.is_https() { "https" } else { "http" };
        let before = location.split(['/', '?', '#']).next().unwrap_or_default();
        let absolute = if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if let Some((other, _)) = before.split_once(':') {
            if !["http", "https"].iter().any(|known| other.eq_ignore_ascii_case(known)) {
                return Err(Fault::Scheme);
            }
            location.to_string()
        } else {
            let path = self.uri.path();
            let base = match location.chars().next() {
                None => return Err(Fault::BadLocation),
                Some('/') => "",
                Some('?') => path,
                Some(_) => path.rfind('/').map_or("/", |end| &path[..=end]),
            };
            format!("{scheme}://{}:{}{base}{location}", self.host(), self.port)
        };
        let next = Address::parse(&absolute).ok_or(Fault::BadLocation)?;
        if self.is_https() && !next.is_https() {
            return Err(Fault::Downgrade);
        }
        Ok(next)
    }

    /// The address in a request.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The host, in brackets if it is a number of IPv6.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns true if the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Returns true if scheme, host and port are the same.
    pub fn is_of(&self, other: &Address) -> bool {
        (self.is_https(), self.port) == (other.is_https(), other.port)
            && self.host().eq_ignore_ascii_case(other.host())
    }

    /// Returns true for this machine, which is reached without a proxy.
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|number: std::net::IpAddr| number.is_loopback())
    }
}

/// The longest name of DNS.
const LONGEST_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn an_address_is_http_or_https_with_a_host() {
        let wrong = [
            "",
            "hub",
            "/x",
            "//",
            "http://",
            "http:///x",
            "file:///etc/passwd",
            "ftp://hub/",
            "http://[::bad",
            "http://hub:port",
            "http://hub:+80",
            "http://hub:99999",
            "https://me:secret@hub/",
            "http://a b/",
            "http://hub/\u{1b}[31m",
        ];
        for wrong in wrong {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Address::parse(&format!("http://{}/", "a".repeat(254))), None);
        assert_eq!(address("https://hub/x").port, 443);
        assert_eq!(address("http://[::1]:8080/x").port, 8080);
    }

    #[test]
    fn a_redirect_is_read_as_a_browser_does() {
        let from = address("https://hub/a/b?c");
        for (location, to) in [
            ("/x/y?z", "https://hub:443/x/y?z"),
            ("x", "https://hub:443/a/x"),
            ("?x=http://y", "https://hub:443/a/b?x=http://y"),
            ("//cdn/x", "https://cdn/x"),
            ("HTTPS://cdn/x", "https://cdn/x"),
        ] {
            assert_eq!(from.redirect(location).expect(location), address(to), "{location}");
        }
        for (location, fault) in [
            ("", Fault::BadLocation),
            ("//", Fault::BadLocation),
            ("https://[::bad", Fault::BadLocation),
            ("file:///etc/passwd", Fault::Scheme),
            ("javascript:x", Fault::Scheme),
            ("http://hub/a", Fault::Downgrade),
        ] {
            assert_eq!(from.redirect(location), Err(fault), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = address("https://hub/a");
        assert!(hub.is_of(&address("https://HUB:443/b")));
        for other in ["http://hub/a", "https://hub:444/a", "https://hub.other/a", "https://other/a"] {
            assert!(!hub.is_of(&address(other)), "{other}");
        }
        for own in ["http://localhost:1", "http://127.0.0.1", "https://[::1]:3"] {
            assert!(address(own).is_loopback(), "{own}");
        }
        assert!(!hub.is_loopback());
    }
}
