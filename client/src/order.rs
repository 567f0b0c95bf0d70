//! Options may be given before the command, too: `client -s HOST subscribe news` is read as
//! `client subscribe -s HOST news`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command};

/// Moves options that are given before a command behind it, if the command has all of them.
/// `words` are those behind the name of `program`.
pub(crate) fn put_command_first(words: &mut [OsString], program: &Command) {
    let found = (0..words.len()).find_map(|at| {
        let command = program.find_subcommand(&words[at])?;
        are_options_of(command, &words[..at]).then_some((at, command))
    });
    if let Some((at, command)) = found {
        words[..=at].rotate_right(1);
        put_command_first(&mut words[1..], command);
    }
}

/// Whether the words are options of the command, or of one below it, with their values.
fn are_options_of(command: &Command, words: &[OsString]) -> bool {
    let mut words = words.iter().map(|word| word.as_bytes());
    while let Some(word) = words.next() {
        let wants_value = match word {
            [b'-', b'-', long @ ..] => wants_value_behind_long(command, long),
            [b'-', letters @ ..] if !letters.is_empty() => {
                wants_value_behind_letters(command, letters)
            }
            _ => None,
        };
        match wants_value {
            Some(true) if words.next().is_none() => return false,
            Some(_) => {}
            None => return false,
        }
    }
    true
}

/// Whether the next word is the value of this option; `None` if the command has no such option.
fn wants_value_behind_long(command: &Command, long: &[u8]) -> Option<bool> {
    let mut parts = long.splitn(2, |&byte| byte == b'=');
    let name = parts.next()?;
    let option = find(command, &|arg| {
        arg.get_long().is_some_and(|long| long.as_bytes() == name)
    })?;
    Some(parts.next().is_none() && option.get_action().takes_values())
}

/// The same for letters behind one hyphen: the first with a value takes the rest as its value.
fn wants_value_behind_letters(command: &Command, letters: &[u8]) -> Option<bool> {
    for (at, &letter) in letters.iter().enumerate() {
        let option = find(command, &|arg| arg.get_short() == Some(letter.into()))?;
        if option.get_action().takes_values() {
            return Some(at + 1 == letters.len());
        }
    }
    Some(false)
}

fn find<'c>(command: &'c Command, is_meant: &dyn Fn(&Arg) -> bool) -> Option<&'c Arg> {
    let own = command.get_arguments().find(|arg| is_meant(arg));
    own.or_else(|| {
        let mut below = command.get_subcommands();
        below.find_map(|command| find(command, is_meant))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::command::Arguments;

    fn check(typed: &str, read: &str) {
        let mut words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        put_command_first(&mut words, &Arguments::command());
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words.join(" "), read, "{typed}");
    }

    #[test]
    fn options_before_the_command_are_read_as_if_behind_it() {
        check("-s a:1 subscribe news", "subscribe -s a:1 news");
        check("--server=a:1 -p9 who", "who --server=a:1 -p9");
        check("-rH unit:C publish attic 1", "publish -rH unit:C attic 1");
        check("-s a retained --yes rm x", "retained rm -s a --yes x");
        check("-c publish publish news x", "publish -c publish news x");
    }

    #[test]
    fn what_is_behind_the_command_stays_as_it_is() {
        for words in [
            "subscribe -s a:1 news",
            "publish publish subscribe",
            "retained ls -s a",
            "--help publish",
            "-s",
            "-s a",
            "--nonsense publish a x",
            "-q 2 who",
            "-s publish a",
        ] {
            check(words, words);
        }
    }
}
