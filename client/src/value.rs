//! Topics, filters and attributes on the command line, checked when they are parsed.

use client::{Attributes, BadFilter, BadTopic, Filter, RETAIN, RETAINED, Topic};

/// Parses a topic.
pub(crate) fn topic(text: &str) -> Result<String, BadTopic> {
    Topic::parse(text).map(|topic| topic.to_string())
}

/// Parses a filter.
pub(crate) fn filter(text: &str) -> Result<String, BadFilter> {
    Filter::parse(text).map(|filter| filter.to_string())
}

/// Parses `KEY:VALUE`.
pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("write KEY:VALUE")?;
    if key == RETAIN || key == RETAINED {
        return Err(format!("{key} is the broker's own; give --retain"));
    }
    let checked = Attributes::default().push(key, value.as_bytes());
    checked.map_err(|bad| bad.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_a_key_and_a_value_with_a_colon_between() {
        let parsed = attribute("unit:a:b").expect("an attribute");
        assert_eq!(parsed, ("unit".to_owned(), "a:b".to_owned()));
        for text in ["unit", "Unit:C", ":C", "retain:1", "retained:1"] {
            assert!(attribute(text).is_err(), "{text}");
        }
    }
}
