//! What of the past a SUBSCRIBE asks for: the attributes `last`, `each`, `since` and `until`.

use std::fmt;

use jiff::Timestamp;

use crate::attributes::{Attributes, EACH, INCOMPLETE, LAST, OLDEST, SINCE, UNTIL};
use crate::position::Position;

/// Which messages of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastStart {
    /// The newest of all topics together.
    Last(u64),
    /// The newest of each topic.
    Each(u64),
    /// Those behind this position.
    After(Position),
    /// Those that were published this many seconds ago, or later.
    Ago(u64),
    /// Those that were published at this time or later, in milliseconds since 1970.
    At(u64),
    /// All.
    All,
    /// None: what is kept from now on.
    Now,
}

/// What of the past is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastQuery {
    /// Where it begins.
    pub start: PastStart,
    /// It ends with what there is now, and no newer messages follow.
    pub until_now: bool,
}

impl PastQuery {
    /// Reads the attributes of a SUBSCRIBE; none if it does not ask for the past. `most` is the maximum number of
    /// messages that can be asked for.
    pub fn of(attributes: &Attributes<'_>, most: u64) -> Result<Option<Self>, BadPast> {
        let count = |key, value: &[u8]| {
            let text = str::from_utf8(value).ok();
            let count = text.and_then(|text| text.parse().ok());
            count
                .filter(|count| (1..=most).contains(count))
                .ok_or(BadPast::Count { key, most })
        };
        let mut starts = Vec::new();
        for (key, value) in attributes.iter() {
            let value = value.unwrap_or_default();
            match key {
                LAST => starts.push(PastStart::Last(count(LAST, &value)?)),
                EACH => starts.push(PastStart::Each(count(EACH, &value)?)),
                SINCE => starts.push(since(&value)?),
                _ => {}
            }
        }
        let until_now = match attributes.get(UNTIL).as_deref() {
            None => false,
            Some(b"now") => true,
            Some(_) => return Err(BadPast::Until),
        };
        match (starts.as_slice(), until_now) {
            ([], false) => Ok(None),
            ([], true) => Err(BadPast::NoStart),
            (&[start], until_now) => Ok(Some(Self { start, until_now })),
            _ => Err(BadPast::Several),
        }
    }
}

impl PastQuery {
    /// What a SUBSCRIBE asks with.
    pub fn attributes(&self) -> Attributes<'static> {
        let (key, value) = match self.start {
            PastStart::Last(count) => (LAST, count.to_string()),
            PastStart::Each(count) => (EACH, count.to_string()),
            PastStart::After(position) => (SINCE, position.to_string()),
            PastStart::Ago(seconds) => (SINCE, format!("{seconds}s")),
            PastStart::At(time_ms) => (SINCE, time(time_ms)),
            PastStart::All => (SINCE, "start".to_owned()),
            PastStart::Now => (SINCE, "now".to_owned()),
        };
        let mut attributes = Attributes::default();
        let mut push = |key, value: &str| {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("it is a key");
        };
        push(key, &value);
        if self.until_now {
            push(UNTIL, "now");
        }
        attributes
    }
}

impl PastStart {
    /// Reads the value of `since`.
    pub fn since(value: &[u8]) -> Result<Self, BadPast> {
        since(value)
    }
}

/// Some of the past is not there that was asked for: messages have been removed, or the position is of another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Where that begins which is there; none if these topics keep nothing.
    pub oldest: Option<Position>,
}

impl Incomplete {
    /// Reads the attributes of a SUBACK.
    pub fn of(attributes: &Attributes<'_>) -> Option<Self> {
        let oldest = attributes.get(OLDEST);
        let oldest = oldest.and_then(|oldest| Position::parse(&oldest).ok());
        attributes.contains(INCOMPLETE).then_some(Self { oldest })
    }

    pub(crate) fn attributes(self) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        attributes.push_flag(INCOMPLETE).expect("it is a key");
        if let Some(oldest) = self.oldest {
            let pushed = attributes.push(OLDEST, oldest.to_string().as_bytes());
            pushed.expect("it is a key");
        }
        attributes
    }
}

fn since(value: &[u8]) -> Result<PastStart, BadPast> {
    let text = str::from_utf8(value).map_err(|_| BadPast::Since)?;
    match text {
        "start" => return Ok(PastStart::All),
        "now" => return Ok(PastStart::Now),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: u64 = seconds.parse().map_err(|_| BadPast::Since)?;
        return Ok(PastStart::At(seconds.saturating_mul(1000)));
    }
    if let Ok(position) = Position::parse(value) {
        return Ok(PastStart::After(position));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        let time_ms = time.as_millisecond();
        return u64::try_from(time_ms)
            .map(PastStart::At)
            .map_err(|_| BadPast::Since);
    }
    // A unit is one letter, so that anyone can type it.
    let (number, unit) =
        text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(BadPast::Since),
    };
    let number: u64 = number.parse().map_err(|_| BadPast::Since)?;
    Ok(PastStart::Ago(number.saturating_mul(seconds)))
}

/// A time as the value of `since`: whole seconds as brokers of all versions take them.
fn time(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok();
    let time = time.and_then(|time_ms| Timestamp::from_millisecond(time_ms).ok());
    match time {
        Some(time) if !time_ms.is_multiple_of(1000) => time.to_string(),
        _ => format!("@{}", time_ms / 1000),
    }
}

/// Why an attribute about the past is malformed. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPast {
    /// This key has no number from 1 to the maximum.
    Count {
        /// The key.
        key: &'static str,
        /// The maximum.
        most: u64,
    },
    /// The beginning is none.
    Since,
    /// The end is none.
    Until,
    /// There is an end and no beginning.
    NoStart,
    /// There are several beginnings.
    Several,
}

impl fmt::Display for BadPast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { key, most } => {
                write!(f, "`{key}` is a number of messages, 1 to {most}")
            }
            Self::Since => f.write_str(
                "`since` is a position such as k3f9.2:1042, a time ago such as 10m, 2h or 7d, a time such as \
                 2026-11-29T13:00:00Z, @ and seconds since 1970, start or now",
            ),
            Self::Until => f.write_str("`until` is now"),
            Self::NoStart => f.write_str("`until` comes with `last`, `each` or `since`"),
            Self::Several => f.write_str("only one of `last`, `each` and `since`, once"),
        }
    }
}

impl std::error::Error for BadPast {}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 20;

    fn asked(word: &str) -> Result<Option<PastQuery>, BadPast> {
        PastQuery::of(
            &Attributes::parse(word.as_bytes()).expect("attributes"),
            MOST,
        )
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let position = Position::parse(b"k3f9.2:7").expect("a position");
        let ago = PastStart::Ago;
        for (word, start) in [
            ("last=20", PastStart::Last(20)),
            ("each=1", PastStart::Each(1)),
            ("since=k3f9.2:7", PastStart::After(position)),
            ("since=90s", ago(90)),
            ("since=10m", ago(600)),
            ("since=2h", ago(7200)),
            ("since=7d", ago(604_800)),
            ("since=@1", PastStart::At(1000)),
            ("since=1970-01-01T00:01:00Z", PastStart::At(60_000)),
            ("since=1970-01-01T02:00:00+01:00", PastStart::At(3_600_000)),
            ("since=1970-01-01t00:00:00.25z", PastStart::At(250)),
            ("since=1970-01-01T00:00:01.0019Z", PastStart::At(1001)),
            ("since=start", PastStart::All),
            ("since=now", PastStart::Now),
        ] {
            for until_now in [false, true] {
                let query = PastQuery { start, until_now };
                let word = format!("{word}{}", if until_now { ";until=now" } else { "" });
                assert_eq!(asked(&word), Ok(Some(query)));
                assert_eq!(PastQuery::of(&query.attributes(), MOST), Ok(Some(query)));
            }
        }
        assert_eq!(asked("slow=latest"), Ok(None));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        let bad_count = |key| BadPast::Count { key, most: MOST };
        for (word, why) in [
            ("last=0", bad_count(LAST)),
            ("last", bad_count(LAST)),
            ("last=21", bad_count(LAST)),
            ("each=-1", bad_count(EACH)),
            ("each=21", bad_count(EACH)),
            ("since=", BadPast::Since),
            ("since=10", BadPast::Since),
            ("since=10w", BadPast::Since),
            ("since=ä", BadPast::Since),
            ("since=@", BadPast::Since),
            ("since=1960-01-01T00:00:00Z", BadPast::Since),
            ("since=2026-11-29T13:00:00", BadPast::Since),
            ("since=2026-11-29", BadPast::Since),
            ("since=2026-02-30T00:00:00Z", BadPast::Since),
            ("until=later;last=1", BadPast::Until),
            ("until=now", BadPast::NoStart),
            ("last=1;each=1", BadPast::Several),
            ("last=1;last=1", BadPast::Several),
        ] {
            assert_eq!(asked(word), Err(why), "{word}");
            assert!(why.to_string().contains('`') || why == BadPast::Several);
        }
    }
}
