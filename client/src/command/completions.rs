//! `client completions`: scripts that complete this program's arguments in a shell.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::exit::{self, Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  client completions bash > ~/.local/share/bash-completion/completions/client
  client completions zsh > ~/.zfunc/_client     with ~/.zfunc in $fpath
  client completions fish > ~/.config/fish/completions/client.fish
  client completions powershell >> $PROFILE
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, mut program: clap::Command) -> Result<Exit, Failure> {
    // `generate` panics if it cannot write, so it writes into memory.
    let mut script = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut program, name, &mut script);
    let written = io::stdout().lock().write_all(&script);
    written.map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Done)
}
