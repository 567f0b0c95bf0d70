//! The manual page of a command, written from its `--help`.

use std::io::{self, Write};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Writes the page of `command`. The text after the options in `--help` keeps its line breaks, for which
/// `Man::render_extra_section` has no form: it fills the text and puts it under one heading.
///
/// # Errors
///
/// Those of `out`.
pub fn write_page(out: &mut impl Write, command: &clap::Command) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    match command.get_after_help() {
        Some(text) => write_rest(out, &text.to_string()),
        None => Ok(()),
    }
}

/// Writes the help of each command that `program` has, for the end of the page of a program whose commands
/// have no pages of their own.
///
/// # Errors
///
/// Those of `out`.
pub fn write_commands(out: &mut impl Write, program: &clap::Command) -> io::Result<()> {
    let mut program = program.clone().term_width(COLUMNS);
    // So that each command knows how it is called.
    program.build();
    let mut page = Roff::new();
    page.control("SH", ["COMMANDS"]);
    write_each(&mut page, &program);
    page.to_writer(out)
}

/// Columns of a page.
const COLUMNS: usize = 78;

fn write_each(page: &mut Roff, command: &clap::Command) {
    for each in command.get_subcommands() {
        if each.has_subcommands() {
            write_each(page, each);
            continue;
        }
        page.control("SS", [each.get_bin_name().unwrap_or_default()]);
        page.control("nf", []);
        let help = each.clone().render_help().to_string();
        for line in help.trim_end().lines() {
            page.text([roman(line)]);
        }
        page.control("fi", []);
    }
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

    fn page(command: &clap::Command) -> String {
        let mut out = Vec::new();
        write_page(&mut out, command).expect("room");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn examples_keep_their_lines() {
        let command = clap::Command::new("x").after_help("Examples:\n  x -a\n  x -b\n\nExit: 0\n");
        let page = page(&command);
        let rest = ".SH EXAMPLES\n.nf\n  x \\-a\n  x \\-b\n.fi\n.SH NOTES\n.nf\nExit: 0\n.fi\n";
        assert!(page.ends_with(rest), "{page}");
    }

    #[test]
    fn commands_are_told_with_their_help() {
        let inner = clap::Command::new("b")
            .about("Does it")
            .disable_help_flag(true);
        let program = clap::Command::new("x").subcommand(clap::Command::new("a").subcommand(inner));
        let mut out = Vec::new();
        write_commands(&mut out, &program.disable_help_subcommand(true)).expect("room");
        let page = String::from_utf8(out).expect("text");
        let rest = ".SH COMMANDS\n.SS \"x a b\"\n.nf\nDoes it\n";
        assert!(
            page.contains(rest) && page.contains("Usage: x a b"),
            "{page}"
        );
    }

    #[test]
    fn a_block_without_a_title_becomes_notes() {
        let command = clap::Command::new("x").after_help("Why\nso?\n\nExamples:\n  x -a\n  x -b\n");
        let page = page(&command);
        let rest = ".SH NOTES\n.nf\nWhy\nso?\n.fi\n.SH EXAMPLES\n.nf\n  x \\-a\n  x \\-b\n.fi\n";
        assert!(page.ends_with(rest), "{page}");
    }
}
