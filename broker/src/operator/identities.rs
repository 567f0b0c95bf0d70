//! Ends what lives under an identity that has ended: users that are gone or disabled, tokens that are gone or over.
//!
//! Connections are ended within [`LOOK_INTERVAL`]; they can come back at once. Sessions stay a minute longer,
//! because what is in them is lost for ever and a users file that is being written may lack users for a moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use jiff::{SignedDuration, Timestamp};

use crate::auth::identity::{ClientIdentity, IdentityName, Verifier};
use crate::engine::Engine;
use crate::engine::client::Client;
use crate::engine::session::clients::ClientRecord;
use crate::net::listener::Listener;
use crate::net::socket::Dismissal;

/// Interval at which tokens are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time before the end of a token at which its client is told.
const NOTICE: SignedDuration = SignedDuration::from_secs(30);

/// Time after which the sessions of a user that is gone end.
const GONE: Duration = Duration::from_secs(60);

/// Looks after the identities of all clients until `stopped` is closed. `changed` tells of other users.
pub(crate) fn watch_loop(
    engine: &Engine,
    listener: &Listener,
    changed: &Receiver<()>,
    stopped: &Receiver<()>,
) {
    let mut client = Client::internal(engine);
    let mut watch = IdentityWatch::default();
    loop {
        select! {
            recv(changed) -> _ => {}
            recv(stopped) -> _ => return,
            default(LOOK_INTERVAL) => {}
        }
        let verifier = engine.verifier.read().clone();
        if let Some(verifier) = verifier {
            watch.look(engine, listener, &verifier, &mut client);
        }
    }
}

/// What was seen at the last look.
#[derive(Default)]
struct IdentityWatch {
    /// Connections that have been told that their tokens end soon.
    told: HashSet<u64>,
    /// Owners of sessions that are no users, since when.
    gone: HashMap<IdentityName, Instant>,
}

impl IdentityWatch {
    fn look(
        &mut self,
        engine: &Engine,
        listener: &Listener,
        verifier: &Verifier,
        client: &mut Client<'_>,
    ) {
        let present = engine.clients.present();
        let connected = present.iter().filter(|record| record.is_connected());
        let mut ended = Vec::new();
        for record in connected {
            let identity = record.identity();
            if !identity.is_shown() {
                continue;
            }
            match verifier.renewed(&identity) {
                None => {
                    // What the client wanted to be said, it may say no more.
                    if !verifier.has_enabled_user(&identity.name) {
                        record.session().set_will(None);
                    }
                    ended.push(record.id());
                }
                Some(renewed) => self.renew(record, &identity, renewed),
            }
        }
        self.told.retain(|id| {
            let is_there = |record: &Arc<ClientRecord>| record.id() == *id;
            present.iter().any(is_there)
        });
        listener.dismiss(&ended, Dismissal::AuthEnded);
        self.end_sessions(engine, verifier, client);
    }

    fn renew(
        &mut self,
        record: &ClientRecord,
        identity: &Arc<ClientIdentity>,
        renewed: ClientIdentity,
    ) {
        match renewed.expires() {
            Some(end) if end - NOTICE <= Timestamp::now() => {
                if self.told.insert(record.id()) {
                    record.outbox().lock().say_auth_ends_soon();
                }
            }
            _ => {
                self.told.remove(&record.id());
            }
        }
        if renewed != **identity {
            record.renew_identity(identity, renewed);
        }
    }

    /// Ends the sessions of users that have been gone for long enough.
    fn end_sessions(&mut self, engine: &Engine, verifier: &Verifier, client: &mut Client<'_>) {
        let is_gone = |owner: &IdentityName| !owner.is_given() && !verifier.has_user(owner);
        let orphans = engine.sessions.find(|key| is_gone(&key.owner));
        let now = Instant::now();
        self.gone.retain(|owner, _| is_gone(owner));
        let mut has_ended = false;
        for session in orphans {
            let Some(key) = session.key() else {
                continue;
            };
            let since = *self.gone.entry(key.owner.clone()).or_insert(now);
            if now.duration_since(since) >= GONE && engine.sessions.end_detached(&session) {
                log::info!("the session {:?} ends: its user is gone", key.to_string());
                session.set_will(None);
                client.begin();
                client.end_session(&session);
                client.settle();
                has_ended = true;
            }
        }
        if has_ended {
            // Cached routes would keep the outboxes of clients that have disconnected.
            client.pause();
        }
    }
}
