//! Which newcomers get a place: limits for all connections and for each address, and places that are kept
//! for this machine and for health checks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::access::Limit;
use crate::auth::address::{AddressBlock, BlockCounts};
use crate::engine::Engine;
use crate::engine::limits::Limits;

/// With this many places or more, some are kept.
const KEEPS_FROM: usize = 64;

/// Places kept for connections from this machine and for health checks.
const KEPT: usize = 16;

/// How many of these health checks of other machines may have, so that they cannot take all of them.
const FOR_HEALTH: usize = KEPT / 2;

/// The places that are taken.
#[derive(Default)]
pub(crate) struct Places {
    by_address: BlockCounts,
    /// Connections that are let in for a health check alone.
    for_health: usize,
    /// The broker drains: there are places for health checks only.
    is_draining: bool,
}

/// The place of one connection, to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenPlace {
    block: AddressBlock,
    /// It may ask for the health of the broker, and for nothing else.
    pub(crate) is_for_health: bool,
    /// A proxy passes the client on and tells its address.
    pub(crate) by_proxy: bool,
}

/// Why a newcomer gets no place. `Display` says so to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    InAll(usize),
    OfAddress(usize),
    Draining,
}

/// The limits for places: those of the flags, and of addresses a lower one of the access file.
pub(crate) struct PlaceLimits {
    pub(crate) limits: Arc<Limits>,
    of_address: Option<Limit>,
}

impl PlaceLimits {
    pub(crate) fn of(engine: &Engine) -> Self {
        let limits = engine.limits.load();
        let of_address = engine.access.address_connections();
        let most = |limit: &Limit| usize::try_from(limit.most).unwrap_or(usize::MAX);
        let of_address = of_address.filter(|limit| most(limit) < limits.per_address);
        let limits = match &of_address {
            None => limits,
            Some(limit) => Arc::new(Limits {
                per_address: most(limit),
                ..(*limits).clone()
            }),
        };
        Self { limits, of_address }
    }

    /// Why a newcomer gets no place, for it and for the log.
    pub(crate) fn refusal(&self, why: NoPlace, engine: &Engine) -> String {
        match (why, &self.of_address) {
            (NoPlace::OfAddress(taken), Some(limit)) => {
                engine.metrics.limited.add(limit.kind);
                let (most, place) = (limit.most, limit.place());
                format!(
                    "{taken} connections from this address are open of at most {most} ({place})"
                )
            }
            _ => why.to_string(),
        }
    }
}

impl Places {
    /// Takes a place for a newcomer from this address. Behind a proxy there may be any number of clients.
    pub(crate) fn take(
        &mut self,
        address: IpAddr,
        by_proxy: bool,
        limits: &Limits,
    ) -> Result<TakenPlace, NoPlace> {
        let (taken, most) = (self.by_address.total(), limits.connections);
        let block = AddressBlock::of(address);
        if taken >= most {
            return Err(NoPlace::InAll(taken));
        }
        let mut is_for_health = self.is_draining;
        if is_for_health && self.for_health >= FOR_HEALTH {
            return Err(NoPlace::Draining);
        }
        if !address.to_canonical().is_loopback() {
            let of_address = self.by_address.of(block);
            if of_address >= limits.per_address && !by_proxy {
                return Err(NoPlace::OfAddress(of_address));
            }
            let kept = if most >= KEEPS_FROM { KEPT } else { 0 };
            is_for_health |= taken >= most - kept;
            if is_for_health && self.for_health >= FOR_HEALTH {
                return Err(NoPlace::InAll(taken));
            }
        }
        let place = TakenPlace {
            block,
            is_for_health,
            by_proxy,
        };
        self.by_address.add(block);
        self.for_health += usize::from(is_for_health);
        Ok(place)
    }

    /// A proxy has told the address of its client: the place counts for that from now on.
    pub(crate) fn move_to(
        &mut self,
        address: IpAddr,
        place: TakenPlace,
        limits: &Limits,
    ) -> Result<TakenPlace, NoPlace> {
        let block = AddressBlock::of(address);
        let of_address = self.by_address.of(block);
        if of_address >= limits.per_address && !address.is_loopback() {
            return Err(NoPlace::OfAddress(of_address));
        }
        self.by_address.remove(place.block);
        self.by_address.add(block);
        Ok(TakenPlace { block, ..place })
    }

    /// Gives back the place of a connection that has ended.
    pub(crate) fn give_back(&mut self, place: TakenPlace) {
        self.by_address.remove(place.block);
        self.for_health -= usize::from(place.is_for_health);
    }

    /// From now on there are places for health checks only.
    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether three quarters of all places are taken.
    pub(crate) fn are_scarce(&self, most: usize) -> bool {
        self.by_address.total() >= most - most / 4
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InAll(taken) => {
                write!(
                    f,
                    "{taken} connections are open, the most this broker takes (--max-connections)"
                )
            }
            Self::Draining => write!(f, "the broker is about to stop and takes no newcomers"),
            Self::OfAddress(taken) => write!(
                f,
                "{taken} connections from this address are open, the most this broker takes from one \
                 (--max-per-address)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, per_address: usize) -> Limits {
        Limits {
            connections,
            per_address,
            ..Limits::default()
        }
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// Takes places until there is none; how many of them are for anything, and for health checks.
    fn take_all(places: &mut Places, address: IpAddr, limits: &Limits) -> (usize, usize) {
        let (mut all, mut for_health) = (0, 0);
        while let Ok(place) = places.take(address, false, limits) {
            all += usize::from(!place.is_for_health);
            for_health += usize::from(place.is_for_health);
        }
        (all, for_health)
    }

    #[test]
    fn behind_a_proxy_a_place_counts_for_the_client() {
        let (mut places, limits) = (Places::default(), limits(100, 2));
        let proxied: Vec<TakenPlace> = (0..3)
            .map(|_| places.take(address(1), true, &limits).expect("any number"))
            .collect();
        let moved = [0, 1].map(|at| places.move_to(address(7), proxied[at], &limits));
        let refused = places.move_to(address(7), proxied[2], &limits);
        assert_eq!(refused, Err(NoPlace::OfAddress(2)));
        places.give_back(moved[0].expect("there is room"));
        let third = places.move_to(address(7), proxied[2], &limits);
        for place in [moved[1], third] {
            places.give_back(place.expect("there is room"));
        }
        assert_eq!(places.by_address.total(), 0);
    }

    #[test]
    fn one_address_takes_no_more_than_its_part_unless_it_is_this_machine() {
        let (mut places, limits) = (Places::default(), limits(20, 7));
        assert_eq!(take_all(&mut places, address(1), &limits), (7, 0));
        let refused = places.take(address(1), false, &limits);
        assert_eq!(refused, Err(NoPlace::OfAddress(7)));
        let same = "::ffff:10.0.0.1".parse().expect("an address");
        assert_eq!(
            places.take(same, false, &limits),
            Err(NoPlace::OfAddress(7))
        );
        let proxied = places.take(address(1), true, &limits).expect("a place");
        places.give_back(proxied);
        let other = places.take(address(2), false, &limits).expect("a place");
        places.give_back(other);
        let local = [127, 0, 0, 2].into();
        assert_eq!(take_all(&mut places, local, &limits), (13, 0));
        assert_eq!(
            places.take(address(2), false, &limits),
            Err(NoPlace::InAll(20))
        );
    }

    #[test]
    fn the_last_places_are_for_this_machine_and_for_health_checks() {
        let (mut places, limits) = (Places::default(), limits(64, usize::MAX));
        assert_eq!(take_all(&mut places, address(1), &limits), (48, 8));
        let local = [127, 0, 0, 1].into();
        assert_eq!(take_all(&mut places, local, &limits), (8, 0));
        // With few places none are kept.
        let few = self::limits(63, usize::MAX);
        assert_eq!(take_all(&mut Places::default(), address(1), &few), (63, 0));
    }

    #[test]
    fn a_broker_that_drains_has_places_for_health_checks_only() {
        let (mut places, limits) = (Places::default(), limits(100, usize::MAX));
        places.drain();
        let local = [127, 0, 0, 1].into();
        assert_eq!(take_all(&mut places, local, &limits), (0, FOR_HEALTH));
        assert_eq!(
            places.take(address(1), false, &limits),
            Err(NoPlace::Draining)
        );
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut places, limits) = (Places::default(), limits(64, usize::MAX));
        let mut taken = Vec::new();
        while let Ok(place) = places.take(address(1), false, &limits) {
            taken.push(place);
        }
        assert!(places.are_scarce(64) && places.are_scarce(74) && !places.are_scarce(76));
        for place in taken {
            places.give_back(place);
        }
        assert!(!places.are_scarce(64));
        assert_eq!(take_all(&mut places, address(2), &limits), (48, 8));
    }
}
