//! What a person has before them: a screen, or lines in and lines out.

use std::io;
use std::os::fd::BorrowedFd;

use super::line::ChatLine;
use super::room::Room;

/// Shows the room and hands over what is typed.
pub(crate) trait Ui {
    /// Shows one more line, at the latest with the next [`refresh`](Self::refresh).
    fn show(&mut self, line: ChatLine) -> io::Result<()>;

    /// Brings everything up to date. `disconnected` says why there is no connection, if there is none.
    fn refresh(&mut self, room: &Room, disconnected: Option<&str>) -> io::Result<()>;

    /// What can be read when something was typed; `None` if there is nothing to wait for.
    /// `is_ready` says whether what is typed could be sent now.
    fn input(&self, is_ready: bool) -> Option<BorrowedFd<'_>>;

    /// Takes what was typed, without waiting once the input can be read.
    fn read(&mut self) -> io::Result<Vec<String>>;

    /// Whether nothing more will be typed.
    fn has_ended(&self) -> bool;

    /// Whether a person waits for us to leave now, although the broker is away. If not, we leave
    /// when everything typed has been sent.
    fn is_impatient(&self) -> bool;
}
