//! The broker of a command, and the protocol to speak.

use std::time::{Duration, Instant};

use client::mqtt::{self, Qos, Session, Settings};
use client::{Attributes, Client, Credential, Error, Interrupt, Options, Tls};

use super::connection::Wire;
use crate::address::Server;
use crate::hint;
use crate::reconnect;

/// A broker, and the protocol to speak.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) server: Server,
    pub(super) tls: Option<Tls>,
    pub(super) credential: Option<Credential>,
    /// The options of this command that another one needs for the same server and the same user.
    pub(super) typed: Vec<String>,
    pub(super) waits_for_broker: bool,
    pub(super) wait: Duration,
    pub(super) mqtt: Option<Settings>,
    pub(super) qos: Qos,
}

impl Target {
    /// Connects. `interrupt` ends every wait.
    pub(crate) fn connect(&self, interrupt: &Interrupt) -> Result<Wire, Error> {
        let options = Options {
            credential: self.credential.clone(),
            ..self.server.options(self.wait, interrupt, self.tls.as_ref())
        };
        let place = self.server.place();
        Ok(match &self.mqtt {
            None => Wire::Line(Client::connect_with(place, &options)?.into()),
            Some(settings) => {
                let session = Session::connect(place, settings, &options)?;
                Wire::Mqtt(session.into(), self.qos)
            }
        })
    }

    /// Calls `connect` for the first connection, again and again if the user wants to wait for the
    /// broker; `None` if the deadline passes first.
    pub(crate) fn first<T>(
        &self,
        interrupt: &Interrupt,
        deadline: Option<Instant>,
        connect: impl FnMut() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        reconnect::first(self.waits_for_broker, interrupt, deadline, connect)
    }

    /// The target for reconnecting: a session that was started clean is resumed.
    pub(crate) fn again(&self) -> Self {
        let mut again = self.clone();
        if let Some(settings) = &mut again.mqtt {
            settings.clean = false;
        }
        again
    }

    /// Another command for the same server and the same user, to be suggested. Both are named as far as
    /// the options of this command name them, without a password.
    pub(crate) fn hint(&self, command: &str, words: &[&str]) -> String {
        let mut options = self.typed.clone();
        if let Some(settings) = &self.mqtt {
            let version = match settings.version {
                mqtt::Version::V3 => "3.1.1",
                mqtt::Version::V5 => "5",
            };
            options.extend(["--mqtt".to_owned(), version.to_owned()]);
            // It may be named in the URL, which is shown without a login.
            let user = settings.user.iter().filter(|user| !user.is_empty());
            if !options.iter().any(|word| word == "--user") {
                options.extend(user.flat_map(|user| ["--user".to_owned(), user.clone()]));
            }
        }
        hint::client(command, &options, words)
    }

    pub(crate) fn is_mqtt(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Whether the broker acknowledges what is published.
    pub(crate) fn is_acknowledged(&self) -> bool {
        !self.is_mqtt() || self.qos != Qos::AtMostOnce
    }

    /// Checks that a message with these attributes can be published; the error says why not.
    pub(crate) fn check(&self, attributes: &Attributes<'_>) -> Result<(), String> {
        let settings = self.mqtt.as_ref();
        settings.map_or(Ok(()), |settings| {
            mqtt::check_attributes(settings.version, attributes)
        })
    }
}
