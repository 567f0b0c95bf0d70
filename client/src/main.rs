//! `client`, the command line program of the dallal broker.
//!
//! Data goes to standard output and messages for the user to standard error, so the program works
//! in a pipe. Each command has a file or folder under `command/`.

mod address;
mod cells;
mod colour;
mod command;
mod configuration;
mod credentials;
mod duration;
mod exit;
mod fullscreen;
mod hint;
mod interruption;
mod keyboard;
mod lines;
mod listing;
mod order;
mod output;
mod past_flags;
mod reconnect;
mod server;
mod stderr;
mod table;
mod tls_flags;
mod units;
mod value;
mod visible;
mod waker;
mod wire;

use std::env;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::command::Arguments;
use crate::exit::Exit;

fn main() -> ExitCode {
    let mut words: Vec<_> = env::args_os().collect();
    if let Some(words) = words.get_mut(1..) {
        order::put_command_first(words, &Arguments::command());
    }
    let arguments: Arguments = command_line::parse(words, |_, _| false);
    let exit = command::run(&arguments).unwrap_or_else(|failure| failure.tell());
    if exit == Exit::Interrupted {
        interruption::end_by_signal();
    }
    exit.into()
}
