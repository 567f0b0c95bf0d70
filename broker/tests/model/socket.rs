//! A socket whose client reads at any time, and the flusher's thread: a model of the kernel, in which
//! only the checker decides.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use shuttle::rand::{self, Rng};

use crate::clock::latency::Latency;
use crate::engine::memory::budget::Memory;
use crate::engine::outbox::encoder::Encoder;
use crate::engine::outbox::run::Run;
use crate::engine::outbox::{Outbox, Sink};
use crate::sync::{Condvar, Mutex};

/// Everything ends with a semicolon: `news:a1;` is the first message of `a` on `news`, `-3;` says that
/// three are missing, anything else is an answer.
pub(crate) const ENCODER: Encoder = Encoder {
    wire: "model",
    encode: None,
    answer: None,
    gap: |count| format!("-{count};").into_bytes(),
    receipt: |receipt| format!("={}/{};", receipt.answered, receipt.copies).into_bytes(),
    first: |messages| ends(messages).next().unwrap_or(messages.len()),
    fitting: |messages, room| ends(&messages[..room]).last().unwrap_or(0),
    count: |messages| ends(messages).count() as u64,
    topic: |message| &message[..memchr::memchr(b':', message).unwrap_or(0)],
    goodbye: b"bye;",
    kicked: b"",
    auth_ended: b"",
    withdrawn: None,
    auth_ends_soon: b"",
    moves_when_told: false,
    taken_over: b"",
};

fn ends(messages: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memchr_iter(b';', messages).map(|at| at + 1)
}

/// The socket of a client.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<Kernel>>, Arc<Flushing>);

struct Kernel {
    id: u64,
    /// The bytes that the client has received.
    taken: Vec<u8>,
    /// Maximum bytes taken at once.
    most: usize,
    armed: bool,
    broken: bool,
    /// The outbox is closed: sending is an error.
    closed: bool,
}

impl Socket {
    pub(crate) fn new(id: u64, most: usize, flushing: &Arc<Flushing>) -> Self {
        let kernel = Kernel {
            id,
            taken: Vec::new(),
            most,
            armed: false,
            broken: false,
            closed: false,
        };
        Self(Arc::new(Mutex::new(kernel)), flushing.clone())
    }

    /// An outbox that sends to this socket, with this limit in bytes.
    pub(crate) fn outbox(&self, limit: usize, encoder: &'static Encoder) -> Arc<Outbox> {
        self.outbox_in(&Arc::new(Memory::new(usize::MAX)), limit, encoder)
    }

    /// The same, with this memory budget.
    pub(crate) fn outbox_in(
        &self,
        memory: &Arc<Memory>,
        limit: usize,
        encoder: &'static Encoder,
    ) -> Arc<Outbox> {
        let id = self.0.lock().id;
        let outbox = Outbox::new(id, limit, memory.clone(), encoder, Box::new(self.clone()));
        let outbox = Arc::new(outbox);
        self.1.outboxes.lock().push((self.clone(), outbox.clone()));
        outbox
    }

    /// From here on every send fails.
    pub(crate) fn fail(&self) {
        self.0.lock().broken = true;
    }

    /// The outbox is closed: from here on it must not send or arm.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
    }

    /// All bytes that were sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().taken.clone()
    }

    /// The same as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("all that is sent is text")
    }

    pub(crate) fn heard(&self) -> Heard {
        Heard::from(&*self.text())
    }
}

impl Sink for Socket {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut kernel = self.0.lock();
        assert!(!kernel.closed, "something is sent after the close");
        if kernel.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = rand::thread_rng().gen_range(0..=kernel.most);
        let mut sent = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(room)];
            kernel.taken.extend_from_slice(part);
            room -= part.len();
            sent += part.len();
        }
        match sent {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sent),
        }
    }

    fn arm(&self) -> io::Result<()> {
        let mut kernel = self.0.lock();
        assert!(!kernel.closed, "it is armed after the close");
        assert!(
            !mem::replace(&mut kernel.armed, true),
            "it is armed a second time"
        );
        self.1.ring(kernel.id);
        Ok(())
    }
}

/// The armed sockets. An armed socket may become writable at any time.
pub(crate) struct Flushing {
    outboxes: Mutex<Vec<(Socket, Arc<Outbox>)>>,
    armed: Mutex<Armed>,
    changed: Condvar,
}

#[derive(Default)]
struct Armed {
    ids: VecDeque<u64>,
    ending: bool,
}

impl Flushing {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            outboxes: Mutex::default(),
            armed: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn ring(&self, id: u64) {
        self.armed.lock().ids.push_back(id);
        self.changed.notify_all();
    }

    /// The flusher's thread. Ends when it has been told to stop and no socket is armed.
    pub(crate) fn run(&self) {
        while let Some(id) = self.next() {
            let known = self.outboxes.lock();
            let (socket, outbox) = known
                .iter()
                .find(|(_, outbox)| outbox.id() == id)
                .cloned()
                .expect("only known sockets are armed");
            drop(known);
            let mut kernel = socket.0.lock();
            kernel.armed = false;
            let closed = kernel.closed;
            drop(kernel);
            if !closed {
                outbox.flush(&Latency::default());
            }
        }
        // Each of them refers to this one: without this, every schedule would leave its outboxes behind.
        let known = mem::take(&mut *self.outboxes.lock());
        drop(known);
    }

    fn next(&self) -> Option<u64> {
        let mut armed = self.armed.lock();
        loop {
            match armed.ids.pop_front() {
                Some(id) => return Some(id),
                None if armed.ending => return None,
                None => self.changed.wait(&mut armed),
            }
        }
    }

    /// Tells the thread to end once no socket is armed.
    pub(crate) fn end(&self) {
        self.armed.lock().ending = true;
        self.changed.notify_all();
    }
}

/// The messages, gaps and answers that a client has received.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// In the order of arrival: topic, publisher, number.
    pub(crate) messages: Vec<(String, char, u64)>,
    /// The gaps: the number of messages received before each, and of missing ones.
    pub(crate) gaps: Vec<(usize, u64)>,
    /// The answers, with the number of messages before each, including missing ones.
    pub(crate) answers: Vec<(usize, String)>,
}

impl From<&str> for Heard {
    fn from(text: &str) -> Self {
        let mut heard = Self::default();
        // The rest of a message that was partly sent when its outbox was closed is lost.
        let whole = text.rfind(';').map_or("", |end| &text[..=end]);
        for part in whole.split_terminator(';') {
            let before = heard.messages.len();
            let all_before = before + heard.missing() as usize;
            if let Some((topic, content)) = part.split_once(':') {
                let (publisher, number) = content.split_at(1);
                let publisher = publisher.chars().next().expect("a letter");
                let number = number.parse().expect("a number");
                heard.messages.push((topic.to_owned(), publisher, number));
            } else if let Some(count) = part.strip_prefix('-') {
                heard.gaps.push((before, count.parse().expect("a number")));
            } else {
                heard.answers.push((all_before, part.to_owned()));
            }
        }
        heard
    }
}

impl Heard {
    /// The numbers of one publisher's messages, which must have arrived in order.
    pub(crate) fn numbers(&self, publisher: char) -> Vec<u64> {
        let of_publisher = self.messages.iter().filter(|(_, by, _)| *by == publisher);
        let numbers: Vec<u64> = of_publisher.map(|(_, _, number)| *number).collect();
        assert!(
            numbers.is_sorted_by(|one, next| one < next),
            "messages of {publisher} are out of order or come twice: {self:?}"
        );
        numbers
    }

    pub(crate) fn missing(&self) -> u64 {
        self.gaps.iter().map(|(_, count)| count).sum()
    }

    /// The number of messages before this answer, including missing ones.
    pub(crate) fn before(&self, answer: &str) -> usize {
        let found = self.answers.iter().find(|(_, text)| text == answer);
        found.unwrap_or_else(|| panic!("no {answer} in {self:?}")).0
    }
}

/// Delivers the messages `from..to` of a publisher, in one to three runs.
pub(crate) fn deliver(outbox: &Outbox, publisher: char, from: u64, to: u64) -> bool {
    let mut texts: Vec<(String, u64)> = Vec::new();
    for number in from..to {
        let text = format!("t:{publisher}{number};");
        match texts.last_mut() {
            Some((run, messages)) if rand::thread_rng().gen_bool(0.5) => {
                run.push_str(&text);
                *messages += 1;
            }
            _ => texts.push((text, 1)),
        }
    }
    let runs: Vec<Run<'_>> = texts
        .iter()
        .map(|(run, messages)| Run::borrowed(run.as_bytes(), *messages))
        .collect();
    outbox.lock().deliver(&runs.iter().collect::<Vec<_>>())
}
