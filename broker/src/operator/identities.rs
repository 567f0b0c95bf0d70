//! Ends what lives under an identity that has ended: users that are gone or disabled, tokens that are gone or over,
//! JWTs that are over or whose keys are gone.
//!
//! Connections are ended within [`LOOK_INTERVAL`]; they can come back at once. Sessions stay a minute longer,
//! because what is in them is lost for ever and a users file that is being written may lack users for a moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use jiff::{SignedDuration, Timestamp};

use super::rights;
use crate::auth::identity::{IdentityKind, IdentityName, Verifier};
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

/// Gives each client the identity that its user has now, and ends the connections of those that have none any more.
/// The rules count for what has changed when this returns.
pub(crate) fn renew(engine: &Engine, listener: &Listener) {
    let (mut ended, mut has_changed) = (Vec::new(), false);
    for record in engine.clients.present() {
        let shown = record.shown_identity();
        let Some(identity) = shown.filter(|identity| identity.is_shown()) else {
            continue;
        };
        match engine.renewed(&identity) {
            Some(renewed) if renewed == *identity => {}
            Some(renewed) => {
                record.renew_identity(&identity, renewed);
                has_changed = true;
            }
            None if record.is_connected() => ended.push(record.id()),
            None => {}
        }
    }
    listener.dismiss(&ended, Dismissal::AuthEnded);
    if has_changed {
        engine.access.note_change();
        rights::enforce(engine, listener);
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
        renew(engine, listener);
        let present = engine.clients.present();
        self.tell_of_ends(&present);
        self.end_sessions(&present, engine, verifier, client);
    }

    /// Tells clients whose tokens end soon, each once.
    fn tell_of_ends(&mut self, present: &[Arc<ClientRecord>]) {
        let now = Timestamp::now();
        let mut ending = HashSet::new();
        for record in present {
            let end = record.shown_identity().and_then(|it| it.expires());
            // One that is over is told so by its end.
            if end.is_some_and(|end| now < end && end - NOTICE <= now) {
                if record.is_connected() && !self.told.contains(&record.id()) {
                    record.outbox().lock().say_auth_ends_soon();
                }
                ending.insert(record.id());
            }
        }
        self.told = ending;
    }

    /// Ends the sessions of users that have been gone for long enough.
    fn end_sessions(
        &mut self,
        present: &[Arc<ClientRecord>],
        engine: &Engine,
        verifier: &Verifier,
        client: &mut Client<'_>,
    ) {
        // The holder of a certificate need be no user.
        let certified = present.iter().filter_map(|record| record.shown_identity());
        let certified = certified.filter(|it| it.kind == IdentityKind::Certificate);
        let certified: HashSet<IdentityName> = certified.map(|it| it.name.clone()).collect();
        let is_gone = |owner: &IdentityName| {
            !owner.is_given() && !verifier.may_come(owner) && !certified.contains(owner)
        };
        let now = Instant::now();
        self.gone.retain(|owner, _| is_gone(owner));
        let mut has_ended = false;
        for record in present {
            let session = record.session();
            let Some(key) = session.key().filter(|key| is_gone(&key.owner)) else {
                continue;
            };
            let since = *self.gone.entry(key.owner.clone()).or_insert(now);
            if now.duration_since(since) >= GONE && engine.sessions.end_detached(session) {
                log::info!("the session {:?} ends: its user is gone", key.to_string());
                client.begin();
                client.end_session(session);
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
