//! A list that can be sorted, searched and scrolled.

use crate::table::{Column, Fitted, fit};

use super::rows::Searchable;

/// Rows of one kind, with sort order, search and scroll position.
pub(crate) struct SortedList<R: 'static> {
    columns: &'static [Column<R>],
    pub(crate) rows: Vec<R>,
    /// Total number at the broker; may exceed the number of rows.
    pub(crate) total: u64,
    pub(crate) view: View,
}

/// Sort order, search and scroll position, which keys change.
#[derive(Debug)]
pub(crate) struct View {
    /// Number of columns.
    columns: usize,
    /// Index of the sort column.
    sort: usize,
    pub(crate) is_reversed: bool,
    /// Only rows that contain this are shown; case is ignored.
    pub(crate) wanted: String,
    /// Number of rows above the first visible one.
    scroll: usize,
}

/// The visible part of a list.
pub(crate) struct VisibleRows {
    pub(crate) table: Fitted,
    /// Number of rows above and below the visible ones.
    pub(crate) above: usize,
    pub(crate) below: usize,
}

impl<R: Searchable> SortedList<R> {
    /// An empty list, sorted by this column.
    pub(crate) fn new(columns: &'static [Column<R>], sort_by: &str) -> Self {
        let sort = columns.iter().position(|column| column.head == sort_by);
        Self {
            columns,
            rows: Vec::new(),
            total: 0,
            view: View {
                columns: columns.len(),
                sort: sort.expect("it is one of the columns"),
                is_reversed: false,
                wanted: String::new(),
                scroll: 0,
            },
        }
    }

    /// The sort column.
    pub(crate) fn sorted_by(&self) -> &'static str {
        self.columns[self.view.sort].head
    }

    /// The visible rows for this width and height. Scrolling ends with the last row at the bottom.
    pub(crate) fn show(&mut self, width: usize, height: usize) -> VisibleRows {
        let View {
            sort,
            is_reversed,
            wanted,
            scroll,
            ..
        } = &mut self.view;
        let wanted = wanted.to_lowercase();
        let is_found = |row: &&R| wanted.is_empty() || row.text().to_lowercase().contains(&wanted);
        let mut found: Vec<&R> = self.rows.iter().filter(is_found).collect();
        let order = self.columns[*sort].order;
        found.sort_by(|one, other| order(one, other));
        if *is_reversed {
            found.reverse();
        }
        *scroll = (*scroll).min(found.len().saturating_sub(height));
        let rows = &found[*scroll..];
        let rows = &rows[..rows.len().min(height)];
        VisibleRows {
            table: fit(self.columns, rows, width),
            above: *scroll,
            below: found.len() - *scroll - rows.len(),
        }
    }
}

impl View {
    /// Sorts by the next or the previous column.
    pub(crate) fn sort_by_next(&mut self, is_forward: bool) {
        let step = if is_forward { 1 } else { self.columns - 1 };
        self.sort = (self.sort + step) % self.columns;
        self.is_reversed = false;
    }

    pub(crate) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// Scrolls down by `rows`, or up if negative.
    pub(crate) fn scroll_by(&mut self, rows: isize) {
        self.scroll = self.scroll.saturating_add_signed(rows);
    }
}

#[cfg(test)]
mod tests {
    use client::inquiry::SeenTopic;

    use super::super::rows::{LiveTopic, TOPICS};
    use super::*;

    /// The topics 0 to 9, of which each has been published on more often than the one before.
    fn topics() -> SortedList<LiveTopic> {
        let mut list = SortedList::new(TOPICS, "topic");
        let row = |number: u64| LiveTopic {
            of: SeenTopic {
                topic: format!("Topic/{number}"),
                messages: number,
                ..SeenTopic::default()
            },
            rate: 0.0,
            history: Default::default(),
            minute: String::new(),
        };
        list.rows = (0..10).map(row).collect();
        list
    }

    /// The visible topics for this height, and the number of rows above and below.
    fn shown(list: &mut SortedList<LiveTopic>, height: usize) -> (String, usize, usize) {
        let shown = list.show(80, height);
        let last = |row: &String| row.split(' ').next().unwrap_or_default().chars().last();
        let topics = shown.table.rows.iter().filter_map(last).collect();
        (topics, shown.above, shown.below)
    }

    #[test]
    fn scrolling_ends_at_both_ends() {
        let mut list = topics();
        assert_eq!(shown(&mut list, 3), ("012".to_owned(), 0, 7));
        list.view.scroll_by(5);
        assert_eq!(shown(&mut list, 3), ("567".to_owned(), 5, 2));
        list.view.scroll_by(isize::MAX);
        assert_eq!(shown(&mut list, 3), ("789".to_owned(), 7, 0));
        list.view.scroll_by(-1);
        assert_eq!(shown(&mut list, 3), ("678".to_owned(), 6, 1));
        // More room brings back what was above.
        assert_eq!(shown(&mut list, 8), ("23456789".to_owned(), 2, 0));
        list.view.scroll_by(isize::MIN);
        assert_eq!(shown(&mut list, 3), ("012".to_owned(), 0, 7));
    }

    #[test]
    fn every_column_can_be_sorted_by_in_either_direction() {
        let mut list = topics();
        let mut heads = Vec::new();
        for _ in TOPICS {
            heads.push(list.sorted_by());
            list.view.sort_by_next(true);
        }
        let all: Vec<&str> = TOPICS.iter().map(|column| column.head).collect();
        assert_eq!(heads, all);
        assert_eq!(list.sorted_by(), "topic", "and then from the first again");
        while list.sorted_by() != "messages" {
            list.view.sort_by_next(false);
        }
        assert_eq!(shown(&mut list, 3).0, "987");
        list.view.reverse();
        assert_eq!(shown(&mut list, 3).0, "012");
    }

    #[test]
    fn a_search_ignores_case() {
        let mut list = topics();
        list.view.wanted = "tOPIC/7".to_owned();
        assert_eq!(shown(&mut list, 3), ("7".to_owned(), 0, 0));
    }
}
