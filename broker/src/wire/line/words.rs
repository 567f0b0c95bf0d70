//! The words at the beginning of a line: its verb, and the topic of a message.

use memchr::{memchr, memchr2};
use protocol::Verb;

use crate::engine::outbox::run::MESSAGE;

/// Whether one of these lines, of which the last may be incomplete, has a verb.
pub(super) fn any_verb(lines: &[u8]) -> bool {
    lines
        .split_inclusive(|&byte| byte == b'\n')
        .any(|line| verb_of(line).is_some())
}

/// The verb of a line, if all of it has come.
fn verb_of(line: &[u8]) -> Option<Verb> {
    let attributes = match line.first()? {
        b'@' => memchr(b' ', line)? + 1,
        _ => 0,
    };
    let rest = &line[attributes..];
    let end = rest.iter().position(|byte| b" \r\n".contains(byte))?;
    Verb::parse(&rest[..end])
}

/// Whether the first of these lines says who its client is; the last may be incomplete.
pub(super) fn begin_with_auth(lines: &[u8]) -> bool {
    let mut lines = lines.split_inclusive(|&byte| byte == b'\n');
    let first = lines.find(|line| !matches!(line, [b'\n'] | [b'\r', b'\n']));
    first.and_then(verb_of) == Some(Verb::Auth)
}

/// Whether a whole line says who its client is.
pub(super) fn is_auth(line: &[u8]) -> bool {
    let verb = match line.first() {
        Some(b'@') => memchr(b' ', line).map_or(line.len(), |at| at + 1),
        _ => 0,
    };
    let rest = &line[verb..];
    let end = memchr(b' ', rest).unwrap_or(rest.len());
    Verb::parse(&rest[..end]) == Some(Verb::Auth)
}

/// The topic of a message as spelled in the line.
pub(super) fn topic_of(line: &[u8]) -> &[u8] {
    let verb = match line.first() {
        Some(b'@') => memchr(b' ', line).map_or(0, |at| at + 1),
        _ => 0,
    };
    let rest = line[verb..].strip_prefix(MESSAGE).unwrap_or_default();
    let end = memchr2(b' ', b'\n', rest).unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_who_its_client_is_is_known_by_its_verb() {
        for (line, expected) in [
            (&b"AUTH"[..], true),
            (b"AUTH ann x", true),
            (b"auth ann x", true),
            (b"@k=v AUTH ann x", true),
            (b"@k=v", false),
            (b"AUTHOR x", false),
            (b"PUBLISH AUTH x", false),
            (b"", false),
        ] {
            assert_eq!(is_auth(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_first_line_with_a_word_says_who_its_client_is_or_another_does() {
        for (lines, expected) in [
            (&b"AUTH "[..], true),
            (b"AUTH", false),
            (b"\r\n\nAUTH ann x\nPING\n", true),
            (b"PING\nAUTH ann x\n", false),
            (b"", false),
        ] {
            assert_eq!(begin_with_auth(lines), expected, "{}", lines.escape_ascii());
        }
    }

    #[test]
    fn a_verb_has_come_with_the_byte_behind_it() {
        for (lines, has_verb) in [
            (&b""[..], false),
            (b"PUBLISH", false),
            (b"PUBLISH ", true),
            (b"ping\r\n", true),
            (b"PUBLISHED x\n", false),
            (b"@k=v PUBLISH ", true),
            (b"@k=v", false),
            (b"@k=v PUBL", false),
            (b"\n\nnonsense\nPING\n", true),
            (b"nonsense\n", false),
        ] {
            assert_eq!(any_verb(lines), has_verb, "{}", lines.escape_ascii());
        }
    }
}
