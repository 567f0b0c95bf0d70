//! Ends what lives under an identity that has ended: users that are gone or disabled, tokens that are gone or over,
//! JWTs that are over or whose keys are gone.
//!
//! Connections are ended within [`LOOK_INTERVAL`]; they can come back at once. Sessions stay a minute longer,
//! because what is in them is lost for ever and a users file that is being written may lack users for a moment.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use jiff::{SignedDuration, Timestamp};

use super::rights;
use crate::auth::identity::{IdentityFiles, IdentityKind, IdentityName, JwtKeys, Verifier};
use crate::engine::Engine;
use crate::engine::client::{Client, event_client};
use crate::engine::event_client::clipped;
use crate::engine::security_events::SecurityEvent;
use crate::engine::session::clients::ClientRecord;
use crate::net::listener::Listener;
use crate::net::socket::Dismissal;

/// Interval at which tokens are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time before the end of a token at which its client is told.
const NOTICE: SignedDuration = SignedDuration::from_secs(30);

/// Maximum changes of users and tokens that an event lists.
const MOST_CHANGES: usize = 100;

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
    let mut watch = IdentityWatch {
        seen: in_force(engine),
        ..IdentityWatch::default()
    };
    loop {
        select! {
            recv(changed) -> _ => {}
            recv(stopped) -> _ => return,
            default(LOOK_INTERVAL) => {}
        }
        watch.note_changes(engine);
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
            None if record.is_connected() => {
                let client = || event_client(&record);
                let event = || SecurityEvent::AuthEnded { client: client() };
                engine.security.note(event);
                ended.push(record.id());
            }
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
    /// The users and the keys that were in force.
    seen: IdentityFiles,
}

fn in_force(engine: &Engine) -> IdentityFiles {
    let verifier = engine.verifier.read().clone();
    verifier.map_or_else(IdentityFiles::default, |verifier| verifier.in_force())
}

impl IdentityWatch {
    /// Tells the security log what has changed in the files.
    fn note_changes(&mut self, engine: &Engine) {
        let now = in_force(engine);
        let before = mem::replace(&mut self.seen, now.clone());
        let is_same = match (&before.users, &now.users) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !is_same {
            let before_users = before.users.unwrap_or_default();
            let mut changes = before_users.changes(&now.users.unwrap_or_default());
            let total = changes.len();
            changes.truncate(MOST_CHANGES);
            if total > 0 {
                engine
                    .security
                    .note(|| SecurityEvent::UsersChanged { changes, total });
            }
        }
        if before.jwt_keys != now.jwt_keys {
            let text = |keys: Option<Arc<JwtKeys>>| match keys {
                None => "none".to_owned(),
                Some(keys) => clipped(&keys.to_string()),
            };
            engine.security.note(|| SecurityEvent::KeysChanged {
                from: text(before.jwt_keys),
                to: text(now.jwt_keys),
            });
        }
    }

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
