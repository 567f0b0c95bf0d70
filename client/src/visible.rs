//! Makes text from other clients safe to print: it cannot control the terminal, change the
//! direction of the text around it, or imitate a line of another client.

use client::is_harmless;

/// Maximum bytes of a message that are shown.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Maximum characters of a name that are shown.
pub(crate) const MAX_NAME: usize = 32;

/// Replaces a character that is not safe to print.
const REPLACEMENT: char = '\u{fffd}';

/// A message. Line ends are kept; the caller has to indent the lines after the first.
pub(crate) fn text(text: &str) -> String {
    let cut = text.floor_char_boundary(MAX_TEXT_BYTES);
    let (shown, rest) = text.split_at(cut);
    let mut visible = String::with_capacity(shown.len());
    let mut letters = shown.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => visible.push('\n'),
            '\t' => visible.push_str("    "),
            _ if is_harmless(letter) => visible.push(letter),
            _ => visible.push(REPLACEMENT),
        }
    }
    if !rest.is_empty() {
        visible.push_str(&format!("… ({} more bytes)", rest.len()));
    }
    visible
}

/// A text on one line, such as a topic.
pub(crate) fn line(text: &str) -> String {
    let visible = |letter: char| match letter {
        '\t' => ' ',
        _ if is_harmless(letter) => letter,
        _ => REPLACEMENT,
    };
    text.chars().map(visible).collect()
}

/// Lines for people, as they are but for what is not safe to print.
pub(crate) fn lines(text: &str) -> String {
    text.replace(
        |letter| !(is_harmless(letter) || matches!(letter, '\n' | '\t')),
        "\u{fffd}",
    )
}

/// A name: on one line, without spaces, and cut to the maximum length.
pub(crate) fn name(name: &str) -> String {
    let visible = |letter: char| match letter {
        _ if letter.is_whitespace() => '_',
        _ if is_harmless(letter) => letter,
        _ => REPLACEMENT,
    };
    let mut letters = name.chars().map(visible);
    let mut shown: String = letters.by_ref().take(MAX_NAME).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_command_a_terminal() {
        assert_eq!(text("a\x1b[2Jb\x07\u{9b}31m\x7f"), "a�[2Jb��31m�");
        assert_eq!(text("gnp.\u{202e}exe"), "gnp.�exe");
        assert_eq!(text("a\rb\u{2028}c\u{200f}"), "a�b�c�");
        assert_eq!(lines("a\tb\nc\rd\u{9b}"), "a\tb\nc�d�");
        for letter in (0..=0x9f).filter_map(char::from_u32) {
            let shown = text(&letter.to_string());
            let is_plain = !shown.contains(|shown: char| shown.is_control() && shown != '\n');
            assert!(is_plain, "{letter:?} became {shown:?}");
        }
    }

    #[test]
    fn text_keeps_its_lines_and_its_joiners() {
        assert_eq!(text("a\r\nb\n\tc"), "a\nb\n    c");
        assert_eq!(text("می‌خواهم 👩‍🚀 שלום"), "می‌خواهم 👩‍🚀 שלום");
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(line("a b\tc\nd\r\u{2028}e\x1b[2J"), "a b c�d��e�[2J");
    }

    #[test]
    fn a_name_is_short_and_on_one_line() {
        assert_eq!(name("ann lee\nbob"), "ann_lee_bob");
        assert_eq!(name("\x1b]0;x"), "�]0;x");
        assert_eq!(name(&"x".repeat(40)), format!("{}…", "x".repeat(32)));
    }

    #[test]
    fn of_a_long_text_only_the_beginning_is_shown() {
        let shown = text(&"é".repeat(10_000));
        assert!(shown.starts_with('é') && shown.ends_with("… (3616 more bytes)"));
    }
}
