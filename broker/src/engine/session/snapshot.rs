//! The part of a session that outlasts its connections, without queued messages: as a value, and as
//! bytes.
//!
//! The bytes are JSON, so that a file of them can be read and repaired by hand. Times are relative to
//! the moment of the snapshot, because the monotonic clock means nothing after a restart. This file
//! neither reads nor writes storage.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::Filter;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::SessionKey;
use super::{Expiry, Session, Will, WillOwner};
use crate::auth::identity::ClientIdentity;
use crate::engine::limits::CachedLimits;
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::delivery::DeliveryState;
use crate::engine::outbox::delivery::in_flight::{InFlight, Stage};
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::outbox::delivery::waiting::{Extras, Queued};
use crate::engine::outbox::delivery::writer::Unattached;
use crate::engine::outbox::encoder::Encoder;

/// A session without its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionSnapshot {
    key: SessionKey,
    expiry: Expiry,
    will: Option<WillSnapshot>,
    subscriptions: Vec<SubscriptionSnapshot>,
    in_flight: Vec<InFlightSnapshot>,
    /// Identifiers of messages received at QoS 2 and not released.
    received: BTreeSet<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WillSnapshot {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    line: Bytes,
    qos: u8,
    delay_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SubscriptionSnapshot {
    filter: Box<str>,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<NonZeroU32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct InFlightSnapshot {
    id: u16,
    stage: Stage,
    /// Empty once it is released.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    line: Bytes,
    waited_ms: u64,
    qos: u8,
    retain: bool,
    identifiers: Option<Vec<u32>>,
    ttl_s: Option<u64>,
    gap: u64,
    share: Option<Box<str>>,
}

impl SessionSnapshot {
    /// The snapshot of a session with a client identifier.
    pub(crate) fn of(session: &Session, now: Instant) -> Option<Self> {
        let subscriptions = session.subscriptions().all();
        let mut guard = session.outbox().lock();
        let in_flight = guard.delivery().map_or_else(Vec::new, |delivery| {
            let in_flight = delivery.in_flight();
            in_flight
                .map(|each| InFlightSnapshot::of(each, now))
                .collect()
        });
        drop(guard);
        let terms = session.terms.lock();
        Some(Self {
            key: (**session.key()?).clone(),
            expiry: terms.expiry,
            will: terms.will.as_ref().map(|will| WillSnapshot {
                line: Bytes::copy_from_slice(&will.line),
                qos: will.qos,
                delay_ms: will.delay.as_millis() as u64,
            }),
            subscriptions: subscriptions
                .into_iter()
                .map(|(filter, options)| SubscriptionSnapshot {
                    filter,
                    qos: options.qos,
                    no_local: options.no_local,
                    retain_as_published: options.retain_as_published,
                    identifier: options.identifier,
                })
                .collect(),
            in_flight,
            received: terms.received.iter().collect(),
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("all map keys are strings")
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Restores the state into a new session without a connection. The caller adds its subscriptions to
    /// the router.
    pub(crate) fn restore(
        &self,
        session: &Session,
        limits: CachedLimits,
        memory: &Arc<Memory>,
        now: Instant,
    ) {
        let _ = session.key.set(Arc::new(self.key.clone()));
        for each in &self.subscriptions {
            if let Ok(filter) = Filter::parse(each.filter.as_bytes()) {
                let options = SubscriptionOptions {
                    qos: each.qos,
                    no_local: each.no_local,
                    retain_as_published: each.retain_as_published,
                    identifier: each.identifier,
                };
                session.subscriptions().insert(filter, options);
            }
        }
        let mut delivery = DeliveryState::new(
            session.id(),
            limits,
            session.subscriptions().clone(),
            Box::new(Unattached),
            memory.charge(0),
        );
        let in_flight = self.in_flight.iter();
        delivery.restore(in_flight.map(|each| each.restored(now)).collect());
        drop(session.outbox().begin_session(&Encoder::NONE, delivery));
        session.outbox().detach();
        session.set_expiry(self.expiry);
        session.set_will(self.will.as_ref().map(|will| Will {
            line: will.line.to_vec(),
            qos: will.qos,
            owner: WillOwner {
                identity: Arc::new(ClientIdentity::restored(self.key.owner.clone())),
                client_id: Some(self.key.client_id.clone()),
            },
            delay: Duration::from_millis(will.delay_ms),
            due: None,
            _charge: memory.charge(will.line.len()),
        }));
        session.set_received(self.received.iter().copied().collect());
    }
}

impl InFlightSnapshot {
    fn of(each: &InFlight, now: Instant) -> Self {
        let message = &each.message;
        let extras = message.extras.as_deref().cloned().unwrap_or_default();
        Self {
            id: each.id,
            stage: each.stage,
            line: message.line.clone(),
            waited_ms: now.duration_since(message.came).as_millis() as u64,
            qos: message.qos,
            retain: message.retain,
            identifiers: extras.identifiers.map(|each| each.to_vec()),
            ttl_s: extras.ttl.map(|ttl| ttl.as_secs()),
            gap: extras.gap,
            share: extras.share.map(|filter| (*filter).into()),
        }
    }

    fn restored(&self, now: Instant) -> InFlight {
        let extras = Extras {
            identifiers: self.identifiers.as_deref().map(Into::into),
            ttl: self.ttl_s.map(Duration::from_secs),
            gap: self.gap,
            share: self.share.as_deref().map(Into::into),
        };
        let waited = Duration::from_millis(self.waited_ms);
        InFlight {
            id: self.id,
            stage: self.stage,
            message: Queued {
                line: self.line.clone(),
                // The monotonic clock of a machine that has just started may not reach back that far.
                came: now.checked_sub(waited).unwrap_or(now),
                qos: self.qos,
                retain: self.retain,
                extras: extras.is_any().then(|| Box::new(extras)),
            },
        }
    }
}

fn to_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD
        .decode(text)
        .map(Into::into)
        .map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::auth::identity::IdentityName;
    use crate::engine::limits::{Limits, SharedLimits};
    use crate::engine::outbox::Outbox;

    fn stages() -> impl Strategy<Value = Stage> {
        prop_oneof![
            Just(Stage::AtLeastOnce),
            Just(Stage::ExactlyOnce),
            Just(Stage::Released)
        ]
    }

    prop_compose! {
        fn in_flight_messages()(
            id in 1..=u16::MAX,
            stage in stages(),
            payload in vec(any::<u8>(), 0..20),
            waited_ms in 0..100_000u64,
            retain: bool,
            identifiers in option::of(btree_set(1..1000u32, 1..4)),
            ttl_s in option::of(0..1000u64),
            gap in 0..3u64,
            share in option::of("[a-z]{1,3}"),
        ) -> InFlightSnapshot {
            let line = [b"MESSAGE a ", &payload[..], b"\n"].concat();
            InFlightSnapshot {
                id,
                stage,
                line: if stage == Stage::Released { Bytes::new() } else { line.into() },
                waited_ms,
                qos: if stage == Stage::AtLeastOnce { 1 } else { 2 },
                retain,
                identifiers: identifiers.map(|each| each.into_iter().collect()),
                ttl_s,
                gap,
                share: share.map(|name| format!("$share/{name}/#").into()),
            }
        }
    }

    prop_compose! {
        fn snapshots()(
            client_id in "\\PC{1,20}",
            expiry in prop_oneof![
                Just(Expiry::AtOnce),
                Just(Expiry::Never),
                (1..u32::MAX).prop_map(|seconds| Expiry::After(Duration::from_secs(seconds.into()))),
            ],
            will in option::of((vec(any::<u8>(), 0..30), 0..3u8, 0..1_000_000u64)),
            subscriptions in btree_map(
                "(\\$share/g/)?[a-z]{1,3}(/[a-z]{1,3}|/\\+){0,2}(/#)?",
                (0..3u8, any::<bool>(), any::<bool>(), 0..5u32),
                0..6,
            ),
            in_flight in btree_map(1..=u16::MAX, in_flight_messages(), 0..5),
            received in btree_set(1..=u16::MAX, 0..5),
        ) -> SessionSnapshot {
            SessionSnapshot {
                key: SessionKey {
                    owner: IdentityName::try_from(Box::from("unix:ann")).expect("a name"),
                    client_id: client_id.into(),
                },
                expiry,
                will: will.map(|(line, qos, delay_ms)| WillSnapshot {
                    line: line.into(),
                    qos,
                    delay_ms,
                }),
                subscriptions: subscriptions
                    .into_iter()
                    .map(|(filter, (qos, no_local, retain_as_published, identifier))| {
                        SubscriptionSnapshot {
                            filter: filter.into(),
                            qos,
                            no_local,
                            retain_as_published,
                            identifier: NonZeroU32::new(identifier),
                        }
                    })
                    .collect(),
                in_flight: in_flight
                    .into_iter()
                    .map(|(id, each)| InFlightSnapshot { id, ..each })
                    .collect(),
                received,
            }
        }
    }

    proptest! {
        #[test]
        fn a_session_written_to_bytes_and_read_back_is_the_same(snapshot in snapshots()) {
            let memory = Arc::new(Memory::new(usize::MAX));
            let session = Session::new(Arc::new(Outbox::unconnected(memory.clone())));
            let now = Instant::now() + Duration::from_secs(1000);
            let read = SessionSnapshot::from_bytes(&snapshot.to_bytes()).expect("it was just written");
            prop_assert_eq!(&read, &snapshot);
            let limits = CachedLimits::new(&Arc::new(SharedLimits::new(Limits::default())));
            read.restore(&session, limits, &memory, now);
            prop_assert_eq!(SessionSnapshot::of(&session, now), Some(snapshot));
        }

        #[test]
        fn bytes_that_are_no_session_are_an_error(bytes in vec(any::<u8>(), 0..100)) {
            prop_assert!(SessionSnapshot::from_bytes(&bytes).is_err());
        }
    }
}
