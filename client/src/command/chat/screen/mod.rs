//! The full-screen user interface: a title row at the top, the messages below it, and the input at
//! the bottom.

mod editor;
mod palette;
mod scrollback;
mod wrap;

use std::io::{self, stdout};
use std::os::fd::{AsFd, BorrowedFd};

use jiff::Zoned;
use ratatui::Frame;
use ratatui::crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind,
};
use ratatui::crossterm::execute;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Span, Text};

use super::line::ChatLine;
use super::ui::{ChatStatus, Ui};
use crate::cells::clipped;
use crate::colour::Colour;
use crate::fullscreen::FullScreen;

use editor::{Editor, EditorAction};
use palette::Palette;
use scrollback::Scrollback;

/// The prompt of the input.
const PROMPT: &str = "> ";

/// Maximum rows of the input. Longer texts scroll.
const MAX_INPUT_ROWS: u16 = 5;

/// The screen. Dropping it restores the terminal.
pub(crate) struct ChatScreen {
    terminal: FullScreen,
    has_ended: bool,
    pane: Pane,
}

/// The contents of the screen.
struct Pane {
    scrollback: Scrollback,
    editor: Editor,
    /// Rows of the scrollback at the last draw.
    page: usize,
}

impl ChatScreen {
    /// Switches to full-screen mode.
    pub(crate) fn open() -> io::Result<Self> {
        // Created first, so that `Drop` restores the terminal if a later step fails.
        let screen = Self {
            terminal: FullScreen::open()?,
            has_ended: false,
            pane: Pane {
                scrollback: Scrollback::new(Palette(Colour::of_environment())),
                editor: Editor::new(),
                page: 1,
            },
        };
        // Otherwise a pasted line end would submit the text before it.
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }

    fn handle(&mut self, event: Event) -> io::Result<Option<String>> {
        let pane = &mut self.pane;
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => match pane.press(key) {
                Some(EditorAction::Submitted(text)) => {
                    pane.scrollback.scroll_to_end();
                    return Ok(Some(text));
                }
                Some(EditorAction::Redraw) => self.terminal.redraw()?,
                None => {}
            },
            Event::Paste(text) => pane.editor.paste(&text),
            // A terminal that was resized and resized back has lost its contents, although its size
            // is the same.
            Event::Resize(..) => self.terminal.redraw()?,
            _ => {}
        }
        Ok(None)
    }
}

impl Drop for ChatScreen {
    fn drop(&mut self) {
        // A terminal that is gone cannot show the error either.
        let _ = execute!(stdout(), DisableBracketedPaste);
    }
}

impl Ui for ChatScreen {
    fn show(&mut self, line: ChatLine) -> io::Result<()> {
        let time = Zoned::now().strftime("%H:%M").to_string();
        self.pane.scrollback.push(time, line);
        Ok(())
    }

    fn refresh(&mut self, status: &ChatStatus<'_>) -> io::Result<()> {
        let pane = &mut self.pane;
        self.terminal.draw(|frame| pane.draw(frame, status))
    }

    fn input(&self, _is_ready: bool) -> Option<BorrowedFd<'_>> {
        Some(self.terminal.as_fd())
    }

    fn read(&mut self) -> io::Result<Vec<String>> {
        let mut typed = Vec::new();
        while let Some(event) = self.terminal.next_event() {
            match event {
                Ok(event) => typed.extend(self.handle(event)?),
                Err(_) => self.has_ended = true,
            }
        }
        Ok(typed)
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn is_impatient(&self) -> bool {
        true
    }
}

impl Pane {
    fn press(&mut self, key: KeyEvent) -> Option<EditorAction> {
        match key.code {
            KeyCode::PageUp => self.scrollback.scroll_up(self.page),
            KeyCode::PageDown => self.scrollback.scroll_down(self.page),
            KeyCode::Esc => self.scrollback.scroll_to_end(),
            _ => return self.editor.press(key),
        }
        None
    }

    fn draw(&mut self, frame: &mut Frame<'_>, status: &ChatStatus<'_>) {
        let area = frame.area();
        let prompt = PROMPT.len() as u16;
        let rows = self.editor.rows(area.width.saturating_sub(prompt));
        let [title, said, rule, input] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(rows.min(MAX_INPUT_ROWS)),
        ])
        .areas(area);
        frame.render_widget(title_row(&status.title, title.width), title);
        self.draw_said(frame, said, status);
        frame.render_widget(self.rule(rule.width), rule);
        let [prompt, input] =
            Layout::horizontal([Constraint::Length(prompt), Constraint::Fill(1)]).areas(input);
        // A span is clipped if the screen has no row for it; a plain text would panic.
        frame.render_widget(Span::raw(PROMPT), prompt);
        self.draw_input(frame, input, status);
    }

    fn draw_said(&mut self, frame: &mut Frame<'_>, area: Rect, status: &ChatStatus<'_>) {
        let height = usize::from(area.height);
        // A page keeps one row of the page before as context.
        self.page = height.saturating_sub(1).max(1);
        let pending = status.pending.iter().copied();
        let rows = self
            .scrollback
            .view(usize::from(area.width), height, pending);
        // The newest message is directly above the input, as in a terminal.
        let free = area.height.saturating_sub(rows.len() as u16);
        let [_, filled] =
            Layout::vertical([Constraint::Length(free), Constraint::Fill(1)]).areas(area);
        frame.render_widget(Text::from(rows), filled);
    }

    fn rule(&self, width: u16) -> Row<'static> {
        let note = match self.scrollback.below() {
            0 => String::new(),
            rows => format!(" {rows} more below, PageDown "),
        };
        let width = usize::from(width);
        let note = clipped(&note, width).to_owned();
        let rule = "─".repeat(width.saturating_sub(Span::raw(&*note).width() + 1));
        let dim = Style::new().add_modifier(Modifier::DIM);
        Row::from(vec![
            Span::styled(rule, dim),
            Span::raw(note),
            Span::styled("─", dim),
        ])
    }

    fn draw_input(&mut self, frame: &mut Frame<'_>, area: Rect, status: &ChatStatus<'_>) {
        let Position { x, y } = self.editor.draw(frame, area, &status.hint);
        if x < area.width && y < area.height {
            frame.set_cursor_position((area.x + x, area.y + y));
        }
    }
}

fn title_row(title: &str, width: u16) -> Row<'static> {
    let title = format!(" {title}");
    let shown = clipped(&title, usize::from(width)).to_owned();
    let rest = usize::from(width).saturating_sub(Span::raw(&*shown).width());
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    Row::styled(format!("{shown}{}", " ".repeat(rest)), bar)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn it_is_drawn_on_a_screen_of_any_size() {
        let status = ChatStatus {
            title: "lobby · ann · 2 here".to_owned(),
            hint: "say something to lobby".to_owned(),
            pending: Vec::new(),
        };
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        let mut pane = Pane {
            scrollback: Scrollback::new(Palette(Colour { is_wanted: true })),
            editor: Editor::new(),
            page: 1,
        };
        pane.scrollback
            .push("12:00".into(), ChatLine::Notice("you are ann".into()));
        for typed in ["", "a text that takes several rows\nand another"] {
            pane.editor.paste(typed);
            for (width, height) in
                (0..40).flat_map(|width| (0..8).map(move |height| (width, height)))
            {
                terminal.backend_mut().resize(width, height);
                let drawn = terminal.draw(|frame| pane.draw(frame, &status));
                drawn.expect("it is drawn");
            }
        }
    }
}
