//! The broker's manual page, generated from `--help`.

use std::io::{self, Write};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Writes the page. The text after the options in `--help` keeps its line breaks.
pub(crate) fn write_page(out: &mut impl Write, command: &clap::Command) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    write_rest(
        out,
        &command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default(),
    )
}

/// A paragraph that begins with `Title:` becomes a section; all others become notes.
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

    #[test]
    fn examples_keep_their_lines() {
        let command = clap::Command::new("x").after_help("Examples:\n  x -a\n  x -b\n\nExit: 0\n");
        let mut out = Vec::new();
        write_page(&mut out, &command).expect("room");
        let page = String::from_utf8(out).expect("text");
        let rest = ".SH EXAMPLES\n.nf\n  x \\-a\n  x \\-b\n.fi\n.SH NOTES\n.nf\nExit: 0\n.fi\n";
        assert!(page.ends_with(rest), "{page}");
    }
}
