//! Which characters of a text from elsewhere may reach a terminal, or a reader of lines, as they are.

/// Whether a character can neither command a terminal, nor end a line, nor change the direction or
/// order of the text around it.
///
/// Harmful are control characters (C0, DEL and C1), the line and paragraph separators U+2028 and
/// U+2029, and all characters with the property `Bidi_Control`. The joiners of Persian are none.
pub fn is_harmless(letter: char) -> bool {
    let is_separator = matches!(letter, '\u{2028}' | '\u{2029}');
    !(letter.is_control() || is_separator || is_bidi_control(letter))
}

/// UAX #9, "Explicit Directional Formatting Characters" and the implicit marks.
fn is_bidi_control(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_a_reader_is_harmful_and_the_rest_is_not() {
        let harmful = "\0\x07\t\n\r\x1b\x7f\u{80}\u{85}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\
                       \u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}";
        assert!(!harmful.contains(is_harmless), "{harmful:?}");
        let harmless = "a ~\u{a0}é\u{200c}\u{200d}\u{2027}\u{202f}\u{2065}\u{206a}سשא👩‍🚀";
        assert!(harmless.chars().all(is_harmless), "{harmless:?}");
    }
}
