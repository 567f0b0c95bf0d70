//! Protection from foreign web pages: a page may use the broker only if it comes from it or is allowed
//! to.
//!
//! A browser names the page's site in `Origin`, and in `Host` the host that the page addresses. The
//! second reveals a page that lets its own name point at this machine (DNS rebinding). Programs that
//! are no browsers send no `Origin` and are not restricted.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::uri::{Authority, Uri};
use http::{Method, StatusCode};

use super::logins::Logins;
use super::request::{RequestHead, RequestRefusal};
use crate::engine::limits::SharedLimits;
use crate::sync::RwLock;

/// Set by browsers; scripts cannot set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The ends of names that only a local network resolves: RFC 6762 §3 with the services of Kubernetes, the
/// reservation of `internal` by ICANN, RFC 8375 §3, RFC 6761 §6.3. No page of the Internet has one.
const LOCAL_NAMES: [&str; 4] = [".local", ".internal", ".home.arpa", ".localhost"];

/// State that all HTTP conversations of a broker share.
pub(crate) struct Site {
    /// Replaced whole by a reload. Locked for a copy of the pointer, under no other lock.
    settings: RwLock<Arc<SiteSettings>>,
    limits: Arc<SharedLimits>,
    /// Number of incomplete requests.
    unfinished: AtomicUsize,
    pub(super) logins: Logins,
}

/// What is configured of a site.
pub(crate) struct SiteSettings {
    /// Names by which the broker may be addressed, in lower case.
    names: Vec<String>,
    /// Origins with the permissions of the broker's own page.
    origins: Vec<String>,
    /// The path of the web chat.
    pub(super) chat_path: Box<str>,
}

impl SiteSettings {
    /// `chat_path` is as [`chat_path`](super::chat_path) returns it.
    pub(crate) fn new(names: &[String], origins: &[String], chat_path: &str) -> Self {
        Self {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            origins: origins.to_vec(),
            chat_path: chat_path.into(),
        }
    }
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self::new(&[], &[], CHAT_PATH)
    }
}

/// Where the web chat is, unless another path is configured.
pub(crate) const CHAT_PATH: &str = "/talking";

/// An incomplete request.
pub(crate) struct Unfinished<'a>(&'a Site);

impl Site {
    pub(crate) fn new(settings: SiteSettings, limits: &Arc<SharedLimits>) -> Self {
        Self {
            settings: RwLock::new(Arc::new(settings)),
            limits: limits.clone(),
            unfinished: AtomicUsize::new(0),
            logins: Logins::default(),
        }
    }

    /// Replaces the settings for all requests from now on.
    pub(crate) fn replace(&self, settings: SiteSettings) {
        *self.settings.write() = Arc::new(settings);
    }

    pub(super) fn settings(&self) -> Arc<SiteSettings> {
        self.settings.read().clone()
    }

    /// Takes one of the places for slow requests: a quarter of all connections may have one.
    pub(crate) fn begin(&self) -> Result<Unfinished<'_>, RequestRefusal> {
        let place = Unfinished(self);
        let before = self.unfinished.fetch_add(1, Ordering::Relaxed);
        if before < (self.limits.load().connections / 4).max(1) {
            return Ok(place);
        }
        Err(RequestRefusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are incomplete; try again later",
        ))
    }

    /// Whether pages of this origin have the permissions of the broker's own page.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.settings().allows(origin)
    }
}

impl SiteSettings {
    /// Whether the page from which this request comes may send it.
    pub(super) fn check(&self, head: &RequestHead) -> Result<(), RequestRefusal> {
        if let Some(host) = &head.host
            && !self.knows(host.host())
        {
            return Err(RequestRefusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "this broker is not known as {0}; use its address, or start it with --name {0}",
                    host.host()
                ),
            ));
        }
        let Some(origin) = head.headers.get(ORIGIN) else {
            // Another port, or another name of the same site, is another page.
            let foreign_sites = [Some("cross-site"), Some("same-site")];
            let is_foreign = foreign_sites.contains(&head.header(SEC_FETCH_SITE));
            return match is_foreign && head.method != Method::GET && head.method != Method::HEAD {
                true => Err(foreign("another site")),
                false => Ok(()),
            };
        };
        match origin.to_str() {
            Ok(origin) if self.allows(origin) || is_own(origin, head) => Ok(()),
            origin => Err(foreign(origin.unwrap_or("it"))),
        }
    }

    /// Whether the page from which this request comes acts for the user of its browser: the broker's own, and
    /// those of sites that are named. Letting in all sites names none.
    pub(super) fn acts_for_user(&self, head: &RequestHead) -> bool {
        match head.headers.get(ORIGIN).map(HeaderValue::to_str) {
            Some(Ok(origin)) => {
                let mut named = self.origins.iter();
                is_own(origin, head) || named.any(|named| named.eq_ignore_ascii_case(origin))
            }
            Some(Err(_)) => false,
            // A browser names the site to hosts with TLS and this machine alone, and the origin with all that
            // is no GET or HEAD.
            None => match head.headers.get(SEC_FETCH_SITE) {
                Some(site) => site == "same-origin" || site == "none",
                None => true,
            },
        }
    }

    fn allows(&self, origin: &str) -> bool {
        let mut origins = self.origins.iter();
        origins.any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // A name without a dot is that of a machine or a container.
        !host.contains(['.', ':'])
            || LOCAL_NAMES.iter().any(|end| host.ends_with(end))
            || host.parse::<Ipv4Addr>().is_ok()
            || host.parse::<Ipv6Addr>().is_ok()
            || self.names.contains(&host)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

fn foreign(origin: &str) -> RequestRefusal {
    RequestRefusal::new(
        StatusCode::FORBIDDEN,
        format!(
            "pages of {origin} may not use this broker; to let them, start it with \
             --allow-origin and the value of their header Origin"
        ),
    )
}

/// Whether the page is from the host that the request addresses.
fn is_own(origin: &str, head: &RequestHead) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else {
        return false;
    };
    let default = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let place = |authority: &Authority| {
        let host = authority.host().to_ascii_lowercase();
        (host, authority.port_u16().unwrap_or(default))
    };
    match (origin.authority(), &head.host) {
        (Some(origin), Some(host)) => place(origin) == place(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;
    use crate::engine::limits::Limits;

    fn site() -> Site {
        let names = ["Broker.example".to_owned()];
        let limits = Limits {
            connections: 8,
            ..Limits::default()
        };
        let limits = Arc::new(SharedLimits::new(limits));
        let origins = ["https://app.example".to_owned()];
        Site::new(SiteSettings::new(&names, &origins, CHAT_PATH), &limits)
    }

    #[track_caller]
    fn check(method: &str, headers: &str, status: Option<u16>) {
        let text = format!("{method} / HTTP/1.1\r\n{headers}\r\n\r\n");
        let (head, _) = parse(text.as_bytes())
            .expect("a request")
            .expect("a whole one");
        let refused = site().settings().check(&head).err();
        assert_eq!(
            refused.map(|refused| refused.status.as_u16()),
            status,
            "{text}"
        );
    }

    #[test]
    fn it_is_known_by_its_addresses_and_its_names() {
        for host in [
            "localhost:1373",
            "127.0.0.1",
            "[::1]:1373",
            "10.1.2.3:1373",
            "x.localhost",
        ] {
            check("GET", &format!("Host: {host}"), None);
        }
        check("GET", "Host: BROKER.example:1373", None);
        check("GET", "Host: broker.example.", None);
        for host in [
            "broker",
            "Broker:1373",
            "broker.local",
            "broker.home.arpa.",
            "BROKER.internal:80",
            "broker.default.svc.cluster.local",
        ] {
            check("GET", &format!("Host: {host}"), None);
            check(
                "GET",
                &format!("Host: {host}\r\nOrigin: http://{host}"),
                None,
            );
            check(
                "GET",
                &format!("Host: {host}\r\nOrigin: http://evil.example"),
                Some(403),
            );
        }
        for host in [
            "local.evil.example",
            "broker.local.example",
            "evil.internals",
            "home.arpa",
        ] {
            check("GET", &format!("Host: {host}"), Some(421));
        }
        check("GET", "Host: evil.example:1373", Some(421));
        check("GET", "Host: localhost.evil.example", Some(421));
        check("GET", "Host: 127.0.0.1.evil.example", Some(421));
    }

    #[test]
    fn a_page_from_elsewhere_may_do_nothing() {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let from = |origin: &str| format!("Host: localhost:1373\r\nOrigin: {origin}");
            check(method, "Host: localhost:1373", None);
            check(method, &from("http://localhost:1373"), None);
            check(method, &from("https://app.example"), None);
            for origin in [
                "http://localhost:8000",
                "http://localhost",
                "http://evil.example",
                "https://app.example.evil",
                "null",
                "",
                "file://",
            ] {
                check(method, &from(origin), Some(403));
            }
        }
        let cross = "Host: localhost\r\nSec-Fetch-Site: cross-site";
        check("POST", cross, Some(403));
        check("GET", cross, None);
    }

    #[test]
    fn a_cookie_counts_for_the_own_page_and_for_sites_that_are_named() {
        let all = ["*".to_owned(), "https://app.example".to_owned()];
        let settings = SiteSettings::new(&[], &all, CHAT_PATH);
        for (headers, acts) in [
            ("", true),
            ("Origin: http://localhost:1373", true),
            ("Origin: https://app.example", true),
            ("Sec-Fetch-Site: same-origin", true),
            ("Sec-Fetch-Site: none", true),
            // Letting in all sites names none.
            ("Origin: http://localhost:8000", false),
            ("Origin: null", false),
            ("Origin: \u{e4}", false),
            ("Sec-Fetch-Site: same-site", false),
            ("Sec-Fetch-Site: cross-site", false),
            (
                "Origin: http://localhost:8000\r\nSec-Fetch-Site: none",
                false,
            ),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: localhost:1373\r\n{headers}\r\n\r\n");
            let head = parse(text.replace("\r\n\r\n\r\n", "\r\n\r\n").as_bytes());
            let (head, _) = head.expect("a request").expect("a whole one");
            assert_eq!(settings.acts_for_user(&head), acts, "{headers}");
        }
    }

    #[test]
    fn only_so_many_requests_may_be_slow_to_come() {
        let site = site();
        let first = site.begin().expect("there is a place");
        let _second = site.begin().expect("there is a place");
        assert!(site.begin().is_err());
        drop(first);
        assert!(site.begin().is_ok());
    }
}
