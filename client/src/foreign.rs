//! Recognises servers that are something else by the first bytes that they send, so that the user
//! need not wait for an answer that cannot come.

use crate::error::{Error, TLS_SERVER};
use crate::printable::printable;
use crate::stream::Inside;

/// How many bytes are enough to recognise any of them.
const ENOUGH_BYTES: usize = 8;

/// How much of an unknown first line is shown.
const SHOWN_BYTES: usize = 60;

/// First words of servers of texts whose first letter could also begin a line of a broker.
const WORDS: [(&[u8], &str); 5] = [
    (b"HTTP/", "an HTTP server"),
    (b"INFO {", "a NATS server"),
    (b"SSH-", "an SSH server"),
    (b"AMQP", "an AMQP server"),
    (b"ERROR\r\n", "a memcached server"),
];

/// The first bytes of a server.
#[derive(Debug)]
pub(crate) struct Greeting {
    inside: Inside,
    first: Vec<u8>,
    is_known: bool,
}

impl Greeting {
    /// What is expected of a server that speaks this protocol.
    pub(crate) fn new(inside: Inside) -> Self {
        Self {
            inside,
            first: Vec::new(),
            is_known: false,
        }
    }

    /// Whether the server has sent nothing yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Looks at received bytes, of which only the first matter.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_known {
            return Ok(());
        }
        let room = SHOWN_BYTES.saturating_sub(self.first.len());
        self.first
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let is_all = self.first.len() >= ENOUGH_BYTES || self.first.contains(&b'\n');
        if self.is_expected() {
            self.is_known = is_all;
            return Ok(());
        }
        match kind(&self.first) {
            Some(kind) => Err(self.other(kind.to_owned())),
            None if is_all => {
                let line = self.first.split(|&byte| byte == b'\n').next();
                let text = String::from_utf8_lossy(line.unwrap_or_default());
                let text = printable(text.trim_end());
                Err(self.other(format!("a server that begins with {text:?}")))
            }
            None => Ok(()),
        }
    }

    /// Whether the first bytes may be those of the protocol.
    fn is_expected(&self) -> bool {
        match (self.inside, self.first.first()) {
            // CONNACK, or AUTH of MQTT 5.
            (Inside::Mqtt, Some(first)) => matches!(first, 0x20 | 0xf0),
            (Inside::Line, Some(first)) => {
                let is_other = |word: &[u8]| self.first.starts_with(word);
                (first.is_ascii_alphabetic() || *first == b'@')
                    && !WORDS.iter().any(|(word, _)| is_other(word))
            }
            (_, None) => true,
        }
    }

    fn other(&self, kind: String) -> Error {
        let wanted = match self.inside {
            Inside::Line => "the line protocol",
            Inside::Mqtt => "MQTT",
        };
        Error::OtherServer { kind, wanted }
    }
}

fn kind(first: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = WORDS.iter().find(|(word, _)| first.starts_with(word)) {
        return Some(kind);
    }
    Some(match first {
        [b'+', b'O', b'K', b' ', ..] => "a mail server (POP3)",
        [b'*', b' ', ..] => "a mail server (IMAP)",
        [b'+' | b'-', b'A'..=b'Z', _, _, ..] | [b':' | b'*' | b'$', b'0'..=b'9', ..] => {
            "a Redis server"
        }
        [a, b, c, b' ' | b'-', ..] if [a, b, c].iter().all(|it| it.is_ascii_digit()) => {
            "a mail or FTP server"
        }
        [b'<', ..] => "an HTTP server",
        [0x15 | 0x16, 0x03, ..] => TLS_SERVER,
        [0x20, 0x02..=0x7f, 0 | 1, ..] => "an MQTT broker",
        [0xff, ..] => "a telnet server",
        [_, _, 0, 0, 0x0a, ..] => "a MySQL server",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found out about a server that sends this, in one piece and byte by byte.
    fn found(inside: Inside, bytes: &[u8]) -> Option<String> {
        let check = |size: usize| {
            let mut greeting = Greeting::new(inside);
            bytes
                .chunks(size)
                .find_map(|piece| match greeting.check(piece) {
                    Err(Error::OtherServer { kind, .. }) => Some(kind),
                    other => {
                        other.expect("it is no other error");
                        None
                    }
                })
        };
        let (whole, pieces) = (check(bytes.len()), check(1));
        let is_named = |kind: &String| !kind.contains("begins with");
        if whole.as_ref().is_some_and(is_named) {
            assert_eq!(whole, pieces, "{}", bytes.escape_ascii());
        }
        assert_eq!(
            whole.is_some(),
            pieces.is_some(),
            "{}",
            bytes.escape_ascii()
        );
        whole
    }

    #[test]
    fn a_server_that_is_something_else_is_named() {
        for (bytes, kind) in [
            (
                &b"220 mail.example.org ESMTP\r\n"[..],
                "a mail or FTP server",
            ),
            (b"554-no\r\n", "a mail or FTP server"),
            (b"+OK POP3 ready\r\n", "a mail server (POP3)"),
            (b"* OK IMAP4rev1\r\n", "a mail server (IMAP)"),
            (b"INFO {\"server_id\":1}\r\n", "a NATS server"),
            (b"-ERR unknown command\r\n", "a Redis server"),
            (b"-NOAUTH Authentication required.\r\n", "a Redis server"),
            (b":0\r\n", "a Redis server"),
            (b"*3\r\n$9\r\n", "a Redis server"),
            (b"+PONG\r\n", "a Redis server"),
            (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
            (b"<html>\r\n", "an HTTP server"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH server"),
            (b"AMQP\x00\x00\x09\x01", "an AMQP server"),
            (b"ERROR\r\n", "a memcached server"),
            (b"\x15\x03\x03\x00\x02\x02\x46", "a server of TLS"),
            (b"J\0\0\0\x0a8.0.36\0", "a MySQL server"),
            (b"\xff\xfd\x18\xff\xfd\x20", "a telnet server"),
        ] {
            for inside in [Inside::Line, Inside::Mqtt] {
                let named = found(inside, bytes);
                // A letter may begin a line of a broker.
                let is_open = inside == Inside::Line && bytes[0] == b'J';
                if !is_open {
                    assert_eq!(named.as_deref(), Some(kind), "{}", bytes.escape_ascii());
                }
            }
        }
        let connack = b"\x20\x02\x00\x00";
        assert_eq!(
            found(Inside::Line, connack).as_deref(),
            Some("an MQTT broker")
        );
        let unknown = found(Inside::Mqtt, b"hello\x1b there\r\nyou\r\n");
        let expected = r#"a server that begins with "hello? there""#;
        assert_eq!(unknown.as_deref(), Some(expected));
    }

    #[test]
    fn a_broker_is_none_of_them() {
        for bytes in [
            &b"PUBACK 1 1\n"[..],
            b"ERROR busy line later\n",
            b"@retained MESSAGE a x\n",
            b"HELLO from a newer broker\n",
            b"INFORMATION of a newer broker\n",
        ] {
            assert_eq!(found(Inside::Line, bytes), None);
        }
        assert_eq!(found(Inside::Mqtt, b"\x20\x02\x00\x00\x90\x03"), None);
    }
}
