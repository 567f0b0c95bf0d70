//! Addresses as limits count them, and how much of something each has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;

/// An address of IPv4, or a /64 of IPv6, which is what one customer of a provider has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressBlock(IpAddr);

/// The number of things that each block has.
#[derive(Default)]
pub(crate) struct BlockCounts {
    counts: HashMap<AddressBlock, usize, RandomState>,
    total: usize,
}

impl AddressBlock {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
        })
    }
}

impl BlockCounts {
    pub(crate) fn of(&self, block: AddressBlock) -> usize {
        self.counts.get(&block).copied().unwrap_or(0)
    }

    /// The sum over all blocks.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn add(&mut self, block: AddressBlock) {
        *self.counts.entry(block).or_default() += 1;
        self.total += 1;
    }

    /// Takes back one call of [`BlockCounts::add`].
    pub(crate) fn remove(&mut self, block: AddressBlock) {
        if let Some(count) = self.counts.get_mut(&block) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.counts.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: &str) -> AddressBlock {
        AddressBlock::of(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_block_and_those_of_ipv4_are_not() {
        for (one, other, is_same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            assert_eq!(block(one) == block(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn a_block_without_anything_is_forgotten() {
        let mut counts = BlockCounts::default();
        let (one, other) = (block("10.0.0.1"), block("10.0.0.2"));
        counts.remove(one);
        for block in [one, one, other] {
            counts.add(block);
        }
        assert_eq!(
            (counts.of(one), counts.of(other), counts.total()),
            (2, 1, 3)
        );
        counts.remove(one);
        counts.remove(one);
        counts.remove(one);
        assert_eq!(
            (counts.of(one), counts.total(), counts.counts.len()),
            (0, 1, 1)
        );
    }
}
