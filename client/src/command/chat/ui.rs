//! The user interface of the chat: full screen or plain lines.

use std::io;
use std::os::fd::BorrowedFd;

use super::line::ChatLine;

/// What is shown around the lines.
#[derive(Debug)]
pub(crate) struct ChatStatus<'a> {
    /// Where the user is, and with whom.
    pub(crate) title: String,
    /// What to do, shown in an empty input.
    pub(crate) hint: String,
    /// Messages typed here that are not lines yet.
    pub(crate) pending: Vec<&'a ChatLine>,
}

/// Shows the chat and returns input.
pub(crate) trait Ui {
    /// Shows one more line, at the latest with the next [`refresh`](Self::refresh).
    fn show(&mut self, line: ChatLine) -> io::Result<()>;

    /// Updates the display.
    fn refresh(&mut self, status: &ChatStatus<'_>) -> io::Result<()>;

    /// The descriptor that is readable when there is input; `None` to wait for none. `is_ready`
    /// says whether input could be sent now.
    fn input(&self, is_ready: bool) -> Option<BorrowedFd<'_>>;

    /// Reads lines; does not block if the input is readable.
    fn read(&mut self) -> io::Result<Vec<String>>;

    /// Whether the input has ended.
    fn has_ended(&self) -> bool;

    /// Whether to leave at once while there is no connection. Otherwise the session ends when
    /// everything typed has been sent.
    fn is_impatient(&self) -> bool;
}
