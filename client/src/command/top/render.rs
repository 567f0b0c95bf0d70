//! Renders the watch as rows of a screen, or as plain text.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use crate::cells::{clipped, width};
use crate::colour::Colour;
use crate::table::Fitted;
use crate::units::{bytes, grouped, plural, rate, time};
use crate::visible;

use super::list::{SortedList, VisibleRows};
use super::rows::Searchable;
use super::watch::{Now, Tab, Watch};

/// Separates two figures of the header.
const BETWEEN: &str = "   ";

/// Maximum rows of each list in plain text.
const PLAIN_ROWS: usize = 20;

/// The whole screen: `height` rows of `room` cells.
pub(crate) fn screen(
    watch: &mut Watch,
    room: usize,
    height: usize,
    colour: Colour,
) -> Vec<Row<'static>> {
    watch.draw_minutes(minute_cells(room));
    let mut rows = vec![title(watch, room)];
    if let Some(now) = &watch.now {
        // On a small screen the list is more important than the last figures.
        rows.extend(figures(now, room, colour).into_iter().take(height / 3));
    }
    // Three rows are for the tabs, the column heads and the keys.
    let free = height.saturating_sub(rows.len() + 3);
    watch.page = free;
    let list = match watch.tab {
        Tab::Connections => list(&mut watch.connections, room, free),
        Tab::Topics => list(&mut watch.topics, room, free),
    };
    rows.push(tabs(watch, &list, room));
    let filled = rows.len() + 1 + free;
    rows.extend(list.rows);
    rows.resize(filled, Row::default());
    rows.push(keys(watch, room));
    rows.truncate(height);
    rows
}

/// One snapshot as plain text, without colours and charts.
pub(crate) fn plain(watch: &mut Watch, room: usize) -> String {
    watch.draw_minutes(0);
    let mut rows = vec![title_text(watch)];
    if let Some(now) = &watch.now {
        rows.extend(pack(&figure_texts(now), room));
    }
    let lists = [
        (
            plain_list(&mut watch.connections, room),
            "connection",
            watch.connections.total,
        ),
        (
            plain_list(&mut watch.topics, room),
            "topic",
            watch.topics.total,
        ),
    ];
    for (list, noun, total) in lists {
        rows.push(String::new());
        rows.push(plural(total, noun));
        rows.extend(list);
    }
    rows.iter()
        .map(|row| format!("{}\n", row.trim_end()))
        .collect()
}

fn plain_list<R: Searchable>(list: &mut SortedList<R>, room: usize) -> Vec<String> {
    if list.rows.is_empty() {
        return Vec::new();
    }
    let VisibleRows { table, below, .. } = list.show(room, PLAIN_ROWS);
    let mut rows = vec![table.head];
    rows.extend(table.rows);
    if below > 0 {
        rows.push(format!("… {} more", grouped(below as u64)));
    }
    rows
}

/// Width of the chart of the last minute, in cells.
fn minute_cells(room: usize) -> usize {
    match room {
        0..=99 => 10,
        100..=139 => 20,
        140..=179 => 30,
        _ => 60,
    }
}

fn title_text(watch: &Watch) -> String {
    let Watch { server, now, .. } = watch;
    match now {
        Some(Now { broker, .. }) => {
            let version = visible::line(&broker.version);
            format!("dallal {version} at {server}, up {}", time(broker.uptime_s))
        }
        None => format!("dallal at {server}"),
    }
}

fn title(watch: &Watch, room: usize) -> Row<'static> {
    // The reason of a lost connection is more important than the address.
    let text = match (&watch.disconnected, watch.is_paused) {
        (Some(reason), _) => visible::line(reason),
        (None, true) => format!("paused · {}", title_text(watch)),
        (None, false) => title_text(watch),
    };
    bar(&text, room)
}

/// A reversed row over the full width.
fn bar(text: &str, room: usize) -> Row<'static> {
    let text = format!(" {text}");
    let shown = clipped(&text, room);
    let rest = " ".repeat(room.saturating_sub(width(shown)));
    let style = Style::new().add_modifier(Modifier::REVERSED);
    Row::styled(format!("{shown}{rest}"), style)
}

fn figures(now: &Now, room: usize, colour: Colour) -> Vec<Row<'static>> {
    let verdict = verdict(now);
    let style = if now.audit.is_balanced() {
        colour.of(Color::Green)
    } else {
        colour.of(Color::Red).add_modifier(Modifier::BOLD)
    };
    pack(&figure_texts(now), room)
        .into_iter()
        .map(|row| match row.split_once(verdict) {
            Some((before, after)) => Row::from(vec![
                Span::raw(before.to_owned()),
                Span::styled(verdict, style),
                Span::raw(after.to_owned()),
            ]),
            None => Row::from(row),
        })
        .collect()
}

fn verdict(now: &Now) -> &'static str {
    if now.audit.is_balanced() {
        "ledger balances"
    } else if now.audit.exact {
        "LEDGER DOES NOT BALANCE"
    } else {
        "ledger not exact"
    }
}

fn figure_texts(now: &Now) -> Vec<String> {
    let Now {
        broker,
        audit,
        rates: [published, written, dropped],
        ..
    } = now;
    let retained = &broker.retained;
    vec![
        format!("in {}", rate(*published)),
        format!("out {}", rate(*written)),
        format!("waiting {}", grouped(audit.waiting)),
        format!(
            "dropped {} ({})",
            rate(*dropped),
            grouped(audit.total_dropped())
        ),
        verdict(now).to_owned(),
        format!(
            "connections {} of {}",
            grouped(broker.connections),
            grouped(broker.max_connections)
        ),
        format!("subscriptions {}", grouped(broker.subscriptions)),
        format!(
            "memory {} of {}",
            bytes(broker.memory.used),
            bytes(broker.memory.max)
        ),
        format!(
            "retained {} in {}",
            grouped(retained.count),
            bytes(retained.bytes)
        ),
    ]
}

/// Packs texts into as few rows as possible.
fn pack(texts: &[String], room: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for text in texts {
        match rows.last_mut() {
            Some(row) if width(row) + BETWEEN.len() + width(text) <= room => {
                row.push_str(BETWEEN);
                row.push_str(text);
            }
            _ => rows.push(clipped(text, room).to_owned()),
        }
    }
    rows
}

/// A rendered list.
struct Drawn {
    rows: Vec<Row<'static>>,
    above: usize,
    below: usize,
    known: usize,
    total: u64,
    wanted: String,
}

fn list<R: Searchable>(list: &mut SortedList<R>, room: usize, height: usize) -> Drawn {
    let VisibleRows {
        table,
        above,
        below,
    } = list.show(room, height);
    let is_empty = table.rows.is_empty();
    let mut rows = vec![heads(&table, list.sorted_by())];
    rows.extend(table.rows.into_iter().map(Row::from));
    if is_empty && !list.view.wanted.is_empty() {
        let dim = Style::new().add_modifier(Modifier::DIM);
        let text = format!(
            "nothing has {} in it; Esc",
            visible::line(&list.view.wanted)
        );
        rows.push(Row::styled(clipped(&text, room).to_owned(), dim));
    }
    Drawn {
        rows,
        above,
        below,
        known: list.rows.len(),
        total: list.total,
        wanted: list.view.wanted.clone(),
    }
}

/// The column heads, with the sort column highlighted.
fn heads(table: &Fitted, sorted_by: &str) -> Row<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let sorted = bold.add_modifier(Modifier::REVERSED);
    let mut spans = Vec::new();
    let mut rest = &*table.head;
    for head in &table.columns {
        // The head of a single column may have been cut.
        let Some((before, after)) = rest.split_once(head) else {
            break;
        };
        spans.push(Span::styled(before.to_owned(), bold));
        let style = if *head == sorted_by { sorted } else { bold };
        spans.push(Span::styled(*head, style));
        rest = after;
    }
    spans.push(Span::styled(rest.to_owned(), bold));
    Row::from(spans)
}

fn tabs(watch: &Watch, list: &Drawn, room: usize) -> Row<'static> {
    let mut spans = Vec::new();
    let all = [
        (Tab::Connections, "1 connections", watch.connections.total),
        (Tab::Topics, "2 topics", watch.topics.total),
    ];
    for (tab, name, total) in all {
        let style = if tab == watch.tab {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.push(Span::styled(format!(" {name} {} ", grouped(total)), style));
    }
    let mut notes = Vec::new();
    if !list.wanted.is_empty() {
        notes.push(format!("with {}", visible::line(&list.wanted)));
    }
    if (list.known as u64) < list.total {
        notes.push(format!("{} of them known", grouped(list.known as u64)));
    }
    if list.above > 0 {
        notes.push(format!("{} above", grouped(list.above as u64)));
    }
    if list.below > 0 {
        notes.push(format!("{} below", grouped(list.below as u64)));
    }
    spans.push(Span::raw(format!("  {}", notes.join(", "))));
    cut(spans, room)
}

/// Cuts a row to the width.
fn cut(spans: Vec<Span<'static>>, mut room: usize) -> Row<'static> {
    let cut = spans.into_iter().map(|span| {
        let shown = clipped(&span.content, room).to_owned();
        room -= width(&shown);
        Span::styled(shown, span.style)
    });
    Row::from_iter(cut)
}

fn keys(watch: &Watch, room: usize) -> Row<'static> {
    if watch.is_typing {
        let wanted = match watch.tab {
            Tab::Connections => &watch.connections.view.wanted,
            Tab::Topics => &watch.topics.view.wanted,
        };
        let text = format!("/{}▏", visible::line(wanted));
        return Row::from(clipped(&text, room).to_owned());
    }
    let (sorted_by, is_reversed) = match watch.tab {
        Tab::Connections => (
            watch.connections.sorted_by(),
            watch.connections.view.is_reversed,
        ),
        Tab::Topics => (watch.topics.sorted_by(), watch.topics.view.is_reversed),
    };
    let reversed = if is_reversed { " reversed" } else { "" };
    let texts = [
        "q quit".to_owned(),
        format!("←→ by {sorted_by}{reversed}"),
        "Tab list".to_owned(),
        "/ find".to_owned(),
        "p pause".to_owned(),
        "r reverse".to_owned(),
        "↑↓ scroll".to_owned(),
    ];
    let rows = pack(&texts, room);
    let dim = Style::new().add_modifier(Modifier::DIM);
    Row::styled(rows.into_iter().next().unwrap_or_default(), dim)
}

#[cfg(test)]
mod tests {
    use super::super::watch::tests::{press, watch};
    use super::*;

    const NONE: Colour = Colour { is_wanted: false };

    fn text(rows: &[Row<'_>]) -> Vec<String> {
        let text = |row: &Row<'_>| {
            let spans = row.spans.iter().map(|span| &*span.content);
            spans.collect::<String>().trim_end().to_owned()
        };
        rows.iter().map(text).collect()
    }

    #[test]
    fn a_screen_has_its_rows_in_their_order() {
        let mut watch = watch(&[(0, 100), (1, 300)]);
        let shown = text(&screen(&mut watch, 80, 10, NONE));
        let expected = [
            " dallal 1.2.3 at here:1373, up 16m",
            "in 200/s   out 0/s   waiting 0   dropped 0/s (0)   ledger balances",
            "connections 2 of 9,999   subscriptions 0   memory 0 B of 0 B   retained 0 in 0 B",
            " 1 connections 7  2 topics 2   2 of them known",
            "id  name  peer                  in      out  minute      waiting    lag  dropped",
            " 1  lamp  127.0.0.1:40001    200/s      0/s           █        0      -        0",
            " 2  �[2J  127.0.0.1:40002      0/s      0/s           ▁        0      -        0",
            "",
            "",
            "q quit   ←→ by out   Tab list   / find   p pause   r reverse   ↑↓ scroll",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_row_is_wider_than_the_screen_and_none_is_missing() {
        for keys in ["", "\t", "/lam", "/nothing\n", "p", "\tr"] {
            for width in [1, 7, 20, 40, 80, 120, 200] {
                for height in [1, 2, 5, 12, 50] {
                    let mut watch = watch(&[(0, 100), (1, 300)]);
                    press(&mut watch, keys);
                    let rows = screen(&mut watch, width, height, NONE);
                    assert_eq!(rows.len(), height, "{keys:?} at {width}x{height}");
                    for row in &rows {
                        assert!(row.width() <= width, "{keys:?}: {row:?} in {width}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_leaves_the_rows_that_hold_it() {
        let mut watch = watch(&[(0, 100)]);
        press(&mut watch, "/LAMP/");
        let shown = text(&screen(&mut watch, 40, 10, NONE));
        assert!(
            shown.iter().any(|row| row.contains(" 1  lamp")),
            "{shown:?}"
        );
        assert!(!shown.iter().any(|row| row.contains("[2J")), "{shown:?}");
        assert_eq!(shown[9], "/LAMP/▏");
        press(&mut watch, "x\n");
        let shown = text(&screen(&mut watch, 80, 10, NONE));
        assert!(
            shown.contains(&"nothing has LAMP/x in it; Esc".to_owned()),
            "{shown:?}"
        );
    }

    #[test]
    fn the_reason_of_a_lost_connection_is_at_the_top() {
        let mut watch = watch(&[(0, 100)]);
        press(&mut watch, "p");
        let shown = text(&screen(&mut watch, 80, 10, NONE));
        assert!(shown[0].starts_with(" paused · dallal"), "{shown:?}");
        watch.disconnected = Some("lost the broker".to_owned());
        let shown = text(&screen(&mut watch, 80, 10, NONE));
        assert_eq!(shown[0], " lost the broker");
    }

    #[test]
    fn a_ledger_that_does_not_balance_is_red_unless_colours_are_unwanted() {
        let mut watch = watch(&[(0, 100)]);
        watch.now.as_mut().expect("a picture").audit.matched += 1;
        for is_wanted in [true, false] {
            let rows = screen(&mut watch, 80, 10, Colour { is_wanted });
            let mut spans = rows.iter().flat_map(|row| &row.spans);
            let verdict = spans.find(|span| span.content == "LEDGER DOES NOT BALANCE");
            let style = verdict.expect("it is told").style;
            assert_eq!(style.fg, is_wanted.then_some(Color::Red));
        }
    }

    #[test]
    fn a_plain_picture_has_both_lists() {
        let mut watch = watch(&[(0, 100), (1, 300)]);
        let shown = plain(&mut watch, 80);
        let expected = "\n7 connections\n\
            id  name  peer                  in      out  waiting    lag  dropped   idle\n";
        assert!(shown.contains(expected), "{shown}");
        let expected = "\n\n2 topics\n\
            topic         rate  messages  copies  subscribers   last  retained\n\
            home/door    200/s       300       0            0    0ms         -\n";
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
    }
}
