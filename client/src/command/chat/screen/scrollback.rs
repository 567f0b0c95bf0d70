//! The messages and notices that can be scrolled.

use std::collections::VecDeque;
use std::collections::vec_deque;

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Span};

use super::palette::Palette;
use super::wrap::wrap;
use crate::cells::clipped;
use crate::command::chat::line::ChatLine;

/// Maximum number of entries.
const MAX_ENTRIES: usize = 5000;

/// Width of a time and the space after it, in cells.
const TIME_CELLS: usize = 6;

/// A narrower screen shows no times.
const MIN_WIDTH_FOR_TIMES: usize = 30;

/// Indent of further rows of a message.
const INDENT: usize = 2;

/// If less than this is left beside a name, the text begins in the next row.
const MIN_FIRST_ROW: usize = 8;

#[derive(Debug)]
struct ScrollbackEntry {
    time: String,
    line: ChatLine,
}

/// The newest entries, and the scroll position.
#[derive(Debug)]
pub(crate) struct Scrollback {
    palette: Palette,
    entries: VecDeque<ScrollbackEntry>,
    /// Number of rows hidden below the screen.
    below: usize,
    /// Width at the last draw.
    width: usize,
}

impl Scrollback {
    pub(crate) fn new(palette: Palette) -> Self {
        Self {
            palette,
            entries: VecDeque::new(),
            below: 0,
            width: 0,
        }
    }

    /// Adds an entry at the end. If the view is scrolled up, it stays where it is.
    pub(crate) fn push(&mut self, time: String, line: ChatLine) {
        let entry = ScrollbackEntry { time, line };
        if self.below > 0 {
            self.below += self.rows(&entry.time, &entry.line, false).len();
        }
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn scroll_up(&mut self, rows: usize) {
        // `view` bounds it, because it knows the number of rows.
        self.below = self.below.saturating_add(rows);
    }

    pub(crate) fn scroll_down(&mut self, rows: usize) {
        self.below = self.below.saturating_sub(rows);
    }

    pub(crate) fn scroll_to_end(&mut self) {
        self.below = 0;
    }

    /// Number of rows hidden below the screen.
    pub(crate) fn below(&self) -> usize {
        self.below
    }

    /// The visible rows, at most `height`. `pending` lines come last.
    pub(crate) fn view<'a>(
        &mut self,
        width: usize,
        height: usize,
        pending: impl Iterator<Item = &'a ChatLine>,
    ) -> Vec<Row<'static>> {
        self.width = width;
        let mut rows = Rows::default();
        let pending: Vec<&ChatLine> = pending.collect();
        for line in pending.into_iter().rev() {
            rows.put_above(self.rows("", line, true));
        }
        for ScrollbackEntry { time, line } in self.entries.iter().rev() {
            if rows.0.len() >= self.below.saturating_add(height) {
                break;
            }
            rows.put_above(self.rows(time, line, false));
        }
        self.below = self.below.min(rows.0.len().saturating_sub(height));
        rows.last(height, self.below).collect()
    }

    /// Lays out an entry in rows.
    fn rows(&self, time: &str, line: &ChatLine, is_pending: bool) -> Vec<Row<'static>> {
        let margin = if self.width < MIN_WIDTH_FOR_TIMES {
            0
        } else {
            TIME_CELLS
        };
        let width = self.width.saturating_sub(margin).max(1);
        let dim = Style::new().add_modifier(Modifier::DIM);
        let (label, text_style) = match line {
            ChatLine::Notice(_) => (vec![Span::styled("* ", dim)], dim),
            ChatLine::Said { nick, .. } => (vec![self.name(nick), Span::raw(": ")], Style::new()),
            ChatLine::Private { from, to, .. } => (
                vec![
                    self.name(from),
                    Span::raw(" -> "),
                    self.name(to),
                    Span::raw(": "),
                ],
                Style::new().add_modifier(Modifier::ITALIC),
            ),
        };
        let taken: usize = label.iter().map(Span::width).sum();
        let first = match width.saturating_sub(taken) {
            narrow if narrow < MIN_FIRST_ROW => 0,
            first => first,
        };
        let width_below = width.saturating_sub(INDENT).max(1);
        let pieces = wrap(line.text(), first, width_below);
        let time = clipped(time, margin);
        let mut rows = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.into_iter().enumerate() {
            let mut spans = Vec::with_capacity(6);
            if at == 0 {
                spans.push(Span::styled(format!("{time:margin$}"), dim));
                spans.extend(label.iter().cloned());
            } else {
                spans.push(Span::raw(" ".repeat(margin + INDENT)));
            }
            spans.push(Span::styled(piece.to_owned(), text_style));
            let row = Row::from(spans);
            rows.push(if is_pending {
                row.patch_style(dim)
            } else {
                row
            });
        }
        rows
    }

    fn name(&self, name: &str) -> Span<'static> {
        let style = self.palette.of(name).add_modifier(Modifier::BOLD);
        Span::styled(name.to_owned(), style)
    }
}

/// Rows that are collected from the bottom up.
#[derive(Default)]
struct Rows(VecDeque<Row<'static>>);

impl Rows {
    fn put_above(&mut self, rows: Vec<Row<'static>>) {
        for row in rows.into_iter().rev() {
            self.0.push_front(row);
        }
    }

    /// The last `height` rows before the lowest `below` ones.
    fn last(mut self, height: usize, below: usize) -> vec_deque::IntoIter<Row<'static>> {
        self.0.truncate(self.0.len() - below);
        let surplus = self.0.len().saturating_sub(height);
        self.0.drain(..surplus);
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::Colour;

    fn said(nick: &str, text: &str) -> ChatLine {
        ChatLine::Said {
            nick: nick.to_owned(),
            text: text.to_owned(),
            own: false,
        }
    }

    fn scrollback(lines: impl IntoIterator<Item = ChatLine>) -> Scrollback {
        let mut scrollback = Scrollback::new(Palette(Colour { is_wanted: true }));
        for line in lines {
            scrollback.push("14:03".to_owned(), line);
        }
        scrollback
    }

    fn view(scrollback: &mut Scrollback, width: usize, height: usize) -> Vec<String> {
        let rows = scrollback.view(width, height, std::iter::empty());
        rows.iter().map(Row::to_string).collect()
    }

    #[test]
    fn a_line_has_its_time_its_name_and_its_text() {
        let mut room = scrollback([said("ann", "hello there"), ChatLine::notice("bob left")]);
        assert_eq!(
            view(&mut room, 40, 5),
            ["14:03 ann: hello there", "14:03 * bob left"]
        );
        assert_eq!(view(&mut room, 20, 5), ["ann: hello there", "* bob left"]);
        assert_eq!(
            view(&mut room, 13, 5),
            ["ann: hello", "  there", "* bob left"]
        );
    }

    #[test]
    fn a_long_name_has_its_text_below() {
        let mut room = scrollback([said("a-name-of-twenty-one", "hello there")]);
        assert_eq!(
            view(&mut room, 24, 5),
            ["a-name-of-twenty-one: ", "  hello there"]
        );
    }

    #[test]
    fn the_newest_is_shown_and_the_rest_can_be_scrolled_to() {
        let mut room = scrollback((1..=9).map(|n| said("a", &n.to_string())));
        assert_eq!(view(&mut room, 20, 3), ["a: 7", "a: 8", "a: 9"]);
        room.scroll_up(2);
        assert_eq!(view(&mut room, 20, 3), ["a: 5", "a: 6", "a: 7"]);
        room.push("14:04".to_owned(), said("a", "new"));
        assert_eq!(view(&mut room, 20, 3), ["a: 5", "a: 6", "a: 7"]);
        assert_eq!(room.below(), 3);
        room.scroll_up(100);
        assert_eq!(view(&mut room, 20, 3), ["a: 1", "a: 2", "a: 3"]);
        room.scroll_down(1);
        assert_eq!(view(&mut room, 20, 3), ["a: 2", "a: 3", "a: 4"]);
        room.scroll_to_end();
        assert_eq!(view(&mut room, 20, 2), ["a: 9", "a: new"]);
    }

    #[test]
    fn unsent_messages_come_last() {
        let mut room = scrollback([said("bob", "hi")]);
        let pending = [said("ann", "on its way")];
        let rows = room.view(40, 5, pending.iter());
        let rows: Vec<String> = rows.iter().map(Row::to_string).collect();
        assert_eq!(rows, ["14:03 bob: hi", "      ann: on its way"]);
    }

    #[test]
    fn only_so_much_is_kept() {
        let mut room = scrollback((0..MAX_ENTRIES + 3).map(|n| said("a", &n.to_string())));
        assert_eq!(room.entries.len(), MAX_ENTRIES);
        room.scroll_up(usize::MAX);
        assert_eq!(view(&mut room, 20, 1), ["a: 3"]);
    }

    #[test]
    fn the_smallest_screen_does_no_harm() {
        let mut room = scrollback([said("ann", "你好 hello")]);
        for (width, height) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)] {
            assert!(view(&mut room, width, height).len() <= height);
        }
    }
}
