//! Places of UDP as they are typed: `HOST:PORT`, `[::1]:PORT`, and `:PORT` for all addresses.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// A host, or all addresses of this machine, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpPlace {
    host: Option<String>,
    port: u16,
}

impl UdpPlace {
    /// Parses the place of a peer, which needs a host and a port other than 0.
    pub(crate) fn peer(text: &str) -> Result<Self, String> {
        let place = Self::parse(text, "HOST:PORT, such as 127.0.0.1:12345")?;
        match place {
            Self { host: None, .. } => Err(
                "the host is missing; give HOST:PORT, or wait for the peer with --udp-listen :PORT"
                    .to_owned(),
            ),
            Self { port: 0, .. } => Err("0 is not a port of a peer; give one from 1".to_owned()),
            place => Ok(place),
        }
    }

    /// Parses a place to listen at. Port 0 takes a free one.
    pub(crate) fn listen(text: &str) -> Result<Self, String> {
        Self::parse(text, ":PORT or HOST:PORT, such as :12345")
    }

    fn parse(text: &str, wanted: &str) -> Result<Self, String> {
        let Some((host, digits)) = text.rsplit_once(':') else {
            return Err(format!("give {wanted}"));
        };
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"/@[]".contains(&byte);
        if !bare.unwrap_or(host).bytes().all(is_name) || bare == Some("") {
            return Err(format!("give {wanted}"));
        }
        if bare.is_none() && host.contains(':') {
            return Err("put brackets around an IPv6 address: [::1]:12345".to_owned());
        }
        let host = bare.unwrap_or(host);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|_| is_number);
        let port = port.ok_or("the port is not a number from 0 to 65535")?;
        let host = (!host.is_empty()).then(|| host.to_owned());
        Ok(Self { host, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it stands for all addresses of this machine.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.host.is_none()
    }

    /// Its addresses, those of IPv4 first: most of the other programs know no others, and a datagram
    /// to an address without a receiver is lost.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let host = self.host.as_deref().unwrap_or("0.0.0.0");
        let mut addresses: Vec<SocketAddr> = (host, self.port).to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses)
    }
}

impl fmt::Display for UdpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{port}"),
            host => write!(f, "{}:{port}", host.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_port() {
        for text in ["127.0.0.1:12345", "[::1]:12345", "ann.example:1"] {
            let place = UdpPlace::peer(text).expect(text);
            assert_eq!(place.to_string(), text);
            assert_eq!(UdpPlace::listen(text), Ok(place));
        }
        let everywhere = UdpPlace::listen(":12345").expect("a port");
        assert!(everywhere.is_everywhere());
        assert_eq!(
            (everywhere.port(), &*everywhere.to_string()),
            (12345, ":12345")
        );
        assert!(UdpPlace::listen("127.0.0.1:0").is_ok());
    }

    #[test]
    fn a_place_that_is_none_says_what_to_give() {
        for (text, advice) in [
            ("12345", "give HOST:PORT"),
            ("", "give HOST:PORT"),
            (":12345", "the host is missing; give HOST:PORT"),
            ("::1:12345", "brackets"),
            ("[]:1", "give HOST:PORT"),
            ("a b:1", "give HOST:PORT"),
            ("udp://a:1", "give HOST:PORT"),
            ("a:0", "give one from 1"),
            ("a:65536", "not a number from 0 to 65535"),
            ("a:+1", "not a number"),
            ("a:", "not a number"),
        ] {
            let why = UdpPlace::peer(text).expect_err(text);
            assert!(why.contains(advice), "{text:?}: {why}");
        }
        let why = UdpPlace::listen("12345").expect_err("no colon");
        assert!(why.contains(":12345"), "{why}");
    }

    #[test]
    fn addresses_of_ipv4_come_first() {
        let place = UdpPlace::peer("localhost:7").expect("a place");
        let addresses = place.addresses().expect("every machine has it");
        assert!(addresses[0].is_ipv4() || addresses.iter().all(SocketAddr::is_ipv6));
    }
}
