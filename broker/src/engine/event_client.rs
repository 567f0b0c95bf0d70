//! A client as the security log names it.

use serde::Serialize;

/// Maximum bytes of a text in an event. Clients choose many of them.
const MOST_TEXT: usize = 512;

/// Which client did something.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EventClient {
    /// Its name; none where it has not shown that it is the one it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// How it shows its identity, or has tried to.
    pub(crate) kind: &'static str,
    /// The number of its connection.
    pub(crate) connection: u64,
    /// Where it comes from: an address without its port, or `unix:USER`.
    pub(crate) address: String,
    /// What it speaks, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wire: Option<&'static str>,
}

/// The giver of an order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OrderGiver {
    /// `client`, or `process` for a signal and for the program that has the broker.
    by: &'static str,
    #[serde(flatten)]
    client: Option<EventClient>,
}

impl OrderGiver {
    pub(crate) fn client(client: EventClient) -> Self {
        Self {
            by: "client",
            client: Some(client),
        }
    }

    /// The process that the broker is a part of.
    pub(crate) const PROCESS: Self = Self {
        by: "process",
        client: None,
    };
}

/// A text for an event, which is cut if it is long.
pub(crate) fn clipped(text: &str) -> String {
    match text.len() <= MOST_TEXT {
        true => text.to_owned(),
        false => format!("{}...", &text[..text.floor_char_boundary(MOST_TEXT)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_letters() {
        assert_eq!(clipped("short"), "short");
        let long = "a".repeat(MOST_TEXT - 1) + "é and more";
        assert_eq!(clipped(&long), "a".repeat(MOST_TEXT - 1) + "...");
    }
}
