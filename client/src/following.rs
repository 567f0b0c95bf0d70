//! Follows filters over as many connections as it takes: remembers where the last one was lost, and goes on from there.
//!
//! It knows for each filter up to which position everything has come. A message that matches several filters may come
//! with the past of one and again with that of another, or once more after a loss; it is new only the first time.

use std::collections::VecDeque;

use protocol::{Attributes, Code, Filter, PAST, PastQuery, PastStart, Position, Topic};

use crate::client::Client;
use crate::error::{Error, Refusal};
use crate::message::{Delivery, position};
use crate::printable::printable;

/// What a client has had of the filters that it follows, see [`Client::follow`]. It outlives a connection, so that the
/// next one goes on where the last one was lost: nothing is missed that topics keep, and nothing comes twice.
///
/// Shared filters have no past; they are subscribed to plainly, as are all at a broker that does not know what a past is,
/// if none was asked for.
///
/// ```
/// # let broker = broker::Broker::bind(broker::Config { port: 0, ..Default::default() }).unwrap();
/// # let address = broker.local_addr();
/// # std::thread::spawn(move || broker.run());
/// # fn is_enough() -> bool { true }
/// use client::{Client, Delivery, Following, PastStart};
/// use std::ops::ControlFlow;
///
/// let mut following = Following::new(&["chat/#"], PastStart::Now)?;
/// loop {
///     let mut client = Client::connect(address)?;
///     following.subscribe(&mut client)?;
///     let lost = loop {
///         let taken = client.take_ready(|delivery| {
///             if following.take(&delivery) && let Delivery::Message { topic, .. } = delivery {
///                 println!("{topic}");
///             }
///             ControlFlow::Continue(())
///         });
///         match taken {
///             Ok(0) if is_enough() => break None,
///             Ok(0) => drop(client.wait(None)?),
///             Ok(_) => {}
///             Err(error) if error.is_disconnect() => break Some(error),
///             Err(error) => return Err(error),
///         }
///     };
///     if lost.is_none() {
///         break;
///     }
/// }
/// # Ok::<(), client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Following {
    filters: Vec<FollowedFilter>,
    start: PastStart,
    until_now: bool,
    /// The filters whose past has not ended on this connection, in the order in which they come.
    waiting: VecDeque<usize>,
    /// The last new message on this connection. All filters that are current have had what was before it.
    live: Option<Position>,
    /// No filter has had a message with a higher number.
    highest: u64,
    /// The past that the caller has asked for has not ended.
    is_catching_up: bool,
}

#[derive(Clone, Debug)]
struct FollowedFilter {
    filter: String,
    /// Up to here everything has come that it matches; none if that is not known.
    had: Option<Position>,
    /// What is not behind this is no part of what was asked for.
    begin: Option<Position>,
    /// Its past has come to its end, on this connection or an earlier one.
    has_past: bool,
    state: FilterState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FilterState {
    /// Not asked for on this connection, or its past has not ended.
    Waiting,
    /// What comes is new.
    Current,
    /// Nothing more comes.
    Ended,
    /// Subscribed to as by a client that does not follow.
    Plain,
}

impl Following {
    /// Follows filters from `start` on.
    pub fn new(filters: &[impl AsRef<str>], start: PastStart) -> Result<Self, Error> {
        let mut followed: Vec<FollowedFilter> = Vec::with_capacity(filters.len());
        for filter in filters {
            let filter = Filter::parse(filter.as_ref()).map_err(Error::BadFilter)?;
            // A broker answers a filter once that is asked for twice, as the second takes the place of the first.
            if followed.iter().any(|it| it.filter == filter.as_str()) {
                continue;
            }
            followed.push(FollowedFilter {
                filter: filter.as_str().to_owned(),
                had: None,
                begin: None,
                has_past: false,
                state: FilterState::Waiting,
            });
        }
        Ok(Self {
            filters: followed,
            start,
            until_now: false,
            waiting: VecDeque::new(),
            live: None,
            highest: 0,
            is_catching_up: start != PastStart::Now,
        })
    }

    /// Takes what there is from `start` on, and nothing that is new. [`Self::go_on`] asks for one filter after the
    /// other, and [`Self::has_ended`] says when all has come.
    pub fn until_now(filters: &[impl AsRef<str>], start: PastStart) -> Result<Self, Error> {
        let until_now = true;
        Ok(Self {
            until_now,
            ..Self::new(filters, start)?
        })
    }

    /// Subscribes over a new connection.
    pub fn subscribe(&mut self, client: &mut Client) -> Result<(), Error> {
        self.begin();
        match self.until_now {
            true => self.go_on(client).map(drop),
            false => self.follow(client),
        }
    }

    /// Asks for the past of the next filter of [`Self::until_now`], if that of the one before has come; returns whether it
    /// did. Call it when nothing more has arrived.
    pub fn go_on(&mut self, client: &mut Client) -> Result<bool, Error> {
        let has_ended = |it: &FollowedFilter| it.state == FilterState::Ended;
        let next = self.filters.iter().position(|it| !has_ended(it));
        let Some(next) = next.filter(|_| self.until_now && self.waiting.is_empty()) else {
            return Ok(false);
        };
        self.waiting.push_back(next);
        client.past(&self.filters[next].filter, self.start_of(next))?;
        Ok(true)
    }

    /// Whether everything has come that was asked for with [`Self::until_now`].
    pub fn has_ended(&self) -> bool {
        let has_ended = |it: &FollowedFilter| it.state == FilterState::Ended;
        self.until_now && self.filters.iter().all(has_ended)
    }

    /// Whether what topics keep goes on where the last connection was lost.
    pub fn is_resumed(&self) -> bool {
        let is_resumed = |it: &FollowedFilter| it.had.is_some() && it.state != FilterState::Plain;
        self.filters.iter().all(is_resumed)
    }

    /// Notes a delivery. Whether it is news: a message that has not come before, a gap, that something of the past is not
    /// there, or once that all of the past has come that was asked for.
    pub fn take(&mut self, delivery: &Delivery<'_>) -> bool {
        match delivery {
            Delivery::Message {
                topic, attributes, ..
            } => match position(attributes) {
                Some(position) => self.take_message(*topic, attributes, position),
                None => true,
            },
            Delivery::Gap { .. } => true,
            // A client that resumes knows that messages are gone that no topic keeps.
            Delivery::Incomplete { filter, oldest } => {
                let resumes = |it: &FollowedFilter| it.has_past && it.filter == filter.as_str();
                oldest.is_some() || !self.filters.iter().any(resumes)
            }
            Delivery::Current { filter, position } => {
                self.end_past(filter.as_str(), *position, FilterState::Current);
                let is_first = self.waiting.is_empty() && self.is_catching_up;
                self.is_catching_up &= !is_first;
                is_first
            }
            Delivery::End { filter, position } => {
                self.end_past(filter.as_str(), *position, FilterState::Ended);
                false
            }
        }
    }

    /// A new connection begins.
    fn begin(&mut self) {
        for filter in &mut self.filters {
            if let (FilterState::Current, Some(live)) = (filter.state, self.live)
                && filter.had.is_none_or(|had| is_behind(live, had))
            {
                filter.had = Some(live);
            }
            if filter.state != FilterState::Ended {
                filter.state = FilterState::Waiting;
            }
        }
        let had = self.filters.iter().filter_map(|it| it.had);
        self.highest = had.map(|had| had.sequence).max().unwrap_or(0);
        self.live = None;
        self.waiting.clear();
    }

    /// One SUBSCRIBE for all filters in a row that begin at the same place.
    fn follow(&mut self, client: &mut Client) -> Result<(), Error> {
        let starts: Vec<Option<PastStart>> = (0..self.filters.len())
            .map(|at| {
                let filter = Filter::parse(&self.filters[at].filter);
                let is_shared = filter.is_ok_and(|filter| filter.group().is_some());
                (!is_shared).then(|| self.start_of(at))
            })
            .collect();
        let mut at = 0;
        for run in starts.chunk_by(|one, next| one == next) {
            let range = at..at + run.len();
            at = range.end;
            let names: Vec<String> = range
                .clone()
                .map(|at| self.filters[at].filter.clone())
                .collect();
            let Some(start) = run[0] else {
                range.for_each(|at| self.filters[at].state = FilterState::Plain);
                client.subscribe_all(&names)?;
                continue;
            };
            let until_now = false;
            let query = PastQuery { start, until_now };
            let refused = client.subscribe_each(&names, &query.attributes())?;
            for at in range {
                let filter = &self.filters[at];
                let subject = printable(&format!("subscribe:{}", filter.filter));
                let Some(refusal) = refused.iter().find(|it| it.subject == subject) else {
                    self.waiting.push_back(at);
                    continue;
                };
                self.refuse(at, refusal, client)?;
            }
        }
        Ok(())
    }

    /// A broker that does not know `since` is subscribed to plainly, if nothing of the past was asked for.
    fn refuse(&mut self, at: usize, refusal: &Refusal, client: &mut Client) -> Result<(), Error> {
        let is_known = refusal.code != Code::BadAttribute.as_str();
        if is_known || self.start != PastStart::Now {
            return Err(Error::Refused(refusal.clone()));
        }
        let filter = &mut self.filters[at];
        filter.state = FilterState::Plain;
        client.subscribe(&filter.filter)
    }

    /// Where a filter begins on the next connection.
    fn start_of(&self, at: usize) -> PastStart {
        let FollowedFilter { had, has_past, .. } = &self.filters[at];
        match (had, self.start) {
            // The newest of each topic are not those behind a position.
            (Some(_), PastStart::Each(_)) if !has_past => self.start,
            (Some(had), _) => PastStart::After(*had),
            (None, _) => self.start,
        }
    }

    fn take_message(
        &mut self,
        topic: Topic<'_>,
        attributes: &Attributes<'_>,
        position: Position,
    ) -> bool {
        // Nearly every message is the newest so far, and no filter has to be looked at.
        let is_news = position.sequence > self.highest || !self.has_come(topic, position);
        self.highest = self.highest.max(position.sequence);
        if !attributes.contains(PAST) {
            self.live = Some(position);
        } else if let Some(&at) = self.waiting.front() {
            let filter = &mut self.filters[at];
            if filter.had.is_none() && matches!(self.start, PastStart::Last(_)) {
                let sequence = position.sequence.saturating_sub(1);
                filter.begin = Some(Position {
                    sequence,
                    ..position
                });
            }
            if filter.had.is_none_or(|had| is_behind(position, had)) {
                filter.had = Some(position);
            }
        }
        is_news
    }

    /// Whether a filter has brought this message before.
    fn has_come(&self, topic: Topic<'_>, position: Position) -> bool {
        self.filters.iter().any(|it| {
            let live = self.live.filter(|_| it.state == FilterState::Current);
            let has_had = |had: Position| !is_behind(position, had);
            let has_had = [it.had, live].into_iter().flatten().any(has_had);
            has_had
                && it.begin.is_none_or(|begin| is_behind(position, begin))
                && Filter::parse(&it.filter).is_ok_and(|filter| filter.matches(topic))
        })
    }

    fn end_past(&mut self, name: &str, position: Option<Position>, state: FilterState) {
        let Some(&at) = self
            .waiting
            .iter()
            .find(|&&at| self.filters[at].filter == name)
        else {
            return;
        };
        self.waiting.retain(|&other| other != at);
        let filter = &mut self.filters[at];
        let is_first = filter.had.is_none();
        if is_first && matches!(self.start, PastStart::Last(_) | PastStart::Now) {
            filter.begin = position;
        }
        filter.state = state;
        filter.has_past = true;
        filter.had = position;
        self.highest = self.highest.max(position.map_or(0, |it| it.sequence));
    }
}

/// Whether the first position is behind the second, or of another store. A later generation is behind an earlier one,
/// because it gives a number again only if a crash has taken the message that had it.
fn is_behind(position: Position, other: Position) -> bool {
    let place = |it: Position| (it.generation, it.sequence);
    position.store != other.store || place(position) > place(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog;

    /// Follows these filters over a first connection.
    fn following(filters: &[&str], start: PastStart) -> Following {
        let mut following = Following::new(filters, start).expect("filters");
        connect(&mut following);
        following
    }

    /// As a new connection where nothing is refused.
    fn connect(following: &mut Following) {
        following.begin();
        following.waiting = (0..following.filters.len()).collect();
    }

    /// What of these lines is news.
    fn news<'l>(following: &mut Following, lines: &[&'l str]) -> Vec<&'l str> {
        let is_news = |line: &&&str| following.take(&backlog::delivery(line.as_bytes()));
        lines.iter().filter(is_news).copied().collect()
    }

    fn after(position: &str) -> PastStart {
        PastStart::After(Position::parse(position.as_bytes()).expect("a position"))
    }

    /// Where the filters begin on the next connection.
    fn starts(following: &mut Following) -> Vec<PastStart> {
        connect(following);
        (0..following.filters.len())
            .map(|at| following.start_of(at))
            .collect()
    }

    #[test]
    fn the_next_connection_goes_on_behind_the_last_message() {
        let mut one = following(&["a/#"], PastStart::Now);
        assert_eq!(starts(&mut one), [PastStart::Now]);
        news(&mut one, &["CURRENT a/# k3f9.1:5"]);
        assert!(one.is_resumed());
        assert_eq!(starts(&mut one), [after("k3f9.1:5")]);
        let lines = [
            "@past;pos=k3f9.1:6 MESSAGE a/b 1",
            "CURRENT a/# k3f9.1:7",
            "@pos=k3f9.1:8 MESSAGE a/b 2",
            "MESSAGE a/c 3",
        ];
        assert_eq!(news(&mut one, &lines), [lines[0], lines[2], lines[3]]);
        assert_eq!(starts(&mut one), [after("k3f9.1:8")]);
    }

    #[test]
    fn without_positions_each_connection_begins_anew() {
        let mut one = following(&["a"], PastStart::Now);
        let lines = ["CURRENT a", "MESSAGE a 1"];
        assert_eq!(news(&mut one, &lines), [lines[1]]);
        assert_eq!(starts(&mut one), [PastStart::Now]);
        assert!(!one.is_resumed());
    }

    #[test]
    fn a_past_that_was_lost_in_the_middle_goes_on_there() {
        let past = [
            "@past;pos=k3f9.1:4 MESSAGE a 1",
            "@past;pos=k3f9.1:6 MESSAGE b 2",
        ];
        let mut last = following(&["#", "c"], PastStart::Last(3));
        assert_eq!(news(&mut last, &past), past);
        assert_eq!(starts(&mut last), [after("k3f9.1:6"), PastStart::Last(3)]);
        // The newest of each topic are asked for again, and those that have come are left out.
        let mut each = following(&["#"], PastStart::Each(2));
        assert_eq!(news(&mut each, &past), past);
        assert_eq!(starts(&mut each), [PastStart::Each(2)]);
        let lines = [
            past[0],
            "@past;pos=k3f9.1:5 MESSAGE a 3",
            past[1],
            "@past;pos=k3f9.1:7 MESSAGE b 4",
            "CURRENT # k3f9.1:7",
        ];
        assert_eq!(news(&mut each, &lines), lines[3..]);
        assert_eq!(starts(&mut each), [after("k3f9.1:7")]);
    }

    #[test]
    fn a_message_of_two_filters_is_news_once() {
        let mut two = following(&["a/#", "+/b"], after("k3f9.1:1"));
        let lines = [
            "@past;pos=k3f9.1:2 MESSAGE a/b 1",
            "CURRENT a/# k3f9.1:3",
            // This one has come already, and the next is of the second filter alone.
            "@past;pos=k3f9.1:2 MESSAGE a/b 1",
            "@past;pos=k3f9.1:3 MESSAGE c/b 2",
            "@past;pos=k3f9.1:5 MESSAGE a/b 3",
            "CURRENT +/b k3f9.1:5",
            // What is new to the first filter may have come with the past of the second.
            "@pos=k3f9.1:4 MESSAGE a/c 4",
            "@pos=k3f9.1:5 MESSAGE a/b 3",
            "@pos=k3f9.1:6 MESSAGE a/b 5",
        ];
        let expected = [0, 3, 4, 5, 6, 8].map(|at| lines[at]);
        assert_eq!(news(&mut two, &lines), expected);
        let both = after("k3f9.1:6");
        assert_eq!(starts(&mut two), [both, both]);
    }

    #[test]
    fn filters_that_were_not_lost_at_the_same_place_do_not_repeat_each_other() {
        let mut two = following(&["a/#", "+/b"], after("k3f9.1:1"));
        let lines = [
            "CURRENT a/# k3f9.1:5",
            "@past;pos=k3f9.1:2 MESSAGE c/b 1",
            "@pos=k3f9.1:6 MESSAGE a/b 2",
        ];
        news(&mut two, &lines);
        assert_eq!(starts(&mut two), [after("k3f9.1:6"), after("k3f9.1:2")]);
        let lines = [
            "CURRENT a/# k3f9.2:7",
            "@past;pos=k3f9.1:4 MESSAGE c/b 3",
            "@past;pos=k3f9.1:6 MESSAGE a/b 2",
            "@past;pos=k3f9.2:7 MESSAGE c/b 4",
            "CURRENT +/b k3f9.2:7",
        ];
        assert_eq!(news(&mut two, &lines), [lines[1], lines[3], lines[4]]);
    }

    #[test]
    fn what_another_filter_asks_for_is_no_repetition() {
        let mut two = following(&["a/b", "a/#"], PastStart::Last(1));
        let lines = [
            "@past;pos=k3f9.1:4 MESSAGE a/b 2",
            "CURRENT a/b k3f9.1:5",
            // The first filter has asked for less.
            "@past;pos=k3f9.1:3 MESSAGE a/b 1",
            "@past;pos=k3f9.1:4 MESSAGE a/b 2",
        ];
        assert_eq!(news(&mut two, &lines), [lines[0], lines[2]]);
    }

    #[test]
    fn a_number_that_a_crash_has_freed_is_news_when_it_is_given_again() {
        let mut one = following(&["a"], PastStart::Now);
        news(
            &mut one,
            &["CURRENT a k3f9.1:5", "@pos=k3f9.1:7 MESSAGE a 1"],
        );
        connect(&mut one);
        let lines = ["@past;pos=k3f9.2:6 MESSAGE a 2", "CURRENT a k3f9.2:6"];
        assert_eq!(news(&mut one, &lines), [lines[0]]);
        assert_eq!(starts(&mut one), [after("k3f9.2:6")]);
    }

    #[test]
    fn the_end_of_what_was_asked_for_is_told_once() {
        let mut two = following(&["a", "b", "a"], PastStart::All);
        let lines = ["@incomplete SUBACK a", "CURRENT a", "CURRENT b k3f9.1:1"];
        assert_eq!(news(&mut two, &lines), [lines[0], lines[2]]);
    }

    #[test]
    fn what_is_not_there_any_more_is_told_unless_it_was_never_kept() {
        let mut two = following(&["a", "b"], PastStart::Now);
        news(&mut two, &["CURRENT a k3f9.1:1", "CURRENT b k3f9.1:1"]);
        connect(&mut two);
        let lines = [
            "@incomplete;oldest=k3f9.1:7 SUBACK a",
            "@incomplete SUBACK b",
        ];
        assert_eq!(news(&mut two, &lines), [lines[0]]);
    }
}
