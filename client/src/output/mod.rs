//! How messages are printed to standard output.

mod arrived;
mod format;
mod human;
pub(crate) mod json;
mod printer;
mod style;

pub(crate) use arrived::Arrived;
pub(crate) use format::Format;
pub(crate) use printer::{Hiding, Printer};
pub(crate) use style::Style;
