//! The bytes that a connection has read and not yet handled.
//!
//! The buffer of an idle connection is small; one that was filled grows, and shrinks when the
//! connection goes quiet. The wires parse the bytes, and `budget` limits the memory.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::memory::budget::{Charge, Memory};

/// Capacity of an idle buffer.
const IDLE_BYTES: usize = 512;

/// A buffer that was filled grows to the next of these sizes.
const SIZES: [usize; 2] = [16 * 1024, 64 * 1024];

/// The next size, used only if each batch is split into several sends, or if lines are not short.
/// Thousands of short lines fit into less, and handling more of them at once only delays their
/// receivers. A longer line doubles the buffer.
const WIDE_BYTES: usize = 256 * 1024;

const WIDE_SENDS: usize = 4;

const SHORT_LINE_BYTES: usize = 96;

/// Minimum share of the buffer that a run must have for the buffer to be kept instead of a copy.
const WORTH_KEEPING: (usize, usize) = (15, 16);

/// Bytes in the order of arrival, the handled ones first.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    /// Offset of the first unhandled byte.
    start: usize,
    /// Number of calls of `consume` since the last read, one for each line as a rule.
    lines: usize,
    /// Whether batches are split into several sends.
    wide: bool,
    /// Memory charged beyond the idle capacity.
    charge: Charge,
}

impl ReadBuffer {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        Self {
            bytes: Vec::with_capacity(IDLE_BYTES),
            start: 0,
            lines: 0,
            wide: false,
            charge: memory.charge(0),
        }
    }

    /// All bytes; those from [`ReadBuffer::start`] on are unhandled.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Marks `len` more bytes, one line as a rule, as handled.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        self.lines += 1;
    }

    /// Makes room for more bytes and returns the vector to append to. `most` is the maximum length of a
    /// line. `None` if a line fills the buffer and no memory is free for more of it, even after a wait.
    pub(crate) fn fill(&mut self, most: usize) -> Option<&mut Vec<u8>> {
        let capacity = self.bytes.capacity();
        if self.bytes.len() < capacity {
            self.drop_handled();
            return Some(&mut self.bytes);
        }
        let wide = self.wide || self.start >= self.lines * SHORT_LINE_BYTES;
        self.drop_handled();
        let begun = self.bytes.len();
        let size = match SIZES.into_iter().find(|&size| size > capacity) {
            Some(size) => size,
            None if begun == capacity => WIDE_BYTES.max(capacity * 2).min(most + 2),
            // A small line limit may go with small outboxes, which a wide batch would fill.
            None if wide => WIDE_BYTES.min(most + 2).max(capacity),
            None => capacity,
        };
        if begun < capacity {
            if self.charge.grow(beyond_idle(size)) {
                self.bytes.reserve_exact(size - begun);
            }
        } else {
            // During the move both buffers exist.
            let memory = self.charge.memory().clone();
            if !memory.wait(size) || !self.charge.grow(beyond_idle(size)) {
                return None;
            }
            self.bytes.reserve_exact(size - begun);
        }
        Some(&mut self.bytes)
    }

    /// Discards the incomplete line.
    pub(crate) fn give_up(&mut self) {
        self.bytes = Vec::with_capacity(IDLE_BYTES);
        (self.start, self.lines) = (0, 0);
        self.charge.resize(0);
    }

    fn drop_handled(&mut self) {
        self.bytes.drain(..self.start);
        (self.start, self.lines) = (0, 0);
    }

    /// Sets the number of sends into which the last batch was split.
    pub(crate) fn note_sends(&mut self, sends: usize) {
        self.wide = sends >= WIDE_SENDS;
    }

    /// Releases what an idle connection does not need.
    pub(crate) fn shrink(&mut self) {
        self.drop_handled();
        self.bytes.shrink_to(IDLE_BYTES);
        self.charge.resize(beyond_idle(self.bytes.capacity()));
    }

    /// The bytes of memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether `len` of its bytes are worth keeping the whole buffer.
    pub(crate) fn is_worth_keeping(&self, len: usize) -> bool {
        len * WORTH_KEEPING.1 >= self.bytes.capacity() * WORTH_KEEPING.0
    }

    /// Lends the bytes in a form that can be kept. Must be followed by [`ReadBuffer::take_back`].
    pub(crate) fn lend(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.bytes))
    }

    /// Takes the lent bytes back, or, if an outbox has kept them, continues with a new vector that
    /// begins with a copy of the bytes from `handled` on.
    pub(crate) fn take_back(&mut self, lent: Bytes, handled: usize) {
        // Without other owners the vector is ours again; otherwise its bytes must not change any more.
        match lent.try_into_mut() {
            Ok(bytes) => self.bytes = bytes.into(),
            Err(kept) => {
                let size = SIZES[SIZES.len() - 1].max(kept.len());
                self.bytes = Vec::with_capacity(size);
                self.bytes.extend_from_slice(&kept[handled..]);
                self.start -= handled;
                self.charge.resize(beyond_idle(size));
            }
        }
    }
}

fn beyond_idle(size: usize) -> usize {
    size.saturating_sub(IDLE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(1 << 30))
    }

    /// All at once: byte by byte it takes minutes under Miri.
    fn put(room: &mut Vec<u8>, len: usize) {
        room.extend_from_slice(&vec![b'x'; len]);
    }

    /// Reads `len` bytes into the buffer, as far as they fit.
    fn read(buffer: &mut ReadBuffer, len: usize) -> usize {
        let room = buffer.fill(1 << 20).expect("there is memory");
        let len = len.min(room.capacity() - room.len());
        put(room, len);
        len
    }

    /// Fills the buffer several times with lines of `len` bytes; returns its size.
    fn size_with_lines(len: usize, most: usize) -> usize {
        let mut buffer = ReadBuffer::new(&memory());
        for _ in 0..10 {
            let room = buffer.fill(most).expect("there is memory");
            put(room, room.capacity() - room.len());
            while buffer.unread().len() >= len {
                buffer.consume(len);
            }
        }
        buffer.bytes.capacity()
    }

    #[test]
    fn it_grows_with_what_pays() {
        assert_eq!(size_with_lines(40, 1 << 20), 64 * 1024);
        assert_eq!(size_with_lines(150, 1 << 20), WIDE_BYTES);
        assert_eq!(size_with_lines(60_000, 1 << 20), WIDE_BYTES);
        assert_eq!(size_with_lines(150, 1000), 64 * 1024);
    }

    #[test]
    fn it_shrinks_on_demand() {
        let mut buffer = ReadBuffer::new(&memory());
        for _ in 0..3 {
            read(&mut buffer, usize::MAX);
            buffer.consume(buffer.unread().len());
        }
        read(&mut buffer, 10);
        buffer.shrink();
        assert_eq!(
            (buffer.unread().len(), buffer.bytes.capacity()),
            (10, IDLE_BYTES)
        );
    }

    #[test]
    fn it_grows_beyond_for_a_line_but_never_past_the_longest() {
        let mut buffer = ReadBuffer::new(&memory());
        let mut total = 0;
        loop {
            match read(&mut buffer, usize::MAX) {
                0 => break,
                len => total += len,
            }
        }
        assert_eq!(total, (1 << 20) + 2);
    }

    #[test]
    fn lent_bytes_come_back_or_are_replaced_if_they_were_kept() {
        let mut buffer = ReadBuffer::new(&memory());
        read(&mut buffer, 100);
        buffer.consume(60);
        let before = buffer.bytes().as_ptr();
        let lent = buffer.lend();
        buffer.take_back(lent, 60);
        assert_eq!(
            (buffer.bytes().as_ptr(), buffer.unread().len()),
            (before, 40)
        );
        let lent = buffer.lend();
        let kept = lent.slice(..60);
        buffer.take_back(lent, 60);
        assert_ne!(buffer.bytes().as_ptr(), before);
        assert_eq!((buffer.unread(), kept.len()), (&[b'x'; 40][..], 60));
    }

    #[test]
    fn it_takes_no_more_than_there_is() {
        let memory = Arc::new(Memory::new(100 * 1024));
        let mut buffer = ReadBuffer::new(&memory);
        // A line without an end.
        while let Some(room) = buffer.fill(1 << 30) {
            put(room, room.capacity() - room.len());
        }
        assert!(buffer.size() <= 100 * 1024, "{}", buffer.size());
        buffer.give_up();
        assert_eq!((buffer.size(), memory.free()), (IDLE_BYTES, 100 * 1024));
        // Complete lines need no more memory.
        let _others = memory.charge(99 * 1024);
        for _ in 0..10 {
            let room = buffer.fill(1 << 30).expect("there is always some");
            put(room, room.capacity() - room.len());
            buffer.consume(buffer.unread().len());
        }
        assert_eq!(buffer.size(), IDLE_BYTES);
    }
}
