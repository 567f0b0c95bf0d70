//! Prints messages to standard output: filters, counts and flushes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use client::{Delivery, Filter, Position, RETAINED, Topic, decode_spaces, encode_spaces};

use super::arrived::Arrived;
use super::style::Style;
use crate::stderr::say;

/// Size of the output buffer. It is also flushed when no message is ready.
const BUFFER_BYTES: usize = 64 * 1024;

/// Which messages are hidden.
#[derive(Debug, Default)]
pub(crate) struct Hiding<'a> {
    pub(crate) topics: Vec<Filter<'a>>,
    pub(crate) retained: bool,
}

impl Hiding<'_> {
    fn hides(&self, message: &Arrived<'_>) -> bool {
        let hides_topic = |topic| self.topics.iter().any(|filter| filter.matches(topic));
        // A topic of MQTT that is invalid in the line protocol cannot match a filter.
        Topic::parse(&*encode_spaces(&message.name)).is_ok_and(hides_topic)
            || (self.retained && message.attributes.contains(RETAINED))
    }
}

/// Prints deliveries.
#[derive(Debug)]
pub(crate) struct Printer<'a, W: Write> {
    out: BufWriter<W>,
    style: Style,
    hiding: Hiding<'a>,
    /// How many more messages to print; `None` for all.
    left: Option<u64>,
}

impl<'a> Printer<'a, File> {
    /// Writes to standard output without the line buffer of the standard library.
    pub(crate) fn to_stdout(
        style: Style,
        hiding: Hiding<'a>,
        count: Option<u64>,
    ) -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(stdout.into(), style, hiding, count))
    }
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(out: W, style: Style, hiding: Hiding<'a>, left: Option<u64>) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            style,
            hiding,
            left,
        }
    }

    /// Prints a delivery. Breaks after the last wanted message.
    pub(crate) fn print(&mut self, delivery: &Delivery<'_>) -> io::Result<ControlFlow<()>> {
        match delivery {
            Delivery::Gap { count } => self.print_gap(*count),
            Delivery::Incomplete { filter, oldest } => {
                self.tell_incomplete(filter.as_str(), *oldest)?;
                Ok(self.flow())
            }
            Delivery::Current { .. } => {
                self.tell(format_args!("client: what follows is new"))?;
                Ok(self.flow())
            }
            Delivery::End { .. } => Ok(self.flow()),
            Delivery::Message {
                topic,
                payload,
                attributes,
            } => self.print_message(&Arrived {
                topic: topic.as_str(),
                name: decode_spaces(topic.as_str()),
                payload: &payload.unescape(),
                attributes,
            }),
        }
    }

    /// The same for a message.
    pub(crate) fn print_message(&mut self, message: &Arrived<'_>) -> io::Result<ControlFlow<()>> {
        if !self.hiding.hides(message) {
            self.style.write(&mut self.out, message)?;
            self.left = self.left.map(|left| left - 1);
        }
        Ok(self.flow())
    }

    /// The same for a gap.
    pub(crate) fn print_gap(&mut self, count: u64) -> io::Result<ControlFlow<()>> {
        self.tell_gap(count)?;
        Ok(self.flow())
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.is_done() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn tell_gap(&mut self, count: u64) -> io::Result<()> {
        if self.style.write_gap(&mut self.out, count)? {
            return Ok(());
        }
        let were = if count == 1 {
            "message was"
        } else {
            "messages were"
        };
        self.tell(format_args!(
            "client: {count} {were} dropped here because this client was too slow"
        ))
    }

    fn tell_incomplete(&mut self, filter: &str, oldest: Option<Position>) -> io::Result<()> {
        if self.style.write_incomplete(&mut self.out, oldest)? {
            return Ok(());
        }
        self.tell(format_args!("client: {}", incomplete(filter, oldest)))
    }

    /// Tells something on standard error, after the messages before it.
    fn tell(&mut self, notice: fmt::Arguments<'_>) -> io::Result<()> {
        self.out.flush()?;
        say(notice);
        Ok(())
    }

    /// Whether all wanted messages have been printed.
    pub(crate) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Flushes the buffer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says that not all of the past is there that was asked for.
pub(crate) fn incomplete(filter: &str, oldest: Option<Position>) -> String {
    match oldest {
        Some(oldest) => format!(
            "messages on {filter} may be missing here; the broker keeps those from {oldest} on"
        ),
        None => format!("messages on {filter} may be missing here; the broker keeps none of them"),
    }
}

#[cfg(test)]
mod tests {
    use client::{Attributes, Escaped};

    use super::*;

    /// What is shown of retained messages on these topics.
    fn shown(topics: &[&str], hiding: Hiding<'_>, count: Option<u64>) -> String {
        let mut attributes = Attributes::default();
        attributes.push_flag(RETAINED).expect("a key");
        let mut printer = Printer::new(Vec::new(), Style::Human, hiding, count);
        for topic in topics {
            let delivery = Delivery::Message {
                topic: Topic::parse(topic).expect("a topic"),
                payload: Escaped::escape(b"x"),
                attributes: attributes.clone(),
            };
            if printer.print(&delivery).expect("room").is_break() {
                break;
            }
        }
        printer.flush().expect("room");
        String::from_utf8_lossy(printer.out.get_ref()).into_owned()
    }

    #[test]
    fn hidden_messages_do_not_count() {
        let topics = vec![Filter::parse("a/#").expect("a filter")];
        let hiding = Hiding {
            topics,
            retained: false,
        };
        let shown = shown(&["a", "b", "a/c", "d", "e"], hiding, Some(2));
        assert_eq!(shown, "b: x\nd: x\n");
    }

    #[test]
    fn retained_messages_can_be_hidden() {
        let hiding = Hiding {
            topics: Vec::new(),
            retained: true,
        };
        assert_eq!(shown(&["a"], hiding, None), "");
    }
}
