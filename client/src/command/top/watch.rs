//! The state of `top` and the effect of keys, without terminal or connection.

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use client::inquiry::{Audit, Broker, Topics, Who};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::history::samples;
use super::list::{SortedList, View};
use super::rows::{CONNECTIONS, LiveConnection, LiveTopic, TOPICS};
use super::snapshot::Snapshot;

/// Rows of a page before the height of the screen is known.
const USUAL_PAGE: usize = 10;

/// Tolerance in seconds when the uptime is compared with that of the snapshot before, to detect a
/// restart. An answer may be delayed by as much.
const SAME_BROKER_S: f64 = 5.0;

/// The list that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    Connections,
    Topics,
}

/// Everything that can be shown.
pub(crate) struct Watch {
    /// The address of the broker.
    pub(crate) server: String,
    pub(crate) now: Option<Now>,
    pub(crate) connections: SortedList<LiveConnection>,
    pub(crate) topics: SortedList<LiveTopic>,
    pub(crate) tab: Tab,
    pub(crate) is_paused: bool,
    /// Why the connection is lost, if it is.
    pub(crate) disconnected: Option<String>,
    /// Whether the user is typing a search word.
    pub(crate) is_typing: bool,
    /// Rows of the list at the last draw.
    pub(crate) page: usize,
    /// Number of samples in the last minute.
    samples: usize,
}

/// Figures of the broker as a whole.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) broker: Broker,
    pub(crate) audit: Audit,
    /// Published, written and dropped messages per second.
    pub(crate) rates: [f64; 3],
    at: Instant,
}

impl Now {
    /// Whether the broker is still the same process.
    fn is_followed_by(&self, broker: &Broker, at: Instant) -> bool {
        let passed = (at - self.at).as_secs_f64();
        let aged = broker.uptime_s - self.broker.uptime_s;
        aged >= 0.0 && (aged - passed).abs() < SAME_BROKER_S
    }
}

/// What a key causes outside of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchAction {
    Leave,
    /// Another program has written on the screen.
    Redraw,
}

impl Watch {
    pub(crate) fn new(server: String, interval: Duration) -> Self {
        Self {
            server,
            now: None,
            connections: SortedList::new(CONNECTIONS, "out"),
            topics: SortedList::new(TOPICS, "rate"),
            tab: Tab::Connections,
            is_paused: false,
            disconnected: None,
            is_typing: false,
            page: USUAL_PAGE,
            samples: samples(interval),
        }
    }

    /// Takes a new snapshot, unless the display is paused.
    pub(crate) fn take(&mut self, snapshot: Snapshot) {
        self.disconnected = None;
        if self.is_paused {
            return;
        }
        let Snapshot {
            at,
            broker,
            audit,
            who,
            topics,
        } = snapshot;
        let before = self.now.take();
        let before = before.filter(|before| before.is_followed_by(&broker, at));
        if before.is_none() {
            // Another process reuses connection numbers, so old rows do not apply.
            self.connections.rows.clear();
            self.topics.rows.clear();
        }
        let before = before.as_ref();
        let seconds = before.map(|before| (at - before.at).as_secs_f64());
        let interval = SampleInterval { seconds };
        let figures = |audit: &Audit| [audit.published, audit.written, audit.total_dropped()];
        let rates = match before {
            Some(before) => {
                let (old, new) = (figures(&before.audit), figures(&audit));
                [0, 1, 2].map(|at| interval.rate(Some(old[at]), new[at]))
            }
            None => [0.0; 3],
        };
        self.take_connections(who, interval);
        self.take_topics(topics, interval);
        self.now = Some(Now {
            broker,
            audit,
            rates,
            at,
        });
    }

    fn take_connections(&mut self, who: Who, interval: SampleInterval) {
        let old = mem::take(&mut self.connections.rows);
        let mut old: HashMap<u64, LiveConnection> =
            old.into_iter().map(|row| (row.of.id, row)).collect();
        let rows = who.connections.into_iter().map(|of| {
            let old = old.remove(&of.id);
            let (published, written) = match &old {
                Some(old) => (Some(old.of.published), Some(old.of.written)),
                None => (None, None),
            };
            let publishes = interval.rate(published, of.published);
            let gets = interval.rate(written, of.written);
            let mut history = old.map(|old| old.history).unwrap_or_default();
            // A new row has no rate yet.
            if published.is_some() && interval.seconds.is_some() {
                history.push(publishes + gets, self.samples);
            }
            LiveConnection {
                of,
                publishes,
                gets,
                history,
                minute: String::new(),
            }
        });
        self.connections.rows = rows.collect();
        self.connections.total = who.total;
    }

    fn take_topics(&mut self, topics: Topics, interval: SampleInterval) {
        let old = mem::take(&mut self.topics.rows);
        let mut old: HashMap<String, LiveTopic> = old
            .into_iter()
            .map(|mut row| (mem::take(&mut row.of.topic), row))
            .collect();
        let rows = topics.topics.into_iter().map(|of| {
            let old = old.remove(&of.topic);
            let rate = match &old {
                Some(old) => interval.rate(Some(old.of.messages), of.messages),
                // For a new topic the broker's own rate is better.
                None => of.rate,
            };
            let mut history = old.map(|old| old.history).unwrap_or_default();
            if interval.seconds.is_some() {
                history.push(rate, self.samples);
            }
            LiveTopic {
                of,
                rate,
                history,
                minute: String::new(),
            }
        });
        self.topics.rows = rows.collect();
        self.topics.total = topics.total;
    }

    /// Updates the chart of each row to a width of `cells`.
    pub(crate) fn draw_minutes(&mut self, cells: usize) {
        let samples = self.samples;
        for row in &mut self.connections.rows {
            row.minute = row.history.line(samples, cells);
        }
        for row in &mut self.topics.rows {
            row.minute = row.history.line(samples, cells);
        }
    }

    /// Handles a key.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Option<WatchAction> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Some(WatchAction::Leave),
            KeyCode::Char('l') if is_control => return Some(WatchAction::Redraw),
            _ if self.is_typing => self.type_word(key.code, is_control),
            KeyCode::Char('q') => return Some(WatchAction::Leave),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Tab | KeyCode::BackTab => {
                self.tab = match self.tab {
                    Tab::Connections => Tab::Topics,
                    Tab::Topics => Tab::Connections,
                };
            }
            KeyCode::Char('1') => self.tab = Tab::Connections,
            KeyCode::Char('2') => self.tab = Tab::Topics,
            KeyCode::Char('r') => self.view().reverse(),
            KeyCode::Right | KeyCode::Char('>') => self.view().sort_by_next(true),
            KeyCode::Left | KeyCode::Char('<') => self.view().sort_by_next(false),
            KeyCode::Down => self.view().scroll_by(1),
            KeyCode::Up => self.view().scroll_by(-1),
            KeyCode::PageDown => self.scroll_page(1),
            KeyCode::PageUp => self.scroll_page(-1),
            KeyCode::Home => self.view().scroll_by(isize::MIN),
            KeyCode::End => self.view().scroll_by(isize::MAX),
            KeyCode::Esc => self.view().wanted.clear(),
            _ => {}
        }
        None
    }

    fn type_word(&mut self, code: KeyCode, is_control: bool) {
        let word = &mut self.view().wanted;
        match code {
            KeyCode::Char('u') if is_control => word.clear(),
            KeyCode::Char(letter) if !is_control => word.push(letter),
            KeyCode::Backspace => drop(word.pop()),
            KeyCode::Esc => {
                word.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => self.is_typing = false,
            _ => {}
        }
    }

    fn scroll_page(&mut self, pages: isize) {
        let rows = isize::try_from(self.page.saturating_sub(1).max(1));
        let rows = rows.expect("a screen has fewer rows than isize::MAX");
        self.view().scroll_by(rows * pages);
    }

    /// The list that keys apply to.
    fn view(&mut self) -> &mut View {
        match self.tab {
            Tab::Connections => &mut self.connections.view,
            Tab::Topics => &mut self.topics.view,
        }
    }
}

/// The time since the snapshot before, if there is one.
#[derive(Clone, Copy, Debug)]
struct SampleInterval {
    seconds: Option<f64>,
}

impl SampleInterval {
    /// The growth of a figure per second; zero if it was unknown before.
    fn rate(self, before: Option<u64>, now: u64) -> f64 {
        match (self.seconds, before) {
            (Some(seconds), Some(before)) if seconds > 0.0 => {
                now.saturating_sub(before) as f64 / seconds
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use client::inquiry::{Connection, SeenTopic};

    use super::*;

    /// The snapshot of a broker with two connections and two topics after `seconds`, when
    /// connection 1 and `home/door` have counted `messages`.
    pub(crate) fn snapshot(seconds: u64, messages: u64, start: Instant) -> Snapshot {
        let connection = |id: u64, name: &str, published| Connection {
            id,
            name: Some(name.to_owned()),
            peer: format!("127.0.0.1:{}", 40_000 + id),
            wire: "line".to_owned(),
            published,
            filters: vec![format!("{name}/#")],
            subscriptions: 1,
            ..Connection::default()
        };
        let topic = |topic: &str, messages, rate| SeenTopic {
            topic: topic.to_owned(),
            messages,
            rate,
            ..SeenTopic::default()
        };
        Snapshot {
            at: start + Duration::from_secs(seconds),
            broker: Broker {
                version: "1.2.3".to_owned(),
                uptime_s: 1_000.0 + seconds as f64,
                connections: 2,
                max_connections: 9_999,
                ..Broker::default()
            },
            audit: Audit {
                balanced: true,
                exact: true,
                published: messages,
                unmatched: messages,
                ..Audit::default()
            },
            who: Who {
                total: 7,
                connections: vec![connection(1, "lamp", messages), connection(2, "\x1b[2J", 5)],
            },
            topics: Topics {
                total: 2,
                forgotten: 0,
                topics: vec![topic("home/door", messages, 2.5), topic("home/سلام", 5, 9.0)],
            },
        }
    }

    pub(crate) fn watch(snapshots: &[(u64, u64)]) -> Watch {
        let mut watch = Watch::new("here:1373".to_owned(), Duration::from_secs(1));
        let start = Instant::now();
        for &(seconds, messages) in snapshots {
            watch.take(snapshot(seconds, messages, start));
        }
        watch
    }

    pub(crate) fn press(watch: &mut Watch, keys: &str) {
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\x1b' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            assert_eq!(watch.press(KeyEvent::new(code, KeyModifiers::NONE)), None);
        }
    }

    fn rates(watch: &Watch) -> [f64; 3] {
        let now = watch.now.as_ref().expect("a picture");
        let (one, other) = (&watch.connections.rows[0], &watch.topics.rows[0]);
        [now.rates[0], one.publishes, other.rate]
    }

    #[test]
    fn a_rate_is_the_growth_since_the_snapshot_before() {
        assert_eq!(rates(&watch(&[(0, 100)])), [0.0, 0.0, 2.5]);
        assert_eq!(rates(&watch(&[(0, 100), (2, 300)])), [100.0; 3]);
        assert_eq!(rates(&watch(&[(0, 100), (2, 300), (3, 300)])), [0.0; 3]);
    }

    #[test]
    fn a_broker_that_was_started_again_has_no_past() {
        let mut watch = watch(&[(0, 100), (1, 200)]);
        let mut again = snapshot(9, 300, Instant::now());
        again.broker.uptime_s = 3.0;
        watch.take(again);
        assert_eq!(rates(&watch), [0.0, 0.0, 2.5]);
        watch.draw_minutes(3);
        assert_eq!(watch.connections.rows[0].minute, "   ");
    }

    #[test]
    fn a_pause_keeps_the_picture_and_ends_with_the_next_one() {
        let mut watch = watch(&[(0, 100)]);
        let start = watch.now.as_ref().expect("a picture").at;
        press(&mut watch, "p");
        watch.take(snapshot(1, 300, start));
        assert_eq!(watch.topics.rows[0].of.messages, 100);
        press(&mut watch, "p");
        watch.take(snapshot(4, 500, start));
        assert_eq!(rates(&watch), [100.0; 3]);
    }

    #[test]
    fn trouble_ends_with_the_next_picture() {
        let mut watch = watch(&[(0, 100)]);
        watch.disconnected = Some("lost the broker".to_owned());
        let start = watch.now.as_ref().expect("a picture").at;
        watch.take(snapshot(1, 100, start));
        assert_eq!(watch.disconnected, None);
    }

    #[test]
    fn keys_of_a_word_do_nothing_else() {
        let mut watch = watch(&[(0, 100)]);
        press(&mut watch, "/qp\n\t");
        assert_eq!((watch.tab, watch.is_paused), (Tab::Topics, false));
        assert_eq!(watch.connections.view.wanted, "qp");
        press(&mut watch, "\t\x1b");
        assert_eq!(watch.connections.view.wanted, "");
        let left = watch.press(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE));
        assert_eq!(left, Some(WatchAction::Leave));
    }
}
