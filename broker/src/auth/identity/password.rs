//! Passwords as they are stored: argon2id (RFC 9106) as a string of the PHC form.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::secret::Secret;

/// The hash of a password with its salt and its cost: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword(Box<str>);

/// Memory of one hash in KiB, passes over it, and lanes, as OWASP's cheat sheet on password storage has
/// them. A fuzzer has to try many.
const MEMORY_KIB: u32 = if cfg!(fuzzing) { 8 } else { 19 * 1024 };
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Maximum of what a stored hash may ask for: one that asked for all memory would be a way to stop a broker.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;

const SALT_BYTES: usize = 16;

/// Of the same cost as those that are made here.
#[cfg(not(fuzzing))]
const OF_NO_USER: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZGFsbGFsLW5vLXVzZXI$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
#[cfg(fuzzing)]
const OF_NO_USER: &str =
    "$argon2id$v=19$m=8,t=2,p=1$ZGFsbGFsLW5vLXVzZXI$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password of which there is no usable hash has no other cause than these.
const WANTED: &str =
    "a hash is $argon2id$v=19$m=...,t=...,p=...$SALT$HASH; `broker user passwd` writes one";

impl StoredPassword {
    /// Hashes a password with a new salt, which takes 19 MiB and some 30 ms of processor time.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn of(password: &Secret) -> Result<Self, getrandom::Error> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the cost is in range");
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = hasher.hash_password_with_salt(password.expose(), &salt);
        let hash: PasswordHash = hash.expect("salt and secret have lengths that argon2 takes");
        Ok(Self(hash.to_string().into()))
    }

    /// Stands for the password of a user that is not there, so that the answer takes as long. No password is
    /// known that matches it.
    pub(super) fn of_no_user() -> Self {
        Self(OF_NO_USER.into())
    }

    /// Whether the password is right; takes as long as hashing it.
    pub(super) fn matches(&self, password: &Secret, memory: &mut HashMemory) -> bool {
        let hash = PasswordHash::new(&self.0).expect("it was parsed");
        let params = Params::try_from(&hash).expect("the cost was looked at");
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            unreachable!("both were there when it was parsed");
        };
        let blocks = memory.of(params.block_count());
        let mut computed = [0; Output::MAX_LENGTH];
        let computed = &mut computed[..expected.len()];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.expose(), salt, computed, blocks)
            // In constant time.
            .is_ok_and(|()| Output::new(computed).is_ok_and(|computed| computed == *expected))
    }

    /// The text in a users file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What hashes are computed in, kept from one to the next: to map and unmap it for each takes a tenth of the time of a
/// hash, and interrupts the other processors.
#[derive(Default)]
pub(super) struct HashMemory(Vec<Block>);

impl HashMemory {
    /// What a hash finds there does not matter: it writes each block before it reads it.
    fn of(&mut self, blocks: usize) -> &mut [Block] {
        if self.0.len() < blocks {
            self.0 = vec![Block::new(); blocks];
        }
        &mut self.0[..blocks]
    }

    /// Gives it back to the system.
    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}

impl FromStr for StoredPassword {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hash = PasswordHash::new(text).map_err(|_| WANTED.to_owned())?;
        let is_complete = hash.salt.is_some() && hash.hash.is_some();
        let is_argon2id = hash.algorithm == Algorithm::Argon2id.ident();
        if !is_complete || !is_argon2id || hash.version != Some(Version::V0x13.into()) {
            return Err(WANTED.to_owned());
        }
        let cost = Params::try_from(&hash).map_err(|_| WANTED.to_owned())?;
        let is_bearable = cost.m_cost() <= MOST_MEMORY_KIB
            && cost.t_cost() <= MOST_PASSES
            && cost.p_cost() <= MOST_LANES;
        if !is_bearable {
            return Err(format!(
                "a hash costs at most m={MOST_MEMORY_KIB},t={MOST_PASSES},p={MOST_LANES}"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_password_is_hashed_with_a_salt_of_its_own() {
        let secret = Secret::new(b"right".to_vec()).expect("a secret");
        let stored = StoredPassword::of(&secret).expect("random bytes");
        let text = stored.as_str();
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        assert_ne!(stored, StoredPassword::of(&secret).expect("random bytes"));
        let wrong = Secret::new(b"wrong".to_vec()).expect("a secret");
        // A hash does not depend on what another has left in the memory.
        let mut memory = HashMemory::default();
        for _ in 0..2 {
            assert!(stored.matches(&secret, &mut memory) && !stored.matches(&wrong, &mut memory));
        }
        memory.release();
        assert!(memory.0.is_empty(), "it is the system's again");
        assert!(stored.matches(&secret, &mut memory));
        let of_no_user = StoredPassword::of_no_user();
        assert!(!of_no_user.matches(&secret, &mut memory));
        assert_eq!(of_no_user.as_str().parse().as_ref(), Ok(&of_no_user));
        let cost = |text: &str| text.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(text), cost(OF_NO_USER));
        assert_eq!(text.parse::<StoredPassword>().as_ref(), Ok(&stored));
        assert!(!format!("{stored:?}").contains('$'));
    }

    #[test]
    fn a_hash_of_another_kind_or_of_any_cost_is_refused() {
        assert!(HASH.parse::<StoredPassword>().is_ok());
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("argon2id", "scrypt"),
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("m=19456", "m=262145"),
            ("t=2", "t=17"),
            ("p=1", "p=17"),
            ("m=19456", "m=1"),
            ("$AAAA", "$!"),
            ("$", ""),
        ] {
            let text = HASH.replacen(from, to, 1);
            assert!(text.parse::<StoredPassword>().is_err(), "{text}");
        }
        let (without, _) = HASH.rsplit_once('$').expect("parts");
        assert!(without.parse::<StoredPassword>().is_err());
    }
}
