//! `client`, the command line program of the dallal broker.
//!
//! Data goes to standard output and messages for the user to standard error, so the program works
//! in a pipe. Each command has a file or folder under `command/`.

mod cells;
mod colour;
mod command;
mod configuration;
mod duration;
mod exit;
mod fullscreen;
mod interruption;
mod keyboard;
mod lines;
mod listing;
mod output;
mod reconnect;
mod recording;
mod server;
mod stderr;
mod table;
mod units;
mod value;
mod visible;
mod waker;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::command::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = command::run(&arguments).unwrap_or_else(|failure| failure.tell());
    exit.into()
}
