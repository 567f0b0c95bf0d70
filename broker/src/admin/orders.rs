//! Orders of the operator, as clients give them: a word and an argument. They are taken over a Unix
//! socket only, from root and from the user that the broker runs as.

use std::time::Duration;

use protocol::Code;

use crate::admin::unanswered::Unanswered;
use crate::engine::client::{Client, event_client};
use crate::engine::event_client::OrderGiver;
use crate::engine::orders::{Done, Order};

/// The words, each with the name of its argument as a parameter, and with what that is.
const WORDS: [(&str, &str, &str); 5] = [
    ("reload", "dry", "nothing, or dry"),
    ("drain", "time", "a time such as 30s, or nothing"),
    ("restart", "", "nothing"),
    (
        "kick",
        "name",
        "a name, or # and the number of a connection",
    ),
    (
        "end-session",
        "client",
        "the identifier of a client of MQTT",
    ),
];

/// Whether this is the word of an order.
pub(crate) fn is_order(word: &str) -> bool {
    parameter(word).is_some()
}

/// The name of an order's argument where arguments have names; empty if it has none.
pub(crate) fn parameter(word: &str) -> Option<&'static str> {
    let found = WORDS.iter().find(|(known, ..)| *known == word);
    found.map(|(_, parameter, _)| *parameter)
}

/// Carries out an order of this client. Must be called outside a batch, because it waits.
// Out of line: inlined, its locals would lie on the stack of every idle connection.
#[inline(never)]
pub(crate) fn carry_out(
    client: &Client<'_>,
    word: &str,
    argument: &[u8],
) -> Result<Done, Unanswered> {
    let refused = |code, text: String| Unanswered { code, text };
    let peer = client.record().peer();
    if !peer.is_operator() {
        client.check_orders().map_err(|denied| {
            let code = if denied.needs_auth { Code::Auth } else { Code::Denied };
            let text = format!(
                "{word} is for the operator: root or the user of the broker, over a Unix socket that --unix \
                 names, or a user with the right admin: {denied}; this connection is from {peer}"
            );
            refused(code, text)
        })?;
    }
    let order = parse(word, argument).ok_or_else(|| {
        let wanted = WORDS.iter().find(|(known, ..)| *known == word);
        let wanted = wanted.map_or("", |(.., wanted)| wanted);
        let text = format!("the argument of {word} is {wanted}");
        refused(Code::NotDone, text)
    })?;
    let name = &client.identity().name;
    match argument {
        [] => log::info!("order of {name}, from {peer}: {word}"),
        argument => {
            let argument = String::from_utf8_lossy(argument);
            log::info!("order of {name}, from {peer}: {word} {argument:?}");
        }
    }
    client
        .engine()
        .orders
        .give(order, OrderGiver::client(event_client(client.record())))
        .map_err(|why| refused(Code::NotDone, why))
}

fn parse(word: &str, argument: &[u8]) -> Option<Order> {
    let argument = str::from_utf8(argument).ok()?.trim();
    let name = || (!argument.is_empty()).then(|| argument.into());
    match (word, argument) {
        ("reload", "") => Some(Order::Reload { is_dry: false }),
        ("reload", "dry") => Some(Order::Reload { is_dry: true }),
        ("restart", "") => Some(Order::Restart),
        ("drain", "") => Some(Order::Drain(None)),
        ("drain", time) => humantime::parse_duration(time)
            .ok()
            .filter(|time| *time <= MOST_DRAINING)
            .map(|time| Order::Drain(Some(time))),
        ("kick", _) => name().map(Order::Kick),
        ("end-session", _) => name().map(Order::EndSession),
        _ => None,
    }
}

/// Maximum time to drain. A longer one is a mistake in its unit.
pub(crate) const MOST_DRAINING: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_a_word_and_the_argument_that_belongs_to_it() {
        for (word, argument, order) in [
            ("reload", "", Some(Order::Reload { is_dry: false })),
            ("reload", "dry", Some(Order::Reload { is_dry: true })),
            ("reload", "wet", None),
            ("drain", "", Some(Order::Drain(None))),
            (
                "drain",
                "1500ms",
                Some(Order::Drain(Some(Duration::from_millis(1500)))),
            ),
            ("drain", "25h", None),
            ("drain", "soon", None),
            ("restart", "", Some(Order::Restart)),
            ("restart", "now", None),
            ("kick", "", None),
            ("kick", "#7", Some(Order::Kick("#7".into()))),
            (
                "end-session",
                " ann ",
                Some(Order::EndSession("ann".into())),
            ),
            ("stop", "", None),
        ] {
            assert_eq!(parse(word, argument.as_bytes()), order, "{word} {argument}");
        }
        assert_eq!(parse("kick", b"\xff"), None);
        assert!(WORDS.iter().all(|(word, ..)| is_order(word)));
    }
}
