//! Many subscribers, read by one thread: a thread for each would measure the machine's scheduler.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tests::TestBroker;

use crate::client::Account;
use crate::idle::take;
use crate::latency::Latencies;

/// Subscribers of one topic.
pub(crate) struct Crowd {
    epoll: OwnedFd,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    account: Account,
}

impl Crowd {
    pub(crate) fn connect(broker: &TestBroker, count: usize, topic: &str) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let members = (0..count).map(|number| {
            let mut stream = TcpStream::connect(broker.address())?;
            stream.set_read_timeout(Some(tests::PATIENCE))?;
            stream.write_all(format!("SUBSCRIBE {topic}\n").as_bytes())?;
            take(&mut stream, format!("SUBACK {topic}\n").as_bytes())?;
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN)?;
            Ok(Member {
                stream,
                rest: Vec::new(),
                account: Account::default(),
            })
        });
        let members = members.collect::<io::Result<_>>()?;
        Ok(Self { epoll, members })
    }

    /// Reads until each of them has got this many messages or been told that they are missing.
    pub(crate) fn read(
        &mut self,
        published: u64,
        topic: &str,
        clock: Instant,
    ) -> io::Result<Latencies> {
        let patience = Timespec::try_from(tests::PATIENCE).map_err(io::Error::other)?;
        let mut latencies = Latencies::default();
        let mut left = self.members.len();
        let mut events: Vec<Event> = Vec::with_capacity(256);
        let mut bytes = vec![0; 64 * 1024];
        while left > 0 {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                let what = format!("{left} subscribers wait for messages that do not come");
                return Err(io::Error::other(what));
            }
            for event in &events {
                let member = &mut self.members[event.data.u64() as usize];
                let before = member.account.total();
                member.read(&mut bytes, topic, clock, &mut latencies)?;
                if before < published && member.account.total() >= published {
                    left -= 1;
                }
            }
        }
        Ok(latencies)
    }

    /// What all of them have seen, added up.
    pub(crate) fn account(&self) -> Account {
        let mut sum = Account::default();
        for member in &self.members {
            sum.came += member.account.came;
            sum.missed += member.account.missed;
        }
        sum
    }
}

impl Member {
    /// Reads what is there.
    fn read(
        &mut self,
        bytes: &mut [u8],
        topic: &str,
        clock: Instant,
        latencies: &mut Latencies,
    ) -> io::Result<()> {
        let came = match self.stream.read(bytes) {
            Ok(0) => return Err(io::Error::other("the broker has closed a connection")),
            Ok(came) => came,
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(err) => return Err(err),
        };
        let now = Instant::now();
        self.rest.extend_from_slice(&bytes[..came]);
        let whole = match self.rest.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => last + 1,
            None => return Ok(()),
        };
        for line in self.rest[..whole].split(|&byte| byte == b'\n') {
            if self.account.add(line) {
                latencies.note(line, topic, clock, now);
            }
        }
        self.rest.drain(..whole);
        Ok(())
    }
}
