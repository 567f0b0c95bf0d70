//! Topics, filters and attributes on the command line, checked when they are parsed.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use client::{
    AckLevel, Attributes, BadFilter, BadTopic, Filter, REPLY, RETAIN, RETAINED, Topic,
    escape_spaces,
};

/// Parses a topic, and spells it as a line does: a space is `\s`.
pub(crate) fn topic(text: &str) -> Result<String, BadTopic> {
    Topic::parse(&*escape_spaces(text)).map(|topic| topic.to_string())
}

/// Parses a filter, and spells it as a line does.
pub(crate) fn filter(text: &str) -> Result<String, BadFilter> {
    Filter::parse(&*escape_spaces(text)).map(|filter| filter.to_string())
}

/// Parses `KEY:VALUE`.
pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("write KEY:VALUE")?;
    if key == RETAIN || key == RETAINED {
        return Err(format!("{key} is the broker's own; give --retain"));
    }
    let checked = Attributes::default().push(key, value.as_bytes());
    checked.map_err(|bad| bad.to_string())?;
    let value = match key {
        REPLY => escape_spaces(value).into_owned(),
        _ => value.to_owned(),
    };
    Ok((key.to_owned(), value))
}

/// Parses a level of `--ack`.
pub(crate) fn ack_level() -> impl TypedValueParser<Value = AckLevel> {
    let names = PossibleValuesParser::new(AckLevel::ALL.map(AckLevel::as_str));
    names.try_map(|name| AckLevel::parse(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_in_a_topic_may_be_written_as_it_is() {
        for text in ["living room/+", r"living\sroom/+"] {
            assert_eq!(filter(text).as_deref(), Ok(r"living\sroom/+"));
        }
        assert_eq!(topic("living room").as_deref(), Ok(r"living\sroom"));
        let reply = attribute("reply:my own").expect("an attribute");
        assert_eq!(reply.1, r"my\sown");
        assert!(topic("two\tlines").is_err());
    }

    #[test]
    fn an_attribute_is_a_key_and_a_value_with_a_colon_between() {
        let parsed = attribute("unit:a:b").expect("an attribute");
        assert_eq!(parsed, ("unit".to_owned(), "a:b".to_owned()));
        for text in ["unit", "Unit:C", ":C", "retain:1", "retained:1"] {
            assert!(attribute(text).is_err(), "{text}");
        }
    }
}
