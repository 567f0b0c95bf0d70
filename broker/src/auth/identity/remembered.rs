//! Passwords that were right once, so that a client that comes back costs no hash.
//!
//! Remembered is an HMAC-SHA-256 (RFC 2104) under a random key of this process over name, stored hash and
//! password: it is of no use elsewhere, and a user's line that changes makes it worthless.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::name::IdentityName;
use super::password::StoredPassword;
use super::recent::RecentMap;
use super::secret::Secret;
use crate::sync::Mutex;

/// What was right.
pub(super) struct RememberedPasswords {
    key: Zeroizing<[u8; 32]>,
    right: Mutex<RecentMap<Fingerprint, Instant>>,
}

/// Stands for a name with a stored hash and a password.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum of remembered passwords, some ten megabytes.
const MOST_REMEMBERED: usize = 100_000;

impl RememberedPasswords {
    /// Nothing yet, under a new key.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self {
            key,
            right: Mutex::new(RecentMap::new(MOST_REMEMBERED)),
        })
    }

    pub(super) fn fingerprint(
        &self,
        user: &IdentityName,
        stored: &StoredPassword,
        password: &Secret,
    ) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).expect("a key has any length");
        // Neither a name nor a stored hash has a NUL, so no two triples are the same bytes.
        mac.update(user.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(stored.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(password.expose());
        Fingerprint(mac.finalize().into_bytes().into())
    }

    pub(super) fn is_right(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        let right = self.right.lock();
        let since = right.get(fingerprint);
        since.is_some_and(|since| now.saturating_duration_since(*since) < REMEMBERED_FOR)
    }

    pub(super) fn remember(&self, fingerprint: Fingerprint, now: Instant) {
        self.right.lock().insert(fingerprint, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn what_was_right_is_remembered_for_a_day_and_for_the_same_line_alone() {
        let remembered = RememberedPasswords::new().expect("random bytes");
        let fingerprint = |user: &str, hash: &str, secret: &str| {
            let secret = Secret::new(secret.into()).expect("a secret");
            let (user, hash) = (user.parse().expect("a name"), hash.parse().expect("a hash"));
            remembered.fingerprint(&user, &hash, &secret)
        };
        let now = Instant::now();
        let right = fingerprint("ann", HASH, "right");
        assert!(!remembered.is_right(&right, now));
        remembered.remember(right, now);
        assert!(remembered.is_right(&fingerprint("ann", HASH, "right"), now));
        assert!(!remembered.is_right(&right, now + REMEMBERED_FOR));
        let other = HASH.replace("AAAA", "BAAA");
        for (user, hash, secret) in [
            ("ann", HASH, "wrong"),
            ("bob", HASH, "right"),
            ("ann", &*other, "right"),
        ] {
            assert!(!remembered.is_right(&fingerprint(user, hash, secret), now));
        }
        let elsewhere = RememberedPasswords::new().expect("random bytes");
        let (user, hash) = (
            "ann".parse().expect("a name"),
            HASH.parse().expect("a hash"),
        );
        let secret = Secret::new(b"right".to_vec()).expect("a secret");
        assert!(
            elsewhere.fingerprint(&user, &hash, &secret) != right,
            "each process has its key"
        );
    }
}
