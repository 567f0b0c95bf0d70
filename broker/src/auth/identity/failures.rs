//! Guessing made slow: failures are counted for an address and for a user at an address, never for a user
//! alone, so that others cannot lock a user out.

use std::time::{Duration, Instant};

use super::name::IdentityName;
use super::recent::RecentMap;
use crate::auth::address::AddressBlock;
use crate::auth::rate::{Rate, TokenBucket};

/// What is known of addresses, and of users at them.
pub(super) struct FailureCounts {
    blocks: RecentMap<AddressBlock, FailureCount>,
    users: RecentMap<(AddressBlock, IdentityName), UserAtAddress>,
    /// The failures of addresses, where these are limited.
    attempts: RecentMap<AddressBlock, TokenBucket>,
}

#[derive(Clone, Copy)]
struct FailureCount {
    count: u32,
    last: Instant,
}

#[derive(Clone, Copy)]
struct UserAtAddress {
    failures: Option<FailureCount>,
    /// The credential was right from here, since others may fail from the same address.
    was_right: Option<Instant>,
}

/// The number of failures from which on answers wait.
const FREE: u32 = 3;
/// A fuzzer has no time to wait.
const MOST_DELAY: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 30 });
/// Quiet after which failures are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Time in which a user that was right does not wait for the failures of others at its address.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum entries of each table, some megabytes together.
const MOST_ENTRIES: usize = 20_000;

impl FailureCounts {
    pub(super) fn new() -> Self {
        Self {
            blocks: RecentMap::new(MOST_ENTRIES),
            users: RecentMap::new(MOST_ENTRIES),
            attempts: RecentMap::new(MOST_ENTRIES),
        }
    }

    /// How long the next answer waits: the longer of what the user at this address and the address have
    /// earned. A user that was right from there waits for its own failures only, or one misconfigured device
    /// would slow all others behind the same router or proxy.
    pub(super) fn delay(
        &self,
        block: AddressBlock,
        user: Option<&IdentityName>,
        now: Instant,
    ) -> Duration {
        let known = user.and_then(|user| self.users.get(&(block, user.clone())));
        let own = known.and_then(|known| known.failures);
        let is_known = known.is_some_and(|known| known.was_right_lately(now));
        let of_block = self.blocks.get(&block).copied().filter(|_| !is_known);
        let delay =
            |failures: Option<FailureCount>| failures.map_or(Duration::ZERO, |it| it.delay(now));
        delay(own).max(delay(of_block))
    }

    /// Whether the address has failed as often as it may. A user that was right from there is asked all the same.
    pub(super) fn is_exhausted(
        &self,
        block: AddressBlock,
        user: Option<&IdentityName>,
        rate: Rate,
        now: Instant,
    ) -> bool {
        let known = user.and_then(|user| self.users.get(&(block, user.clone())));
        let is_known = known.is_some_and(|known| known.was_right_lately(now));
        let bucket = self.attempts.get(&block);
        !is_known && bucket.is_some_and(|bucket| !bucket.has_one(rate, now))
    }

    /// Counts a failure where these are limited.
    pub(super) fn note_attempt(&mut self, block: AddressBlock, rate: Rate, now: Instant) {
        let mut bucket = self.attempts.get(&block).copied().unwrap_or_default();
        bucket.take(1, rate, now);
        self.attempts.insert(block, bucket);
    }

    pub(super) fn failed(
        &mut self,
        block: AddressBlock,
        user: Option<&IdentityName>,
        now: Instant,
    ) {
        let of_block = FailureCount::after(self.blocks.get(&block).copied(), now);
        self.blocks.insert(block, of_block);
        if let Some(user) = user {
            let key = (block, user.clone());
            let known = self.users.get(&key).copied();
            let failures = FailureCount::after(known.and_then(|known| known.failures), now);
            let was_right = known.and_then(|known| known.was_right);
            self.users.insert(
                key,
                UserAtAddress {
                    failures: Some(failures),
                    was_right,
                },
            );
        }
    }

    /// The failures of the address stay: a guesser may have an account of its own.
    pub(super) fn succeeded(&mut self, block: AddressBlock, user: &IdentityName, now: Instant) {
        let right = UserAtAddress {
            failures: None,
            was_right: Some(now),
        };
        self.users.insert((block, user.clone()), right);
    }
}

impl UserAtAddress {
    fn was_right_lately(&self, now: Instant) -> bool {
        let since = self.was_right.map(|at| now.saturating_duration_since(at));
        since.is_some_and(|time| time < KNOWN_FOR)
    }
}

impl FailureCount {
    fn after(before: Option<Self>, now: Instant) -> Self {
        let before = before.filter(|it| now.saturating_duration_since(it.last) < FORGET_AFTER);
        let count = before.map_or(0, |it| it.count).saturating_add(1);
        Self { count, last: now }
    }

    /// 1, 2, 4 ... 30 seconds.
    fn delay(self, now: Instant) -> Duration {
        if self.count < FREE || now.saturating_duration_since(self.last) >= FORGET_AFTER {
            return Duration::ZERO;
        }
        let seconds = 1_u64.checked_shl(self.count - FREE).unwrap_or(u64::MAX);
        Duration::from_secs(seconds).min(MOST_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn block(number: u32) -> AddressBlock {
        AddressBlock::of(IpAddr::V4(number.into()))
    }

    fn name(text: &str) -> IdentityName {
        text.parse().expect("a name")
    }

    #[test]
    fn answers_wait_longer_after_each_failure_up_to_a_limit_until_it_is_quiet() {
        let mut counts = FailureCounts::new();
        let now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..80 {
            delays.push(counts.delay(block(1), Some(&name("ann")), now).as_secs());
            counts.failed(block(1), Some(&name("ann")), now);
        }
        assert_eq!(delays[..10], [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(delays[79], 30);
        let delay = |block, user: Option<&str>, now| {
            counts.delay(block, user.map(name).as_ref(), now).as_secs()
        };
        assert_eq!(
            delay(block(1), Some("bob"), now),
            30,
            "it is the same address"
        );
        assert_eq!(delay(block(1), None, now), 30);
        assert_eq!(
            delay(block(2), Some("ann"), now),
            0,
            "a user cannot be locked out from elsewhere"
        );
        assert_eq!(delay(block(1), Some("ann"), now + FORGET_AFTER), 0);
    }

    #[test]
    fn a_user_that_was_right_waits_for_its_own_failures_only() {
        let mut counts = FailureCounts::new();
        let (ann, bob, now) = (name("ann"), name("bob"), Instant::now());
        counts.succeeded(block(1), &ann, now);
        for _ in 0..5 {
            counts.failed(block(1), Some(&bob), now);
        }
        assert_eq!(counts.delay(block(1), Some(&ann), now), Duration::ZERO);
        assert_eq!(
            counts.delay(block(1), Some(&ann), now + KNOWN_FOR),
            Duration::ZERO
        );
        assert_eq!(
            counts.delay(block(1), Some(&name("carl")), now).as_secs(),
            4
        );
        counts.succeeded(block(1), &bob, now);
        assert_eq!(counts.delay(block(1), Some(&bob), now), Duration::ZERO);
        assert_eq!(
            counts.delay(block(1), None, now).as_secs(),
            4,
            "a guesser may have an account"
        );
        for _ in 0..4 {
            counts.failed(block(1), Some(&ann), now);
        }
        assert_eq!(counts.delay(block(1), Some(&ann), now).as_secs(), 2);
    }

    #[test]
    fn an_address_fails_as_often_as_it_may_and_a_user_that_was_right_from_there_is_asked_still() {
        let mut counts = FailureCounts::new();
        let (ann, now, rate) = (name("ann"), Instant::now(), Rate::in_a_minute(2));
        counts.succeeded(block(1), &ann, now);
        for _ in 0..2 {
            assert!(!counts.is_exhausted(block(1), Some(&name("eve")), rate, now));
            counts.note_attempt(block(1), rate, now);
        }
        assert!(counts.is_exhausted(block(1), Some(&name("eve")), rate, now));
        assert!(counts.is_exhausted(block(1), None, rate, now));
        assert!(!counts.is_exhausted(block(1), Some(&ann), rate, now));
        assert!(!counts.is_exhausted(block(2), None, rate, now));
        let later = now + Duration::from_secs(30);
        assert!(!counts.is_exhausted(block(1), None, rate, later));
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut counts = FailureCounts::new();
        let now = Instant::now();
        for number in 0..3 * u32::try_from(MOST_ENTRIES).expect("small") {
            counts.failed(block(number), Some(&name("ann")), now);
            counts.note_attempt(block(number), Rate::in_a_minute(2), now);
        }
        assert!(counts.blocks.len() <= MOST_ENTRIES && counts.users.len() <= MOST_ENTRIES);
        assert!(counts.attempts.len() <= MOST_ENTRIES);
    }

    #[test]
    fn what_is_older_than_its_time_counts_no_more() {
        let mut counts = FailureCounts::new();
        let (ann, bob, now) = (name("ann"), name("bob"), Instant::now());
        counts.succeeded(block(1), &ann, now);
        for _ in 0..5 {
            counts.failed(block(2), None, now);
            counts.failed(block(1), Some(&bob), now + KNOWN_FOR);
        }
        // After a quiet time it is the first failure again.
        counts.failed(block(2), None, now + FORGET_AFTER);
        assert_eq!(
            counts.delay(block(2), None, now + FORGET_AFTER).as_secs(),
            0
        );
        let before = now + KNOWN_FOR - Duration::from_nanos(1);
        let seconds = [before, now + KNOWN_FOR].map(|now| {
            let delay = counts.delay(block(1), Some(&ann), now);
            delay.as_secs()
        });
        assert_eq!(seconds, [0, 4]);
    }
}
