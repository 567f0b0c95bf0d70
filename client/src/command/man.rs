//! `client man`: the manual pages, one for the program and one for each command.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use command_line::write_page;

use crate::exit::{self, Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  client man | man -l -                      read the first page
  client man ~/.local/share/man/man1         then `man client-publish` works
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The folder for all pages; without it, print the first page
    folder: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, mut program: clap::Command) -> Result<Exit, Failure> {
    // Sets the full name of each command.
    program.build();
    let Some(folder) = &arguments.folder else {
        let mut page = Vec::new();
        let written = write_page(&mut page, &program);
        let written = written.and_then(|()| io::stdout().lock().write_all(&page));
        return match written {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(Failure::of_output(&error)),
        };
    };
    write_all(folder, &program).map_err(|error| {
        let why = format_args!("cannot write the manual to {} ({error})", folder.display());
        Failure::new(Exit::Failed, "client", why)
    })?;
    Ok(Exit::Done)
}

fn write_all(folder: &Path, program: &clap::Command) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write_with_subcommands(folder, program)
}

fn write_with_subcommands(folder: &Path, command: &clap::Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut out = BufWriter::new(File::create(folder.join(format!("{name}.1")))?);
    write_page(&mut out, command)?;
    out.flush()?;
    let mut all = command.get_subcommands();
    all.try_for_each(|each| write_with_subcommands(folder, each))
}
