//! Frames that are not known to be durable: kept in memory, because after a failed sync the system has forgotten what
//! it could not write.

use std::collections::VecDeque;

/// Frames are collected in pieces of this size; a longer one has a piece of its own.
const PIECE_BYTES: usize = 1 << 20;

/// Empty pieces that are kept while there is much to do, so that their memory is not asked for again with each sync.
const MOST_FREE: usize = 64;

#[derive(Default)]
pub(super) struct Undurable {
    /// The oldest first. The last one is written to.
    pieces: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Undurable {
    /// Adds the parts of a frame.
    pub(super) fn add(&mut self, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let fits = |piece: &Vec<u8>| piece.len() + bytes <= piece.capacity();
        if !self.pieces.back().is_some_and(fits) {
            let piece = match bytes <= PIECE_BYTES {
                true => self.free.pop(),
                false => None,
            };
            let new = || Vec::with_capacity(bytes.max(PIECE_BYTES));
            self.pieces.push_back(piece.unwrap_or_else(new));
        }
        let piece = self.pieces.back_mut().expect("there is one now");
        for part in parts {
            piece.extend_from_slice(part);
        }
        self.bytes += bytes;
    }

    /// A sync begins for all that is here. Returns what is to be forgotten when it has succeeded.
    pub(super) fn mark(&mut self) -> usize {
        // What comes now goes into another piece.
        if self.pieces.back().is_some_and(|piece| !piece.is_empty()) {
            self.pieces.push_back(self.free.pop().unwrap_or_default());
        }
        self.pieces.len().saturating_sub(1)
    }

    /// Forgets what [`Undurable::mark`] has returned.
    pub(super) fn forget(&mut self, pieces: usize) {
        let is_idle = self.pieces.len() <= pieces + 1 && pieces <= 1;
        for mut piece in self.pieces.drain(..pieces) {
            self.bytes -= piece.len();
            if self.free.len() < MOST_FREE && piece.capacity() == PIECE_BYTES {
                piece.clear();
                self.free.push(piece);
            }
        }
        if is_idle {
            self.free = Vec::new();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces with whole frames, one after the other.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(undurable: &Undurable) -> Vec<u8> {
        undurable.pieces().flatten().copied().collect()
    }

    #[test]
    fn what_came_before_a_mark_is_forgotten_and_nothing_else() {
        let mut undurable = Undurable::default();
        undurable.add(&[b"ab", b"c"]);
        let first = undurable.mark();
        undurable.add(&[b"d"]);
        undurable.add(&[b"e"]);
        assert_eq!((all(&undurable), undurable.bytes()), (b"abcde".to_vec(), 5));
        undurable.forget(first);
        assert_eq!((all(&undurable), undurable.bytes()), (b"de".to_vec(), 2));
        // Nothing came since then.
        let second = undurable.mark();
        undurable.forget(second);
        let third = undurable.mark();
        undurable.forget(third);
        assert_eq!((all(&undurable), undurable.bytes()), (Vec::new(), 0));
        undurable.add(&[b"f"]);
        undurable.clear();
        assert_eq!(undurable.bytes(), 0);
    }

    #[test]
    fn pieces_are_used_again_while_there_is_much_and_given_back_then() {
        let mut undurable = Undurable::default();
        let long = vec![b'x'; PIECE_BYTES / 2];
        for _ in 0..10 {
            for _ in 0..8 {
                undurable.add(&[&long]);
            }
            let mark = undurable.mark();
            undurable.forget(mark);
            assert!(undurable.free.len() <= 5, "{}", undurable.free.len());
        }
        assert!(!undurable.free.is_empty());
        // A frame that is longer than a piece leaves no such memory behind.
        undurable.add(&[&vec![b'y'; 3 * PIECE_BYTES]]);
        let mark = undurable.mark();
        undurable.forget(mark);
        undurable.add(&[b"z"]);
        let mark = undurable.mark();
        undurable.forget(mark);
        assert!(undurable.free.is_empty());
    }
}
