//! The broker of a command, and the protocol to speak.

use std::time::Duration;

use client::mqtt::{self, Qos, Session, Settings};
use client::{Attributes, Client, Error, Interrupt};

use super::connection::Wire;
use crate::server::Server;

/// A broker, and the protocol to speak.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) server: Server,
    pub(super) wait: Duration,
    pub(super) mqtt: Option<Settings>,
    pub(super) qos: Qos,
}

impl Target {
    /// Connects. `interrupt` ends every wait.
    pub(crate) fn connect(&self, interrupt: &Interrupt) -> Result<Wire, Error> {
        let options = self.server.options(self.wait, interrupt);
        let place = self.server.place();
        Ok(match &self.mqtt {
            None => Wire::Line(Client::connect_with(place, &options)?.into()),
            Some(settings) => {
                let session = Session::connect(place, settings, &options)?;
                Wire::Mqtt(session.into(), self.qos)
            }
        })
    }

    /// The target for reconnecting: a session that was started clean is resumed.
    pub(crate) fn again(&self) -> Self {
        let mut again = self.clone();
        if let Some(settings) = &mut again.mqtt {
            settings.clean = false;
        }
        again
    }

    pub(crate) fn is_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Checks that a message with these attributes can be published; the error says why not.
    pub(crate) fn check(&self, attributes: &Attributes<'_>) -> Result<(), String> {
        let settings = self.mqtt.as_ref();
        settings.map_or(Ok(()), |settings| {
            mqtt::check_attributes(settings.version, attributes)
        })
    }
}
