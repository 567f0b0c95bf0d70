//! Connections for which there is no room. Each is told so in the protocol that it begins to speak, for
//! which its first bytes are waited for.
//!
//! One thread looks at all of them, and runs only while there are any.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::wire;

/// Maximum newcomers at a time. Those beyond are answered at once.
pub(crate) const MOST: usize = 64;

/// How long a newcomer stays: its first bytes are waited for, and then the end of what it sends.
const STAY: Duration = Duration::from_secs(1);

/// Interval at which all are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes read from one newcomer at a time.
const READ_BYTES: usize = 4096;

/// Connections that are turned away.
#[derive(Default)]
pub(crate) struct Newcomers {
    /// Locked while sockets are read and written, which never waits.
    list: Mutex<NewcomerList>,
}

#[derive(Default)]
struct NewcomerList {
    newcomers: Vec<Newcomer>,
    /// Whether the thread runs. It ends when the list is empty.
    has_thread: bool,
}

/// A connection that is turned away.
struct Newcomer {
    stream: OwnedFd,
    why: String,
    /// A PROXY header comes first.
    by_proxy: bool,
    /// It is on the port of a room.
    in_room: bool,
    until: Instant,
    /// What it has sent, until it is answered.
    first: Vec<u8>,
    is_answered: bool,
}

impl Newcomers {
    /// Tells a connection why there is no room for it, and closes it within a second.
    pub(crate) fn turn_away(
        self: &Arc<Self>,
        stream: OwnedFd,
        why: String,
        by_proxy: bool,
        in_room: bool,
    ) {
        let mut list = self.list.lock();
        if list.newcomers.len() >= MOST || !(list.has_thread || self.start()) {
            drop(list);
            return answer_at_once(&stream, &why, in_room);
        }
        list.has_thread = true;
        list.newcomers.push(Newcomer {
            stream,
            why,
            by_proxy,
            in_room,
            until: Instant::now() + STAY,
            first: Vec::new(),
            is_answered: false,
        });
    }

    fn start(self: &Arc<Self>) -> bool {
        let all = self.clone();
        thread::Builder::new()
            .spawn(move || all.answer_loop())
            .is_ok()
    }

    /// Answers those that have not been answered, because the broker stops.
    pub(crate) fn finish(&self) {
        let mut list = self.list.lock();
        list.newcomers
            .retain_mut(|newcomer| newcomer.look(newcomer.until));
    }

    fn answer_loop(&self) {
        loop {
            thread::sleep(LOOK);
            let mut list = self.list.lock();
            let now = Instant::now();
            list.newcomers.retain_mut(|newcomer| newcomer.look(now));
            if list.newcomers.is_empty() {
                // Under the lock: a newcomer that is added later finds that it needs a new thread.
                *list = NewcomerList::default();
                return;
            }
        }
    }
}

/// Tells a connection why there is no room for it, without waiting for what it has to say.
pub(crate) fn answer_at_once(stream: impl AsFd, why: &str, in_room: bool) {
    if in_room {
        return answer(stream.as_fd(), &wire::room::busy(why));
    }
    let mut room = [0; wire::busy::FIRST_BYTES];
    let came = recv(&stream, &mut room[..], RecvFlags::DONTWAIT).map_or(0, |(_, came)| came);
    answer(
        stream.as_fd(),
        &wire::busy::busy_at_last(&room[..came], why),
    );
}

impl Newcomer {
    /// Reads what has come, and answers if that is enough or no more is to come. Returns whether the
    /// connection stays open: closed with unread bytes it would be reset, and its client would lose the
    /// answer.
    fn look(&mut self, now: Instant) -> bool {
        let mut room = [0; READ_BYTES];
        let came = recv(&self.stream, &mut room[..], RecvFlags::DONTWAIT);
        let (has_ended, came) = match came {
            Ok((_, 0)) => (true, 0),
            Ok((_, came)) => (false, came),
            Err(Errno::AGAIN | Errno::INTR) => (false, 0),
            Err(_) => return false,
        };
        let is_last = has_ended || now >= self.until;
        if !self.is_answered {
            self.first.extend_from_slice(&room[..came]);
            let is_enough = is_last || self.first.len() >= wire::busy::FIRST_BYTES;
            let first = match self.by_proxy {
                true => wire::behind_header(&self.first),
                false => &self.first,
            };
            let words = match is_enough {
                _ if self.in_room => Some(wire::room::busy(&self.why)),
                true => Some(wire::busy::busy_at_last(first, &self.why)),
                false => wire::busy::busy(first, &self.why),
            };
            if let Some(words) = words {
                answer(&self.stream, &words);
                self.first = Vec::new();
                self.is_answered = true;
            }
        }
        !is_last
    }
}

/// Without blocking: a client whose socket does not take a few words does without them.
fn answer(stream: impl AsFd, words: &[u8]) {
    if !words.is_empty() {
        let _ = send(&stream, words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    let _ = shutdown(&stream, Shutdown::Write);
}
