//! The flags that ask for what topics keep of the past.

use client::{BadPast, Filter, PastStart};

/// What of the past is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PastFlags {
    /// First the newest N kept; --each N: of each topic
    #[arg(long, value_name = "N", group = "beginning")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// First the newest N kept messages of each topic
    #[arg(long, value_name = "N", group = "beginning", hide = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    each: Option<u64>,
    /// First those since 10m, start, ...; --until-now
    #[arg(long, value_name = "X", group = "beginning", value_parser = since)]
    since: Option<PastStart>,
    /// End where the past ends
    #[arg(long, requires = "beginning", hide = true)]
    pub(crate) until_now: bool,
}

impl PastFlags {
    /// Where the past begins, if one is asked for.
    pub(crate) fn start(&self) -> Option<PastStart> {
        let last = self.last.map(PastStart::Last);
        last.or(self.each.map(PastStart::Each)).or(self.since)
    }

    /// Why the flags mean nothing with these filters or MQTT, if they do not.
    pub(crate) fn check(&self, filters: &[String], is_mqtt: bool) -> Result<(), String> {
        if self.start().is_none() {
            return Ok(());
        }
        if is_mqtt {
            let why = "--last, --each and --since are for the line protocol; MQTT has no past";
            return Err(why.to_owned());
        }
        let is_shared =
            |text: &&String| Filter::parse(text).is_ok_and(|filter| filter.group().is_some());
        match filters.iter().find(is_shared) {
            Some(filter) => Err(format!(
                "a group has no past; leave out --last, --each and --since, or {filter}"
            )),
            None => Ok(()),
        }
    }
}

/// Parses the value of `--since`.
fn since(text: &str) -> Result<PastStart, BadPast> {
    PastStart::since(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_may_be_written_in_many_ways() {
        for (text, start) in [
            ("start", PastStart::All),
            ("now", PastStart::Now),
            ("10m", PastStart::Ago(600)),
            ("@1764500000", PastStart::At(1_764_500_000_000)),
            ("1970-01-01T00:01:00Z", PastStart::At(60_000)),
            ("1970-01-01T02:00:00+02:00", PastStart::At(0)),
        ] {
            assert_eq!(since(text), Ok(start), "{text}");
        }
        assert!(matches!(since("k3f9.2:7"), Ok(PastStart::After(_))));
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in ["", "10", "yesterday", "1960-01-01T00:00:00Z", "k3f9.2"] {
            let why = since(text).expect_err(text).to_string();
            assert!(why.contains("10m"), "{why}");
        }
    }
}
