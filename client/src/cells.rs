//! The width of text in cells of a terminal.

use ratatui::text::Span;
use unicode_segmentation::UnicodeSegmentation;

/// The width of a text in cells.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The longest prefix that fits into `width` cells.
pub(crate) fn clipped(text: &str, width: usize) -> &str {
    let mut cells = 0;
    let mut letters = text.grapheme_indices(true);
    let cut = letters.find(|(_, letter)| {
        cells += self::width(letter);
        cells > width
    });
    &text[..cut.map_or(text.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_are_not_cut_in_two() {
        assert_eq!(width("a你好"), 5);
        assert_eq!(clipped("a你好", 4), "a你");
        assert_eq!(clipped("a你好", 5), "a你好");
    }
}
