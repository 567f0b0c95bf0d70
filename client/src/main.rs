//! `client`, the terminal program of the dallal broker.
//!
//! Data goes to standard output and all talk to standard error, so the program fits into a pipe.
//! Each command has a file of its own under `command/`.

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
