//! `client man`: the manual pages, one for the program and one for each command.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

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

/// Writes one page. The text after the options in `--help` keeps its line breaks, for which
/// `Man::render_extra_section` has no form: it fills the text and puts it under one heading.
fn write_page(out: &mut impl Write, command: &clap::Command) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    write_rest(
        out,
        &command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default(),
    )
}

/// A block that begins with `Title:` becomes a section; other blocks become notes.
fn write_rest(out: &mut impl Write, text: &str) -> io::Result<()> {
    let mut page = Roff::new();
    for block in text.split("\n\n").map(str::trim_end) {
        let (title, lines) = match block.split_once(":\n") {
            Some((title, lines)) if !title.contains('\n') => (title, lines),
            _ => ("Notes", block),
        };
        if lines.is_empty() {
            continue;
        }
        page.control("SH", [title.to_uppercase().as_str()]);
        page.control("nf", []);
        for line in lines.lines() {
            page.text([roman(line)]);
        }
        page.control("fi", []);
    }
    page.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: clap::Command) -> String {
        let mut out = Vec::new();
        write_page(&mut out, &command).expect("room");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn examples_keep_their_lines() {
        let command = clap::Command::new("x").after_help("Why\nso?\n\nExamples:\n  x -a\n  x -b\n");
        let page = page(command);
        let rest = ".SH NOTES\n.nf\nWhy\nso?\n.fi\n.SH EXAMPLES\n.nf\n  x \\-a\n  x \\-b\n.fi\n";
        assert!(page.ends_with(rest), "{page}");
    }
}
