//! Command lines whose flags are environment variables too, of which an empty one counts as unset.
//!
//! Which other values are passed over is the program's to say. Nothing here changes the environment.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::{Arg, Command, Parser};

/// Parses these arguments, of which the first is the program, and the environment of this process. A
/// variable counts as unset if it is empty, or if `is_passed_over` says so of its name and value. Wrong
/// usage and `--help` end the process.
pub fn parse<P: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    is_passed_over: impl FnMut(&OsStr, &OsStr) -> bool,
) -> P {
    let mut command = command::<P>(is_passed_over);
    let mut matches = command.clone().get_matches_from(arguments);
    P::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The command line of a program, which knows the variables of the environment that count.
pub fn command<P: Parser>(mut is_passed_over: impl FnMut(&OsStr, &OsStr) -> bool) -> Command {
    without(P::command(), &mut |name, value| {
        value.is_empty() || is_passed_over(name, value)
    })
}

/// The command with all its subcommands, whose arguments do not know the variables that are passed over:
/// `clap` would take an empty value for one that was given.
fn without(command: Command, is_passed_over: &mut dyn FnMut(&OsStr, &OsStr) -> bool) -> Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(env::var_os);
        match argument.get_env().zip(value) {
            Some((name, value)) if is_passed_over(name, &value) => Arg::env(argument, None),
            _ => argument,
        }
    });
    command.mut_subcommands(|subcommand| without(subcommand, is_passed_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Command {
        let argument = Arg::new("path").long("path").env("PATH");
        Command::new("x")
            .subcommand(Command::new("y").arg(argument.clone()))
            .arg(argument)
    }

    /// Whether the argument has a value though none is typed: in the command, and in its subcommand.
    fn has_value(command: &Command) -> (bool, bool) {
        let matches = command.clone().get_matches_from(["x", "y"]);
        let below = matches.subcommand_matches("y").expect("it is typed");
        (matches.contains_id("path"), below.contains_id("path"))
    }

    #[test]
    fn a_variable_that_is_passed_over_has_no_value_in_any_subcommand() {
        assert_eq!(has_value(&paths()), (true, true));
        let counted = without(paths(), &mut |_, _| false);
        assert_eq!(has_value(&counted), (true, true));
        let passed_over = without(paths(), &mut |name, value| {
            name == "PATH" && !value.is_empty()
        });
        assert_eq!(has_value(&passed_over), (false, false));
    }
}
