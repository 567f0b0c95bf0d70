//! The host names and origins that an operator allows, in the form in which browsers send them.
//!
//! A value that no browser ever sends would allow nothing, in silence; it is refused with what to give
//! instead. Whether a request may pass is decided by the HTTP side.

use std::net::{Ipv6Addr, SocketAddr};

/// Parses a host name of this broker, in lower case. A port is left out: a name holds on every port.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains("://") || text.contains('/') {
        return Err("it is a URL; give the host name in it alone".to_owned());
    }
    let (host, _) = split_port(text)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    checked_host(host)
}

/// Parses an origin: `*`, `null`, or a scheme with a host, in lower case and without a default port.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == "*" || text.eq_ignore_ascii_case("null") {
        return Ok(text.to_ascii_lowercase());
    }
    let Some((scheme, place)) = text.split_once("://") else {
        return Err(format!(
            "an origin begins with a scheme; give https://{text} or http://{text}"
        ));
    };
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match &*scheme {
        "http" => Some(80),
        "https" => Some(443),
        "ws" | "wss" => {
            return Err(format!(
                "it is the address of a socket; give that of the page, such as https://{place}"
            ));
        }
        "file" => return Err("pages from files have the origin null; give that".to_owned()),
        _ if !is_scheme(&scheme) => return Err(format!("{scheme:?} is no scheme")),
        _ => None,
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if let Some((place, _)) = place.split_once('/') {
        return Err(format!("an origin has no path; give {scheme}://{place}"));
    }
    let (host, port) = split_port(place)?;
    let host = checked_host(host)?;
    Ok(match port.filter(|port| Some(*port) != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_allowed)
}

/// The host, and the number behind its colon.
fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    if place.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an address of IPv6 has brackets; give [{place}]"));
    }
    let Some((host, digits)) = place.rsplit_once(':').filter(|_| !place.ends_with(']')) else {
        return Ok((place, None));
    };
    match digits.parse() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(format!(
            "{digits:?} is not a port; give one from 1 to 65535"
        )),
    }
}

/// The host in lower case, if a browser can send it.
fn checked_host(host: &str) -> Result<String, String> {
    if host.contains('*') {
        return Err("a pattern is not understood; give each name, or the origin * for all".into());
    }
    if !host.is_ascii() {
        return Err("give it as browsers send it, in the letters of ASCII (xn--...)".to_owned());
    }
    if host.starts_with('[') {
        return match format!("{host}:0").parse() {
            Ok(SocketAddr::V6(address)) => Ok(format!("[{}]", address.ip())),
            _ => Err(format!("{host} is no address of IPv6")),
        };
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !host.is_empty() && host.bytes().all(is_allowed) {
        true => Ok(host.to_ascii_lowercase()),
        false => Err("it is no host name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_understood_with_a_port_and_a_final_dot() {
        for (text, name) in [
            ("broker.example", "broker.example"),
            (" Broker.Example.:1373 ", "broker.example"),
            ("my_broker", "my_broker"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:1373", "[::1]"),
        ] {
            assert_eq!(host_name(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn a_name_that_no_browser_sends_is_refused() {
        for (text, why) in [
            ("http://broker.example", "alone"),
            ("broker.example/", "alone"),
            ("*.example", "each name"),
            ("b\u{fc}cher.example", "xn--"),
            ("broker.example:", "not a port"),
            ("broker.example:0", "not a port"),
            ("broker.example:65536", "not a port"),
            ("a b", "no host name"),
            ("ann@broker.example", "no host name"),
            ("", "no host name"),
            (".", "no host name"),
            ("::1", "[::1]"),
        ] {
            let refused = host_name(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn an_origin_is_compared_in_the_form_that_browsers_send() {
        for (text, sent) in [
            ("https://app.example", "https://app.example"),
            (" HTTPS://App.Example:443/ ", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://app.example:8080/", "http://app.example:8080"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("chrome-extension://abc", "chrome-extension://abc"),
            ("capacitor://localhost/", "capacitor://localhost"),
            ("null", "null"),
            ("*", "*"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(sent), "{text}");
        }
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_with_what_to_give() {
        for (text, why) in [
            ("app.example", "https://app.example or http://app.example"),
            ("https://app.example/index.html", "give https://app.example"),
            ("https://*.example", "each name"),
            ("wss://app.example", "such as https://app.example"),
            ("file:///home", "null"),
            ("https://", "no host name"),
            ("https://ann@app.example", "no host name"),
            ("https://app.example:http", "not a port"),
            ("https://b\u{fc}cher.example", "xn--"),
            ("1://a", "no scheme"),
        ] {
            let refused = origin(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
