//! Parses a typed line: a message or a command.

use super::name::{BadName, ChatName};

/// The output of `/help`.
pub(crate) const HELP: &str = "\
/who            who is here
/msg NICK TEXT  tell NICK alone (though any client may subscribe to that)
/join ROOM      go elsewhere
/nick NAME      change your name
/help           this list
/quit, or bye   leave
//TEXT          say /TEXT";

const COMMANDS: &str = "/who, /msg, /join, /nick, /help and /quit";

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    Nothing,
    Say(&'a str),
    Who,
    Private {
        to: ChatName,
        text: &'a str,
    },
    Join(ChatName),
    Nick(ChatName),
    Help,
    Leave,
    /// An invalid command; the text says why, and what to type instead.
    Wrong(String),
}

/// Parses a line without its end.
pub(crate) fn parse(line: &str) -> Input<'_> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return Input::Nothing;
    }
    if line.trim() == "bye" {
        return Input::Leave;
    }
    let Some(command) = line.strip_prefix('/') else {
        return Input::Say(line);
    };
    if command.starts_with('/') {
        return Input::Say(command);
    }
    let (verb, rest) = split(command);
    match verb {
        "who" => alone(verb, rest, Input::Who),
        "help" => alone(verb, rest, Input::Help),
        "quit" => alone(verb, rest, Input::Leave),
        "msg" => private(rest),
        "join" => named(rest, "/join ROOM", ChatName::room, Input::Join),
        "nick" => named(rest, "/nick NAME", ChatName::nick, Input::Nick),
        _ => {
            let verb = crate::visible::name(verb);
            Input::Wrong(format!(
                "there is no /{verb}; there are {COMMANDS}. To say a line that begins with /, type // for it"
            ))
        }
    }
}

/// The first word, and the text after it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn alone<'a>(verb: &str, rest: &str, typed: Input<'a>) -> Input<'a> {
    if rest.is_empty() {
        return typed;
    }
    Input::Wrong(format!("/{verb} takes no argument; type it alone"))
}

fn private(rest: &str) -> Input<'_> {
    let (nick, text) = split(rest);
    if text.is_empty() {
        return Input::Wrong("say to whom, and what: /msg NICK TEXT".to_owned());
    }
    match ChatName::nick(nick) {
        Ok(to) => Input::Private { to, text },
        Err(bad) => Input::Wrong(bad.to_string()),
    }
}

fn named<'a>(
    rest: &str,
    usage: &str,
    check: fn(&str) -> Result<ChatName, BadName>,
    typed: fn(ChatName) -> Input<'a>,
) -> Input<'a> {
    let name = rest.trim_end();
    if name.is_empty() {
        return Input::Wrong(format!("a name is missing: {usage}"));
    }
    check(name).map_or_else(|bad| Input::Wrong(bad.to_string()), typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nick(name: &str) -> ChatName {
        ChatName::nick(name).expect("a name")
    }

    #[test]
    fn a_line_without_a_command_is_a_message() {
        for line in ["hello", " hello ", "bye now", "good bye", "سلام", "1/2"] {
            assert_eq!(parse(line), Input::Say(line));
        }
        assert_eq!(parse("//etc is a folder"), Input::Say("/etc is a folder"));
        assert_eq!(parse("hello\r"), Input::Say("hello"));
        assert_eq!(parse("  "), Input::Nothing);
    }

    #[test]
    fn each_command_is_understood() {
        assert_eq!(parse("/who"), Input::Who);
        assert_eq!(parse("/help "), Input::Help);
        assert_eq!(parse("/quit"), Input::Leave);
        assert_eq!(parse(" bye "), Input::Leave);
        assert_eq!(parse("/join attic "), Input::Join(nick("attic")));
        assert_eq!(parse("/nick דנה"), Input::Nick(nick("דנה")));
        let to = nick("bob");
        let text = "two  words ";
        assert_eq!(parse("/msg  bob  two  words "), Input::Private { to, text });
    }

    #[test]
    fn an_invalid_command_says_what_to_type() {
        for (line, advice) in [
            ("/wave", "there is no /wave; there are /who, /msg"),
            ("/", "there is no /;"),
            ("/\x1b[2J", "there is no /\u{fffd}[2J"),
            ("/msg", "/msg NICK TEXT"),
            ("/msg bob", "/msg NICK TEXT"),
            ("/msg a/b hi", "leave it out"),
            ("/join", "/join ROOM"),
            ("/join two words", "use - or _ instead"),
            ("/nick a+b", "leave it out"),
            ("/who is there", "type it alone"),
        ] {
            let Input::Wrong(why) = parse(line) else {
                panic!("{line:?} was understood");
            };
            assert!(why.contains(advice), "{line:?}: {why}");
        }
    }
}
