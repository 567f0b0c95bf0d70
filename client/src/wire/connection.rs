//! A connection of either protocol, and its publisher. Topics and filters to send are spelled as on
//! a line for both.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use client::mqtt::{self, Qos, Session};
use client::{Attributes, Client, Error, Following, Publisher, Receipt, decode_spaces};

use crate::exit::Stop;
use crate::output::{Arrived, Printer};

/// A connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Line(Box<Client>),
    /// With the QoS for publishing and subscribing.
    Mqtt(Box<Session>, Qos),
}

/// Publishes over a connection.
#[derive(Debug)]
pub(crate) enum Sender<'w> {
    Line(Publisher<'w>),
    Mqtt(&'w mut Session, Qos),
}

impl Wire {
    pub(crate) fn sender(&mut self) -> Sender<'_> {
        match self {
            Self::Line(client) => Sender::Line(client.publisher()),
            Self::Mqtt(session, qos) => Sender::Mqtt(session, *qos),
        }
    }

    /// `attributes` apply to the line protocol only.
    pub(crate) fn subscribe<F: AsRef<str>>(
        &mut self,
        filters: &[F],
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Line(client) => client.subscribe_with(filters, attributes),
            Self::Mqtt(session, qos) => {
                let filters = filters
                    .iter()
                    .map(|filter| decode_spaces(filter.as_ref()))
                    .collect::<Vec<_>>();
                session.subscribe_all(&filters, *qos)
            }
        }
    }

    /// Subscribes so that a later connection goes on where this one ends. Only in the line protocol.
    pub(crate) fn follow(&mut self, following: &mut Following) -> Result<(), Error> {
        match self {
            Self::Line(client) => following.subscribe(client),
            Self::Mqtt(..) => Ok(()),
        }
    }

    /// See [`Following::go_on`].
    pub(crate) fn go_on(&mut self, following: &mut Following) -> Result<bool, Error> {
        match self {
            Self::Line(client) => following.go_on(client),
            Self::Mqtt(..) => Ok(false),
        }
    }

    /// Prints what has arrived, of a follower what is news; returns how many deliveries there were.
    pub(crate) fn print_ready(
        &mut self,
        printer: &mut Printer<'_, File>,
        following: Option<&mut Following>,
    ) -> Result<usize, Stop> {
        let mut printed = Ok(());
        let mut note = |flow: io::Result<ControlFlow<()>>| {
            flow.unwrap_or_else(|error| {
                printed = Err(error);
                ControlFlow::Break(())
            })
        };
        let taken = match self {
            Self::Line(client) => match following {
                Some(following) => client.take_ready(|delivery| match following.take(&delivery) {
                    true => note(printer.print(&delivery)),
                    false => ControlFlow::Continue(()),
                }),
                None => client.take_ready(|delivery| note(printer.print(&delivery))),
            },
            Self::Mqtt(session, _) => session.take_ready(|delivery| {
                note(match delivery {
                    mqtt::Delivery::Gap { count } => printer.print_gap(count),
                    mqtt::Delivery::Message {
                        topic,
                        payload,
                        attributes,
                    } => printer.print_message(&Arrived {
                        topic,
                        name: topic.into(),
                        payload,
                        attributes,
                    }),
                })
            }),
        };
        printed?;
        match taken {
            // All wanted messages were printed, so an error after them does not matter.
            Err(_) if printer.is_done() => Ok(0),
            taken => Ok(taken?),
        }
    }

    /// Waits until there may be something to print, or `time` is over.
    pub(crate) fn wait(&mut self, time: Option<Duration>) -> Result<(), Error> {
        match self {
            Self::Line(client) => client.wait(time).map(drop),
            Self::Mqtt(session, _) => session.wait(time),
        }
    }

    pub(crate) fn ping(&mut self) -> Result<Duration, Error> {
        match self {
            Self::Line(client) => client.ping(),
            Self::Mqtt(session, _) => session.ping(),
        }
    }

    pub(crate) fn rest(&mut self, time: Duration) -> Result<(), Error> {
        match self {
            Self::Line(client) => client.rest(time),
            Self::Mqtt(session, _) => session.rest(time),
        }
    }

    /// Disconnects from an MQTT broker, which otherwise publishes the will.
    pub(crate) fn close(self) {
        match self {
            Self::Line(_) => {}
            Self::Mqtt(session, _) => session.close(),
        }
    }
}

impl Sender<'_> {
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Line(publisher) => publisher.publish_with(topic, payload, attributes),
            Self::Mqtt(session, qos) => {
                session.publish(&decode_spaces(topic), payload, attributes, *qos)
            }
        }
    }

    pub(crate) fn rest(&mut self, time: Duration) -> Result<(), Error> {
        match self {
            Self::Line(publisher) => publisher.rest(time),
            Self::Mqtt(session, _) => session.rest(time),
        }
    }

    pub(crate) fn wait_for_input(&mut self, input: impl AsFd) -> Result<(), Error> {
        match self {
            Self::Line(publisher) => publisher.wait_for_input(input),
            Self::Mqtt(session, _) => session.wait_for_input(input),
        }
    }

    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        match self {
            Self::Line(publisher) => publisher.settle(),
            Self::Mqtt(session, _) => session.settle(),
        }
    }

    /// How many messages, counted from the first, have a receipt.
    pub(crate) fn answered(&self) -> u64 {
        match self {
            Self::Line(publisher) => publisher.answered(),
            Self::Mqtt(session, _) => session.answered(),
        }
    }

    /// What is known so far.
    pub(crate) fn receipt(self) -> Receipt {
        match self {
            Self::Line(publisher) => publisher.receipt(),
            Self::Mqtt(session, _) => session.take_receipt(),
        }
    }
}
