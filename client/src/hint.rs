//! Commands that a message suggests, written so that a shell runs them as they are meant.

use crate::visible;

/// `client` with a command, the options that name the server, and the other words.
pub(crate) fn client(command: &str, server: &[String], words: &[&str]) -> String {
    let server = server.iter().map(String::as_str);
    let all = ["client", command].into_iter().chain(server);
    let all: Vec<String> = all.chain(words.iter().copied()).map(quoted).collect();
    all.join(" ")
}

/// A word of a command line of a POSIX shell. What cannot be typed is replaced.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", visible::line(word).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_meaning_in_a_shell_is_quoted() {
        let command = |topic| client("subscribe", &[], &[topic]);
        assert_eq!(command("a/b-1"), "client subscribe a/b-1");
        assert_eq!(command("$a;b"), "client subscribe '$a;b'");
        assert_eq!(command("it's"), r"client subscribe 'it'\''s'");
        assert_eq!(command("a\x1b"), "client subscribe 'a\u{fffd}'");
        assert_eq!(command(""), "client subscribe ''");
    }

    #[test]
    fn the_server_stands_before_the_other_words() {
        let server = ["-s".to_owned(), "[::1]:9".to_owned()];
        let command = client("reply", &server, &["a", "TEXT"]);
        assert_eq!(command, "client reply -s '[::1]:9' a TEXT");
    }
}
