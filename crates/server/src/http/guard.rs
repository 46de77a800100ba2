//! Who may ask at all: `Host`, `Origin` and `Sec-Fetch-Site`, checked on every route. A page on the web must not reach a server
//! on loopback, neither through its visitor's browser nor by a name that is made to resolve to it.

use std::net::{IpAddr, SocketAddr};

use super::problem::Problem;
use super::request::{Method, Request, Version};

/// The names and origins that this server knows as its own.
#[derive(Debug, Clone)]
pub struct Guard {
    address: SocketAddr,
    /// The address as most clients write it.
    address_text: String,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// What a request that may pass still has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// From this site, or from no browser.
    Own,
    /// From a listed origin, which the answer must name.
    Listed(Box<str>),
}

impl Guard {
    /// A guard for one listener.
    pub fn new(address: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let lower = |texts: &[String]| texts.iter().map(|text| text.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { address, address_text: address.to_string(), hosts: lower(hosts), origins: lower(origins) }
    }

    /// Checks a request. Where it is for the page itself, a link of another site may lead to it.
    pub fn check(&self, request: &Request, is_page: bool) -> Result<Admitted, Problem> {
        let host = request.header("host").unwrap_or_default();
        if !(self.knows_host(host) || (host.is_empty() && request.version == Version::Http10)) {
            let detail = format!("this server does not answer to the name {host:?}; use its address, or list the name in http.hosts");
            return Err(Problem::new(421, "foreign-host", detail));
        }
        let mut origins = request.header_all("origin");
        let Some(origin) = origins.next() else { return check_fetch_site(request, is_page) };
        if origins.next().is_some() {
            return Err(Problem::new(400, "ambiguous-origin", "the request has more than one Origin"));
        }
        if is_same_origin(origin, host) {
            return Ok(Admitted::Own);
        }
        if self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
            return Ok(Admitted::Listed(origin.into()));
        }
        let detail = format!("pages of {origin} may not use this server; list the origin in http.origins to allow them");
        Err(Problem::new(403, "foreign-origin", detail))
    }

    /// Whether a `Host` is one of this server's names.
    pub fn knows_host(&self, host: &str) -> bool {
        if host == self.address_text {
            return true;
        }
        let name = host_name(host);
        if self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name) || listed.eq_ignore_ascii_case(host)) {
            return true;
        }
        // A name can be made to resolve to us; an address that is literally ours cannot be anyone else's.
        let literal = match name.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').unwrap_or_default(),
            None => name,
        };
        match literal.parse::<IpAddr>() {
            Ok(ip) if self.address.ip().is_loopback() => ip.is_loopback(),
            Ok(_) => true,
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Browsers leave Origin out of some requests, such as an image's, but still tell where they come from (Fetch Metadata).
fn check_fetch_site(request: &Request, is_page: bool) -> Result<Admitted, Problem> {
    match request.header("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(Admitted::Own),
        Some(_) if is_page && is_visit(request) => Ok(Admitted::Own),
        Some(_) => Err(Problem::new(403, "foreign-site", "pages of other sites may not use this server without their Origin")),
    }
}

/// Whether a person follows a link: the answer fills the window, and the page with the link never sees it.
fn is_visit(request: &Request) -> bool {
    let is = |name: &str, value: &str| request.header(name) == Some(value);
    request.method() == Method::Get && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

/// The name of an authority, without its port.
pub(crate) fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    memchr::memrchr(b':', host.as_bytes()).map_or(host, |colon| &host[..colon])
}

/// TLS may have ended before us, so only the authority is compared, not the scheme.
fn is_same_origin(origin: &str, host: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(scheme, authority)| (scheme == "http" || scheme == "https") && authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http::HeadLimits;

    fn check(address: &str, headers: &str) -> Result<Admitted, u16> {
        check_for(address, headers, false)
    }

    fn check_for(address: &str, headers: &str, is_page: bool) -> Result<Admitted, u16> {
        let guard = Guard::new(address.parse().expect("an address"), &["push.example".into()], &["https://app.example".into()]);
        let mut head = BytesMut::from(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_str());
        let request = Request::parse(&mut head, HeadLimits { bytes_max: 1000, headers_max: 10 }).expect("well formed").expect("whole");
        guard.check(&request, is_page).map_err(|problem| problem.status)
    }

    #[test]
    fn knows_its_own_names() {
        for host in ["127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "127.9.9.9", "push.example:80"] {
            assert_eq!(check("127.0.0.1:8080", &format!("host: {host}\r\n")), Ok(Admitted::Own), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", "[::1", "::1", ""] {
            assert_eq!(check("127.0.0.1:8080", &format!("host: {host}\r\n")), Err(421), "{host}");
        }
        assert_eq!(check("0.0.0.0:8080", "host: 10.0.0.1\r\n"), Ok(Admitted::Own));
        assert_eq!(check("0.0.0.0:8080", "host: evil.example\r\n"), Err(421));
    }

    #[test]
    fn knows_whose_page_asks() {
        let with = |more: &str| check("127.0.0.1:8080", &format!("host: 127.0.0.1:8080\r\n{more}"));
        assert_eq!(with("origin: http://127.0.0.1:8080\r\n"), Ok(Admitted::Own));
        assert_eq!(with("origin: https://app.example\r\n"), Ok(Admitted::Listed("https://app.example".into())));
        for origin in ["null", "http://127.0.0.1:8081", "https://evil.example", "file://127.0.0.1:8080"] {
            assert_eq!(with(&format!("origin: {origin}\r\n")), Err(403), "{origin}");
        }
        assert_eq!(with("sec-fetch-site: none\r\n"), Ok(Admitted::Own));
        assert_eq!(with("sec-fetch-site: cross-site\r\n"), Err(403));
        assert_eq!(with("sec-fetch-site: same-site\r\n"), Err(403));
    }

    #[test]
    fn a_link_of_another_site_leads_to_the_page_and_to_nothing_else() {
        let from = |site: &str, mode: &str, dest: &str, is_page| {
            let headers = format!("host: localhost\r\nsec-fetch-site: {site}\r\nsec-fetch-mode: {mode}\r\nsec-fetch-dest: {dest}\r\n");
            check_for("127.0.0.1:8080", &headers, is_page)
        };
        assert_eq!(from("cross-site", "navigate", "document", true), Ok(Admitted::Own));
        assert_eq!(from("same-site", "navigate", "document", true), Ok(Admitted::Own));
        assert_eq!(from("cross-site", "navigate", "document", false), Err(403));
        assert_eq!(from("cross-site", "navigate", "iframe", true), Err(403));
        assert_eq!(from("cross-site", "no-cors", "script", true), Err(403));
        assert_eq!(from("cross-site", "no-cors", "image", true), Err(403));
    }
}
