//! The input line and its history.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use ratatui_textarea::{CursorMove, TextArea, WrapMode};

use super::wrap::wrap;

/// Maximum number of lines in the history.
const MAX_HISTORY: usize = 200;

/// The command that Ctrl-C and Ctrl-D submit.
const LEAVE: &str = "/quit";

/// The text that is being edited.
pub(crate) struct Editor {
    area: TextArea<'static>,
    /// Submitted lines, the newest last.
    history: Vec<String>,
    /// The position in the history; past its end is the draft.
    at: usize,
    draft: String,
}

/// What a key causes outside of the editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EditorAction {
    Submitted(String),
    /// Another program has written on the screen.
    Redraw,
}

impl Editor {
    pub(crate) fn new() -> Self {
        Self {
            area: area_with(""),
            history: Vec::new(),
            at: 0,
            draft: String::new(),
        }
    }

    fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    /// Handles a key that the screen does not use.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Option<EditorAction> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        let is_alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if is_alt => self.area.insert_newline(),
            KeyCode::Enter => return self.submit(),
            KeyCode::Char('j') if is_control => self.area.insert_newline(),
            KeyCode::Char('c' | 'd') if is_control && self.area.is_empty() => {
                return Some(EditorAction::Submitted(LEAVE.to_owned()));
            }
            KeyCode::Char('c') if is_control => self.begin_anew(),
            KeyCode::Char('u') if is_control => drop(self.area.delete_line_by_head()),
            KeyCode::Char('l') if is_control => return Some(EditorAction::Redraw),
            KeyCode::Up => self.move_or(CursorMove::Up, Self::show_older),
            KeyCode::Down => self.move_or(CursorMove::Down, Self::show_newer),
            // Tab has no meaning here.
            KeyCode::Tab | KeyCode::BackTab => {}
            _ => drop(self.area.input(key)),
        }
        None
    }

    /// Inserts pasted text without control characters.
    pub(crate) fn paste(&mut self, text: &str) {
        // A terminal sends a pasted line end as a carriage return.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let is_wanted = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
        let text: String = text.chars().filter(is_wanted).collect();
        self.area.insert_str(text.trim_end_matches('\n'));
    }

    fn submit(&mut self) -> Option<EditorAction> {
        let text = self.text();
        if text.trim().is_empty() {
            self.begin_anew();
            return None;
        }
        if self.history.last() != Some(&text) {
            self.history.push(text.clone());
        }
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
        self.begin_anew();
        Some(EditorAction::Submitted(text))
    }

    fn begin_anew(&mut self) {
        self.area = area_with("");
        self.at = self.history.len();
        self.draft.clear();
    }

    /// Moves the cursor by a row, or calls `otherwise` at the first or last row.
    fn move_or(&mut self, step: CursorMove, otherwise: fn(&mut Self)) {
        let before = self.area.screen_cursor().row;
        self.area.move_cursor(step);
        if self.area.screen_cursor().row == before {
            otherwise(self);
        }
    }

    fn show_older(&mut self) {
        if self.at == 0 {
            return;
        }
        if self.at == self.history.len() {
            self.draft = self.text();
        }
        self.at -= 1;
        self.area = area_with(&self.history[self.at]);
    }

    fn show_newer(&mut self) {
        if self.at == self.history.len() {
            return;
        }
        self.at += 1;
        self.area = area_with(self.history.get(self.at).unwrap_or(&self.draft));
    }

    /// Number of rows at this width.
    pub(crate) fn rows(&self, width: u16) -> u16 {
        // The cursor needs a cell after the last character.
        let width = usize::from(width.saturating_sub(1)).max(1);
        let rows = wrap(&self.text(), width, width).len();
        u16::try_from(rows).unwrap_or(u16::MAX)
    }

    /// Draws the editor; returns the position of the cursor in the area.
    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>, area: Rect, hint: &str) -> Position {
        if self.area.is_empty() {
            let dim = Style::new().add_modifier(Modifier::DIM);
            frame.render_widget(Span::styled(hint.to_owned(), dim), area);
            return Position::default();
        }
        frame.render_widget(&self.area, area);
        let (top, left) = self.area.scroll_offset();
        let cursor = self.area.screen_cursor();
        let within =
            |at: usize, offset| u16::try_from(at).unwrap_or(u16::MAX).saturating_sub(offset);
        Position::new(within(cursor.col, left), within(cursor.row, top))
    }
}

/// The cursor is that of the terminal, because input methods and screen readers use it.
fn area_with(text: &str) -> TextArea<'static> {
    let mut area = TextArea::new(text.split('\n').map(str::to_owned).collect());
    area.set_cursor_style(Style::new());
    area.set_cursor_line_style(Style::new());
    area.set_wrap_mode(WrapMode::WordOrGlyph);
    area.move_cursor(CursorMove::Bottom);
    area.move_cursor(CursorMove::End);
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(editor: &mut Editor, code: KeyCode, modifiers: KeyModifiers) -> Option<EditorAction> {
        editor.press(KeyEvent::new(code, modifiers))
    }

    fn tap(editor: &mut Editor, code: KeyCode) -> Option<EditorAction> {
        press(editor, code, KeyModifiers::NONE)
    }

    fn write(editor: &mut Editor, text: &str) {
        for letter in text.chars() {
            assert_eq!(tap(editor, KeyCode::Char(letter)), None);
        }
    }

    fn submitted(text: &str) -> Option<EditorAction> {
        Some(EditorAction::Submitted(text.to_owned()))
    }

    fn control(editor: &mut Editor, letter: char) -> Option<EditorAction> {
        press(editor, KeyCode::Char(letter), KeyModifiers::CONTROL)
    }

    #[test]
    fn a_line_is_written_changed_and_submitted() {
        let mut editor = Editor::new();
        write(&mut editor, "سلا好 hello");
        tap(&mut editor, KeyCode::Backspace);
        tap(&mut editor, KeyCode::Home);
        write(&mut editor, "«");
        assert_eq!(tap(&mut editor, KeyCode::Enter), submitted("«سلا好 hell"));
        assert_eq!(tap(&mut editor, KeyCode::Enter), None, "nothing to submit");
    }

    #[test]
    fn lines_of_before_can_be_fetched_back() {
        let mut editor = Editor::new();
        for line in ["one", "two", "two"] {
            write(&mut editor, line);
            tap(&mut editor, KeyCode::Enter);
        }
        write(&mut editor, "draft");
        let mut shown = Vec::new();
        for code in [
            KeyCode::Up,
            KeyCode::Up,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Down,
            KeyCode::Down,
        ] {
            tap(&mut editor, code);
            shown.push(editor.text());
        }
        assert_eq!(shown, ["two", "one", "one", "two", "draft", "draft"]);
        assert_eq!(tap(&mut editor, KeyCode::Enter), submitted("draft"));
        tap(&mut editor, KeyCode::Up);
        control(&mut editor, 'c');
        tap(&mut editor, KeyCode::Up);
        assert_eq!(editor.text(), "draft", "a cleared line begins anew");
    }

    #[test]
    fn a_text_may_have_several_lines() {
        let mut editor = Editor::new();
        write(&mut editor, "a");
        press(&mut editor, KeyCode::Enter, KeyModifiers::ALT);
        write(&mut editor, "b");
        assert_eq!(editor.rows(80), 2);
        tap(&mut editor, KeyCode::Up);
        write(&mut editor, "x");
        assert_eq!(tap(&mut editor, KeyCode::Enter), submitted("ax\nb"));
    }

    #[test]
    fn pasted_text_is_not_submitted_by_itself() {
        let mut editor = Editor::new();
        write(&mut editor, "see: ");
        editor.paste("one\r\ntwo\rthree\x1b[2J\n");
        assert_eq!(
            tap(&mut editor, KeyCode::Enter),
            submitted("see: one\ntwo\nthree[2J")
        );
    }

    #[test]
    fn control_c_clears_the_line_and_then_leaves() {
        let mut editor = Editor::new();
        write(&mut editor, "never mind");
        assert_eq!(control(&mut editor, 'd'), None);
        assert_eq!(control(&mut editor, 'c'), None);
        assert_eq!(editor.text(), "");
        assert_eq!(control(&mut editor, 'c'), submitted(LEAVE));
        assert_eq!(control(&mut editor, 'd'), submitted(LEAVE));
    }
}
