//! A session in the store: its parts, each of which is kept when it changes, and what a start makes of them.
//!
//! | part | what it says | when it is kept |
//! |---|---|---|
//! | `terms` | when it expires, its will, since when its client is away | before CONNACK, and when the connection ends |
//! | `filter <filter>` | the options of a subscription, and the number in the log from which on it counts | before SUBACK and UNSUBACK |
//! | `progress` | which messages of the log are done | within a tenth of a second after acknowledgements, with hundreds in flight up to two seconds, and when the connection ends |
//! | `released <number>` | its client has received that message at QoS 2 | before PUBREL |
//! | `received` | identifiers of messages received at QoS 2 | before PUBREC and PUBCOMP |
//!
//! The values are JSON, so that they can be read by hand. What was acknowledged right before a crash is sent
//! again at QoS 1, which may deliver twice, and is not at QoS 2.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::expiry::Expiry;
use super::key::SessionKey;
use crate::auth::identity::IdentityName;
use crate::engine::outbox::delivery::logged::LoggedProgress;
use crate::engine::outbox::delivery::subscriptions::SubscriptionOptions;
use crate::engine::stored_sessions::SessionParts;

pub(super) const TERMS: &str = "terms";
pub(super) const PROGRESS: &str = "progress";
pub(super) const RECEIVED: &str = "received";
pub(super) const FILTER: &str = "filter ";
pub(super) const RELEASED: &str = "released ";

/// Between the owner and the client identifier in the key of a record. Neither has one [MQTT-1.5.3-2] (3.1.1)
/// [MQTT-1.5.4-2] (5.0).
const SEPARATOR: u8 = 0;

/// How long it is kept, and its will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTerms {
    pub(crate) expiry: Expiry,
    /// Milliseconds since 1970 when its client left; none if it was there.
    pub(crate) away_since_ms: Option<u64>,
    pub(crate) will: Option<StoredWill>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredWill {
    /// In base64.
    pub(super) line: String,
    pub(crate) qos: u8,
    pub(crate) delay_ms: u64,
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSubscription {
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<NonZeroU32>,
    /// From which number on it gets messages from the log; none if it gets all from their publishers.
    pub(crate) from: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredProgress {
    pub(super) next: u64,
    pub(super) outstanding: BTreeSet<u64>,
}

/// What the store has of a session and its state has not.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptParts {
    /// Milliseconds since 1970 when its client left; none if it is there.
    pub(super) away_since_ms: Option<u64>,
    /// The numbers of which it has a part [`RELEASED`].
    pub(super) released: BTreeSet<u64>,
    pub(super) received: Vec<u16>,
    /// How many times its progress is not kept that it could be.
    pub(super) rests: usize,
}

/// All that a store has of a session.
#[derive(Debug)]
pub(crate) struct StoredSession {
    pub(crate) key: SessionKey,
    pub(crate) terms: StoredTerms,
    pub(crate) subscriptions: Vec<(Box<str>, StoredSubscription)>,
    pub(crate) progress: LoggedProgress,
    pub(crate) received: Vec<u16>,
}

impl StoredWill {
    pub(crate) fn line(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.line).ok()
    }
}

impl StoredSubscription {
    pub(super) fn new(options: SubscriptionOptions, from: Option<u64>) -> Self {
        let SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            identifier,
        } = options;
        Self {
            qos,
            no_local,
            retain_as_published,
            identifier,
            from,
        }
    }

    pub(crate) fn options(&self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            identifier: self.identifier,
        }
    }
}

impl StoredSession {
    /// None if it cannot be read.
    pub(crate) fn read(key: &[u8], parts: &SessionParts) -> Option<Self> {
        let at = key.iter().position(|&byte| byte == SEPARATOR)?;
        let owner = str::from_utf8(&key[..at]).ok()?;
        // As it was written, also a name that no user can have.
        let owner: IdentityName = Box::<str>::from(owner).try_into().ok()?;
        let key = SessionKey {
            owner,
            client_id: str::from_utf8(&key[at + 1..]).ok()?.into(),
        };
        let mut session = Self {
            key,
            terms: serde_json::from_slice(parts.get(TERMS.as_bytes())?).ok()?,
            subscriptions: Vec::new(),
            progress: LoggedProgress::default(),
            received: Vec::new(),
        };
        for (part, value) in parts {
            let part = str::from_utf8(part).ok()?;
            if let Some(filter) = part.strip_prefix(FILTER) {
                let subscription = serde_json::from_slice(value).ok()?;
                session.subscriptions.push((filter.into(), subscription));
            } else if let Some(number) = part.strip_prefix(RELEASED) {
                session.progress.released.insert(number.parse().ok()?);
            } else if part == PROGRESS {
                let progress: StoredProgress = serde_json::from_slice(value).ok()?;
                session.progress.next = progress.next;
                session.progress.outstanding = progress.outstanding;
            } else if part == RECEIVED {
                session.received = serde_json::from_slice(value).ok()?;
            }
        }
        Some(session)
    }
}

impl SessionKey {
    /// As records have it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let owner = self.owner.as_str().as_bytes();
        [owner, &[SEPARATOR], self.client_id.as_bytes()].concat()
    }
}

impl StoredTerms {
    /// How long it is kept still; none for ever.
    pub(crate) fn time_left(&self, now_ms: u64) -> Option<Duration> {
        let away = self
            .away_since_ms
            .map_or(0, |since| now_ms.saturating_sub(since));
        match self.expiry {
            Expiry::AtOnce => Some(Duration::ZERO),
            Expiry::After(time) => Some(time.saturating_sub(Duration::from_millis(away))),
            Expiry::Never => None,
        }
    }
}
