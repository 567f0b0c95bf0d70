//! Which failed handshakes are logged: of one address, one in ten seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::auth::address::AddressBlock;
use crate::clock::log_limit::{LogLimit, Suppressed};

/// Maximum addresses that are told apart.
const MOST_ADDRESSES: usize = 1024;

/// After this time without a failure an address is forgotten.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The limits of log lines.
#[derive(Default)]
pub(super) struct FailureLog {
    /// Locked alone.
    by_address: Mutex<HashMap<AddressBlock, (Instant, LogLimit), RandomState>>,
    /// For all addresses beyond.
    others: LogLimit,
}

impl FailureLog {
    /// Whether to log a failure of this address; if so, returns what was suppressed before.
    pub(super) fn say(&self, address: AddressBlock, now: Instant) -> Option<Suppressed> {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= MOST_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, (last, _)| now.duration_since(*last) < REMEMBERED);
            if by_address.len() >= MOST_ADDRESSES {
                return self.others.say(now);
            }
        }
        let (last, limit) = by_address
            .entry(address)
            .or_insert_with(|| (now, LogLimit::default()));
        *last = now;
        limit.say(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> AddressBlock {
        AddressBlock::of(Ipv4Addr::from(number).into())
    }

    #[test]
    fn an_address_is_logged_once_in_ten_seconds_and_addresses_in_large_numbers_as_one() {
        let (log, now) = (FailureLog::default(), Instant::now());
        assert!(log.say(address(0), now).is_some());
        assert!(log.say(address(0), now).is_none());
        assert!(log.say(address(1), now).is_some());
        let later = now + Duration::from_secs(11);
        let before = log.say(address(0), later).expect("ten seconds are over");
        assert!(before.to_string().contains("1 more"), "{before}");
        let logged = |from: u32, now| {
            let all = (from..from + 2000).filter(|number| log.say(address(*number), now).is_some());
            all.count()
        };
        assert!(logged(10, later) <= MOST_ADDRESSES + 1);
        assert!(log.by_address.lock().len() <= MOST_ADDRESSES);
        assert!(logged(10_000, later + REMEMBERED) <= MOST_ADDRESSES + 1);
    }
}
