//! The texts in an object of JSON, read without building the rest of it.
//!
//! An object of a peer may be long and hold anything. What is not asked for takes no memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The values of these keys that are texts, if the bytes are one object of JSON. Of a key that comes
/// twice, the last value counts.
pub(crate) fn texts<const N: usize>(json: &[u8], keys: [&str; N]) -> Option<[Option<String>; N]> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let texts = deserializer.deserialize_map(WantedTexts(keys)).ok()?;
    deserializer.end().ok()?;
    Some(texts)
}

/// Whether a text is one object of JSON.
pub(crate) fn is_object(text: &str) -> bool {
    texts(text.as_bytes(), []).is_some()
}

/// Reads an object.
struct WantedTexts<'k, const N: usize>([&'k str; N]);

impl<'de, const N: usize> Visitor<'de> for WantedTexts<'_, N> {
    type Value = [Option<String>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(key) = entries.next_key::<String>()? {
            match self.0.iter().position(|wanted| *wanted == key) {
                Some(at) => found[at] = entries.next_value_seed(TextOrOther)?,
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Reads a value; none if it is no text.
struct TextOrOther;

impl<'de> DeserializeSeed<'de> for TextOrOther {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextOrOther {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Option<[Option<&str>; 2]>) {
        let found = texts(json.as_bytes(), ["a", "b"]);
        let found = found
            .as_ref()
            .map(|texts| texts.each_ref().map(Option::as_deref));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn texts_are_found_by_their_keys_and_all_other_values_count_as_missing() {
        check(r#"{"b":"2","a":"1"}"#, Some([Some("1"), Some("2")]));
        check(
            " {\t\"\\u0061\" :\n\"\\\"\\u00e9\\n\" } ",
            Some([Some("\"é\n"), None]),
        );
        check(
            r#"{"a":"1","a":"2","b":"3","b":4}"#,
            Some([Some("2"), None]),
        );
        check(r#"{"x":{"a":"1"},"y":["b"]}"#, Some([None, None]));
        for other in [
            "1",
            "-1",
            "1e9",
            "1.5",
            "true",
            "null",
            "[]",
            "[[1],{}]",
            "{}",
            r#"{"a":"1"}"#,
        ] {
            check(
                &format!(r#"{{"a":{other},"b":"2"}}"#),
                Some([None, Some("2")]),
            );
        }
        check("{}", Some([None, None]));
    }

    #[test]
    fn what_is_no_object_has_no_texts() {
        for other in [
            "",
            " ",
            "1",
            r#""a""#,
            r#"["a"]"#,
            "null",
            r#"{"a":"1""#,
            r#"{"a":"1"}x"#,
            r#"{"a":"1"}{}"#,
            r#"{"a":"1",}"#,
            r#"{a:"1"}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
        ] {
            check(other, None);
        }
        assert!(texts(b"{\"a\":\"\xff\"}", ["a"]).is_none());
        assert!(is_object(r#"{"a":[{}]}"#) && !is_object("[]"));
    }

    #[test]
    fn depth_and_length_are_no_danger() {
        let deep = format!(
            r#"{{"x":{}{},"a":"1"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        check(&deep, Some([Some("1"), None]));
        let deep = format!(
            r#"{{"b":{}{},"a":"1"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        check(&deep, Some([Some("1"), None]));
        check(&"{\"x\":".repeat(100_000), None);
    }
}
