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
    fn a_block_without_a_title_becomes_notes() {
        let command = clap::Command::new("x").after_help("Why\nso?\n\nExamples:\n  x -a\n  x -b\n");
        let page = page(&command);
        let rest = ".SH NOTES\n.nf\nWhy\nso?\n.fi\n.SH EXAMPLES\n.nf\n  x \\-a\n  x \\-b\n.fi\n";
        assert!(page.ends_with(rest), "{page}");
    }
}
