//! Wraps text into rows of a terminal, without cutting grapheme clusters.

use unicode_segmentation::UnicodeSegmentation;

use crate::cells;

/// Divides a text into rows of at most `width` cells, with `first` for the first row. It breaks at
/// line ends, else at spaces, and within words that are longer than a row. Empty lines are kept.
pub(crate) fn wrap(text: &str, first: usize, width: usize) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut limit = first;
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        loop {
            let end = fitting(rest, limit, width);
            rows.push(rest[..end].trim_end_matches(' '));
            rest = rest[end..].trim_start_matches(' ');
            limit = width;
            if rest.is_empty() {
                break;
            }
        }
    }
    rows
}

/// Number of bytes of `text` in the next row. Zero only if a full row has more room.
fn fitting(text: &str, limit: usize, width: usize) -> usize {
    let (mut cells, mut space) = (0, None);
    for (at, letter) in text.grapheme_indices(true) {
        cells += cells::width(letter);
        if cells > limit {
            return match space {
                _ if letter == " " => at,
                Some(space) => space,
                None if at == 0 && limit >= width => letter.len(),
                None => at,
            };
        }
        if letter == " " {
            space = Some(at + 1);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, first: usize, width: usize, expected: &[&str]) {
        assert_eq!(
            wrap(text, first, width),
            expected,
            "{text:?} in {first}, {width}"
        );
    }

    #[test]
    fn a_text_is_divided_at_spaces() {
        check("one two three", 20, 20, &["one two three"]);
        check("one two three", 7, 7, &["one two", "three"]);
        check("one two three", 8, 8, &["one two", "three"]);
        check("one two three", 5, 9, &["one", "two three"]);
        check("", 5, 5, &[""]);
    }

    #[test]
    fn a_word_that_is_too_long_is_divided_too() {
        check("abcdefgh", 3, 5, &["abc", "defgh"]);
        check("a bcdefghij", 5, 5, &["a", "bcdef", "ghij"]);
        check("abc", 0, 5, &["", "abc"]);
    }

    #[test]
    fn line_ends_stay() {
        check("a\n\nb", 5, 5, &["a", "", "b"]);
    }

    #[test]
    fn wide_letters_take_two_cells() {
        check("你好世界", 5, 5, &["你好", "世界"]);
        check("你好", 1, 1, &["你", "好"]);
    }

    #[test]
    fn a_grapheme_cluster_is_not_cut() {
        check("e\u{301}e\u{301}", 1, 1, &["e\u{301}", "e\u{301}"]);
        check("👩‍🚀👩‍🚀", 2, 2, &["👩‍🚀", "👩‍🚀"]);
        check("می‌خواهم", 4, 9, &["می‌خو", "اهم"]);
    }
}
