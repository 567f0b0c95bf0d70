//! Texts of others in sentences of ours.

use std::io;

use protocol::is_harmless;

/// Replaces what is not harmless: text from a peer may be printed on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace(|letter| !is_harmless(letter), "?")
}

/// The text of the system error, in lower case and without its number, for use within a sentence.
pub fn reason(error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    };
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_the_system_fits_into_a_sentence() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(reason(&refused), "connection refused");
    }
}
