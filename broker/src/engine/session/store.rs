//! Sessions by the name of their client: who sits where, who comes back, and until when a seat is
//! kept for somebody who is away.
//!
//! What a session holds lies in its outbox, which goes on while nobody is connected. Here it is found
//! again, given to one connection at a time, and given up when its time has come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::engine::memory::budget::Charge;
use crate::engine::outbox::Outbox;
use crate::engine::session::clients::ClientRecord;
use crate::sync::{Condvar, Mutex};

/// How long somebody who takes over a seat waits for who sits there; then that connection is cut.
const PATIENCE: Duration = Duration::from_secs(3);

/// So many times more moments than seats may be remembered.
const STALE_MOMENTS: usize = 4;

/// All seats.
#[derive(Default)]
pub(crate) struct Seats {
    table: Mutex<Table>,
    /// Signalled when somebody leaves, when there is something new to wait for, and at the end.
    moved: Condvar,
}

#[derive(Default)]
struct Table {
    seats: HashMap<Box<str>, Seat, RandomState>,
    /// When to look at which seat. Some are out of date.
    due: BinaryHeap<Reverse<(Instant, Box<str>)>>,
    closed: bool,
}

struct Seat {
    session: Arc<ClientRecord>,
    /// The number of the connection that sits here.
    occupant: Option<u64>,
    /// When the session ends, if nobody sits here; none for never.
    until: Option<Instant>,
    /// What to publish if nobody has come back by then.
    will: Option<(Instant, Will)>,
}

/// A message that waits for the end of its connection.
pub(crate) struct Will {
    /// As the line of a message, with an attribute if it is to be retained.
    pub(crate) line: Vec<u8>,
    pub(crate) qos: u8,
    /// What it takes of the memory, given back when it is dropped.
    pub(crate) _charge: Charge,
}

/// A session that has ended while its client was away.
pub(crate) struct Ended {
    pub(crate) session: Arc<ClientRecord>,
    pub(crate) will: Option<Will>,
}

/// What became of somebody who wanted to sit down.
pub(crate) enum Seated {
    /// A session begins, perhaps in the place of another.
    New(Option<Ended>),
    /// An earlier one goes on.
    Resumed(Arc<ClientRecord>),
    /// The connection that sits there does not end.
    Taken,
}

/// What is due.
pub(crate) enum Due {
    Will(Will),
    Ended(Ended),
}

impl Seats {
    /// Takes the seat of a client for a connection. Who sits there is asked to leave by `dismiss`, and
    /// waited for. A `clean` one begins anew with what `own` holds.
    pub(crate) fn take(
        &self,
        client: &str,
        own: &Arc<ClientRecord>,
        clean: bool,
        dismiss: impl Fn(&Outbox),
    ) -> Seated {
        let me = own.outbox.id();
        let mut table = self.table.lock();
        let mut deadline = None;
        while let Some(seat) = table.seats.get(client)
            && seat.occupant.is_some()
        {
            let outbox = seat.session.outbox.clone();
            match deadline {
                None => {
                    drop(table);
                    dismiss(&outbox);
                    deadline = Some(Instant::now() + PATIENCE);
                    table = self.table.lock();
                }
                Some(end) => {
                    if self.moved.wait_until(&mut table, end).timed_out() {
                        return Seated::Taken;
                    }
                }
            }
        }
        if !clean && let Some(seat) = table.seats.get_mut(client) {
            (seat.occupant, seat.until, seat.will) = (Some(me), None, None);
            // It may have left by itself just before it was dismissed.
            seat.session.outbox.begin_anew();
            return Seated::Resumed(seat.session.clone());
        }
        let seat = Seat {
            session: own.clone(),
            occupant: Some(me),
            until: None,
            will: None,
        };
        let before = table.seats.insert(client.into(), seat);
        Seated::New(before.map(|seat| Ended {
            session: seat.session,
            will: seat.will.map(|(_, will)| will),
        }))
    }

    /// Gives up the seat that connection `me` has; the session has ended.
    pub(crate) fn end(&self, client: &str, me: u64) {
        let mut table = self.table.lock();
        if table
            .seats
            .get(client)
            .is_some_and(|seat| seat.occupant == Some(me))
        {
            table.seats.remove(client);
        }
        drop(table);
        self.moved.notify_all();
    }

    /// Leaves the seat that connection `me` has, and keeps it `until` then.
    pub(crate) fn keep(
        &self,
        client: &str,
        me: u64,
        until: Option<Instant>,
        will: Option<(Instant, Will)>,
    ) {
        let mut table = self.table.lock();
        let Table { seats, due, .. } = &mut *table;
        if let Some(seat) = seats.get_mut(client)
            && seat.occupant == Some(me)
        {
            let moments = [until, will.as_ref().map(|(at, _)| *at)];
            (seat.occupant, seat.until, seat.will) = (None, until, will);
            for moment in moments.into_iter().flatten() {
                due.push(Reverse((moment, client.into())));
            }
            if due.len() > 64 + STALE_MOMENTS * seats.len() {
                *due = current(seats);
            }
        }
        drop(table);
        self.moved.notify_all();
    }

    /// Waits until something is due. None when the broker stops.
    pub(crate) fn next_due(&self) -> Option<Due> {
        let mut table = self.table.lock();
        loop {
            if table.closed {
                return None;
            }
            let now = Instant::now();
            match table.due.peek() {
                None => self.moved.wait(&mut table),
                Some(Reverse((moment, _))) if *moment > now => {
                    let moment = *moment;
                    self.moved.wait_until(&mut table, moment);
                }
                Some(_) => {
                    if let Some(due) = table.take_due(now) {
                        return Some(due);
                    }
                }
            }
        }
    }

    /// Ends [`Seats::next_due`].
    pub(crate) fn close(&self) {
        self.table.lock().closed = true;
        self.moved.notify_all();
    }
}

impl Table {
    /// What is due by the next moment, if anything still is.
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        let Reverse((_, client)) = self.due.pop()?;
        let seat = self.seats.get_mut(&client)?;
        if seat.occupant.is_some() {
            return None;
        }
        if seat.until.is_some_and(|until| until <= now) {
            let seat = self.seats.remove(&client)?;
            return Some(Due::Ended(Ended {
                session: seat.session,
                will: seat.will.map(|(_, will)| will),
            }));
        }
        let (_, will) = seat.will.take_if(|(at, _)| *at <= now)?;
        Some(Due::Will(will))
    }
}

fn current(
    seats: &HashMap<Box<str>, Seat, RandomState>,
) -> BinaryHeap<Reverse<(Instant, Box<str>)>> {
    let moments = seats.iter().flat_map(|(client, seat)| {
        let will = seat.will.as_ref().map(|(at, _)| *at);
        let moments = [seat.until, will].into_iter().flatten();
        moments.map(|moment| Reverse((moment, client.clone())))
    });
    moments.collect()
}
