//! Durations on the command line: `5` means seconds, `1s`, `500ms` and `2m 30s` have units.

use std::time::Duration;

/// Parses a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write seconds, or a time such as 1s or 500ms"))
}

/// Parses a duration above zero.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("give a time above zero".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_seconds() {
        assert_eq!(parse("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("0.5"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn a_number_may_have_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse("2m 30s"), Ok(Duration::from_secs(150)));
    }

    #[test]
    fn an_invalid_time_is_refused() {
        for text in ["", "-1", "inf", "soon", "5 parsecs"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse_positive("0").is_err());
    }
}
