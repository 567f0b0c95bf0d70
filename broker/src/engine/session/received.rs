//! The identifiers of messages that a client has sent at QoS 2 and not released: a bit for each of the
//! 65,535, so that any number of them takes the same memory.

/// Words of 64 bits for all identifiers.
const WORDS: usize = (u16::MAX as usize + 1) / 64;

/// A set of packet identifiers. It takes no memory before the first is inserted.
#[derive(Debug, Default)]
pub(crate) struct ReceivedIds {
    bits: Option<Box<[u64; WORDS]>>,
    count: u32,
}

impl ReceivedIds {
    pub(crate) fn insert(&mut self, id: u16) {
        let bits = self.bits.get_or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = place(id);
        self.count += u32::from(bits[word] & bit == 0);
        bits[word] |= bit;
    }

    /// Removes an identifier. Returns whether it was there.
    pub(crate) fn remove(&mut self, id: u16) -> bool {
        if !self.contains(id) {
            return false;
        }
        if let Some(bits) = &mut self.bits {
            let (word, bit) = place(id);
            bits[word] &= !bit;
        }
        self.count -= 1;
        true
    }

    pub(crate) fn contains(&self, id: u16) -> bool {
        let (word, bit) = place(id);
        self.bits.as_ref().is_some_and(|bits| bits[word] & bit != 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Releases the memory if there is no identifier.
    pub(crate) fn shrink(&mut self) {
        if self.count == 0 {
            self.bits = None;
        }
    }

    /// All identifiers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|&id| self.contains(id))
    }
}

fn place(id: u16) -> (usize, u64) {
    (usize::from(id) / 64, 1 << (id % 64))
}

impl FromIterator<u16> for ReceivedIds {
    fn from_iter<T: IntoIterator<Item = u16>>(ids: T) -> Self {
        let mut all = Self::default();
        ids.into_iter().for_each(|id| all.insert(id));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identifier_is_there_from_its_first_insertion_to_its_removal() {
        let mut ids: ReceivedIds = [1, 63, 64, 63, u16::MAX].into_iter().collect();
        assert_eq!(ids.iter().collect::<Vec<_>>(), [1, 63, 64, u16::MAX]);
        assert_eq!(ids.len(), 4);
        assert!(ids.remove(63) && !ids.remove(63) && !ids.remove(2));
        assert!(!ids.contains(63) && ids.contains(64));
        assert_eq!(ids.len(), 3);
        for id in [1, 64, u16::MAX] {
            ids.shrink();
            assert!(ids.bits.is_some());
            assert!(ids.remove(id));
        }
        ids.shrink();
        assert!(ids.bits.is_none());
    }
}
