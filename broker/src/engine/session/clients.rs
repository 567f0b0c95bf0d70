//! Who is connected, and the account each of them keeps of its messages.
//!
//! Besides the account it has what others may ask about a connection: since when it is there, what it
//! is called, what it subscribed to. Each stands under a lock that is taken by its own thread now and
//! then and by those who ask.
//!
//! A connection's account is written by its own thread alone, at the end of each batch. To add all
//! of them up at one moment, the batches of all connections are held off for an instant: see
//! [`Clients::audit`].

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::net::SocketAddr;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::clock::Moment;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::stats::ledger::{Ledger, Totals};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};

/// How long an audit waits for batches that are under way.
const BATCHES: Duration = Duration::from_secs(2);

/// How long whoever asks waits for batches that are under way to be handed in.
const HAND_IN: Duration = Duration::from_millis(20);

/// How often it looks.
const GLANCE: Duration = Duration::from_micros(50);

/// So many filters of a connection are looked at under one hold of their lock.
const FILTERS_AT_A_TIME: usize = 4096;

/// All connections.
#[derive(Default)]
pub(crate) struct Clients {
    records: Mutex<Table>,
    /// One audit at a time.
    auditing: Mutex<()>,
    /// Batches are held off.
    held_off: AtomicBool,
    gate: Mutex<()>,
    opened: Condvar,
    /// How often somebody has asked for what has been published.
    asked: AtomicU64,
}

#[derive(Default)]
struct Table {
    present: HashMap<u64, Arc<ClientRecord>, RandomState>,
    /// So many of them are sessions whose first connection has ended.
    stayed: usize,
    /// The most that were connected at a time.
    most: usize,
    /// What the broker itself publishes by.
    own: Option<Arc<ClientRecord>>,
    /// The accounts of those who have left.
    past: Ledger,
}

/// One connection as others may see it, or what is left of it: a session that its client may come
/// back to.
pub(crate) struct ClientRecord {
    pub(crate) outbox: Subscriber,
    pub(crate) peer: SocketAddr,
    pub(crate) since: Moment,
    name: Mutex<Option<Box<str>>>,
    /// What it has subscribed to.
    filters: Mutex<BTreeSet<Box<str>>>,
    /// Its own thread's, as of the end of the last batch.
    account: Mutex<Account>,
    /// It handles a batch: its account and others' outboxes may differ for now.
    busy: AtomicBool,
    /// The connection is over, and its session is still there.
    stays: AtomicBool,
    /// The session that the connection goes on with, if that is older.
    session: OnceLock<Arc<Self>>,
}

/// What one connection says of itself.
#[derive(Clone, Copy)]
struct Account {
    totals: Totals,
    /// When it last sent something.
    heard: Moment,
    /// Up to which time of asking it has handed in what it published.
    asked: u64,
}

/// The sum of all accounts.
pub(crate) struct Audit {
    pub(crate) ledger: Ledger,
    /// Whether no batch was under way. If one was, the figures may be out by what it holds.
    pub(crate) is_exact: bool,
}

impl Clients {
    pub(crate) fn enter(&self, record: Arc<ClientRecord>) {
        let id = record.outbox.id();
        let mut records = self.records.lock();
        records.stayed += usize::from(!record.is_connected());
        records.present.insert(id, record);
        records.most = records.most.max(records.connected());
    }

    /// Its connection has ended, and its session waits for its client.
    pub(crate) fn stay(&self, record: &ClientRecord) {
        let mut records = self.records.lock();
        if !record.stays.swap(true, Ordering::Relaxed) {
            records.stayed += 1;
        }
    }

    /// From now on the broker itself publishes by this one. It is in the sums and in no list.
    pub(crate) fn set_own(&self, record: Arc<ClientRecord>) {
        self.records.lock().own = Some(record);
    }

    /// Its outbox is closed, and it does nothing more.
    pub(crate) fn leave(&self, record: &ClientRecord) {
        let mut records = self.records.lock();
        records.past += record.ledger();
        records.present.remove(&record.outbox.id());
        records.stayed -= usize::from(record.stays.load(Ordering::Relaxed));
    }

    /// Adds everything up, at a moment when no batch is under way. For a thread that handles a
    /// batch itself, only after [`ClientRecord::settle`].
    pub(crate) fn audit(&self) -> Audit {
        let _alone = self.auditing.lock();
        self.held_off.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + BATCHES;
        let all: Vec<_> = self.records.lock().all().cloned().collect();
        for record in &all {
            while record.busy.load(Ordering::SeqCst) && Instant::now() < deadline {
                thread::sleep(GLANCE);
            }
        }
        let records = self.records.lock();
        let mut ledger = records.past;
        let mut is_exact = true;
        for record in records.all() {
            is_exact &= !record.busy.load(Ordering::SeqCst);
            ledger += record.ledger();
        }
        drop(records);
        self.held_off.store(false, Ordering::SeqCst);
        drop(self.gate.lock());
        self.opened.notify_all();
        Audit { ledger, is_exact }
    }

    /// Adds everything up, while batches go on: each figure is right and of its own moment.
    pub(crate) fn ledger(&self) -> Ledger {
        let records = self.records.lock();
        let mut ledger = records.past;
        records.all().for_each(|record| ledger += record.ledger());
        ledger
    }

    /// How many are connected.
    pub(crate) fn connected(&self) -> usize {
        self.records.lock().connected()
    }

    /// The most that were connected at a time.
    pub(crate) fn most(&self) -> usize {
        self.records.lock().most
    }

    /// Who is there at this moment, in the order in which they came: connections, and sessions whose
    /// first connection has ended.
    pub(crate) fn present(&self) -> Vec<Arc<ClientRecord>> {
        let mut present: Vec<_> = self.records.lock().present.values().cloned().collect();
        present.sort_unstable_by_key(|record| record.outbox.id());
        present
    }

    /// A number that changes when somebody wants to know what has been published.
    #[inline]
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Asks everybody to hand in what was published, and waits a moment for those who are busy: who has
    /// its receipt is settled then. Others have handed in when they paused, or do so within a second.
    pub(crate) fn ask(&self) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = Instant::now() + HAND_IN;
        for record in self.present() {
            while record.busy.load(Ordering::Acquire)
                && record.account.lock().asked < asked
                && Instant::now() < deadline
            {
                thread::sleep(GLANCE);
            }
        }
    }

    fn wait_until_opened(&self) {
        let mut gate = self.gate.lock();
        while self.held_off.load(Ordering::SeqCst) {
            self.opened.wait(&mut gate);
        }
    }
}

impl Table {
    /// Everybody with an account.
    fn all(&self) -> impl Iterator<Item = &Arc<ClientRecord>> {
        self.present.values().chain(&self.own)
    }

    fn connected(&self) -> usize {
        self.present.len() - self.stayed
    }
}

impl ClientRecord {
    pub(crate) fn new(outbox: Subscriber, peer: SocketAddr) -> Self {
        let since = Moment::now();
        Self {
            outbox,
            peer,
            since,
            name: Mutex::new(None),
            filters: Mutex::new(BTreeSet::new()),
            account: Mutex::new(Account {
                totals: Totals::default(),
                heard: since,
                asked: 0,
            }),
            busy: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            session: OnceLock::new(),
        }
    }

    /// One with an account and no connection.
    pub(crate) fn absent(outbox: Subscriber, peer: SocketAddr) -> Self {
        Self {
            stays: AtomicBool::new(true),
            ..Self::new(outbox, peer)
        }
    }

    /// Whether this connection goes on. A session that has outlived it may still be there.
    pub(crate) fn is_connected(&self) -> bool {
        !self.stays.load(Ordering::Relaxed)
    }

    /// The connection goes on with this older session.
    pub(crate) fn set_session(&self, session: &Arc<Self>) {
        let _ = self.session.set(session.clone());
    }

    /// Who has its subscriptions and what waits for it.
    pub(crate) fn session(&self) -> &Self {
        self.session.get().map_or(self, |session| session)
    }

    /// What it calls itself.
    pub(crate) fn name(&self) -> Option<Box<str>> {
        self.name.lock().clone()
    }

    pub(crate) fn set_name(&self, name: &str) {
        *self.name.lock() = Some(name.into());
    }

    /// Begins a batch, as soon as none are held off; goes on with one that has begun. For its own
    /// thread.
    pub(crate) fn begin(&self, clients: &Clients) {
        if self.busy.load(Ordering::Relaxed) {
            return;
        }
        loop {
            self.busy.store(true, Ordering::SeqCst);
            if !clients.held_off.load(Ordering::SeqCst) {
                return;
            }
            self.busy.store(false, Ordering::SeqCst);
            clients.wait_until_opened();
        }
    }

    /// Ends a batch: all it has published is delivered, and this is its account from the beginning.
    /// `heard` is when it last sent something, `asked` what [`Clients::asked`] was when it last handed in
    /// what it published on each topic.
    pub(crate) fn settle(&self, totals: Totals, heard: Moment, asked: u64) {
        *self.account.lock() = Account {
            totals,
            heard,
            asked,
        };
        self.busy.store(false, Ordering::Release);
    }

    /// What it has published so far.
    pub(crate) fn totals(&self) -> Totals {
        self.account.lock().totals
    }

    /// When it last sent something.
    pub(crate) fn heard(&self) -> Moment {
        self.account.lock().heard
    }

    /// Notes that it subscribes to this; false if it did before.
    pub(crate) fn add_filter(&self, filter: &str) -> bool {
        self.filters.lock().insert(filter.into())
    }

    /// Notes that it does no longer; false if it did not before.
    pub(crate) fn remove_filter(&self, filter: &str) -> bool {
        self.filters.lock().remove(filter)
    }

    pub(crate) fn has_filter(&self, filter: &str) -> bool {
        self.filters.lock().contains(filter)
    }

    /// How many filters it has subscribed to.
    pub(crate) fn filter_count(&self) -> usize {
        self.filters.lock().len()
    }

    /// Takes out all that it has subscribed to.
    pub(crate) fn take_filters(&self) -> BTreeSet<Box<str>> {
        mem::take(&mut *self.filters.lock())
    }

    /// Shows what it has subscribed to, in order, until `look` has seen enough. The lock is held for a
    /// part at a time, so that its own thread waits for no more than that.
    pub(crate) fn look_at_filters(&self, mut look: impl FnMut(&str) -> ControlFlow<()>) {
        let mut last: Option<Box<str>> = None;
        loop {
            let filters = self.filters.lock();
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut part = filters.range::<str, _>((from, Bound::Unbounded));
            let mut seen = None;
            for filter in part.by_ref().take(FILTERS_AT_A_TIME) {
                if look(filter).is_break() {
                    return;
                }
                seen = Some(filter);
            }
            match (seen, part.next()) {
                (Some(seen), Some(_)) => last = Some(seen.clone()),
                _ => return,
            }
        }
    }

    fn ledger(&self) -> Ledger {
        let stock = self.outbox.stock();
        Ledger {
            account: self.totals(),
            taken: stock.taken,
            waiting: stock.waiting,
            tally: stock.tally,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::run::Run;
    use crate::engine::outbox::tests::outbox;

    fn record(id: u64, room: usize) -> Arc<ClientRecord> {
        let peer = ([127, 0, 0, 1], 1).into();
        Arc::new(ClientRecord::new(outbox(id, 100, room).0, peer))
    }

    #[test]
    fn who_leaves_stays_in_the_sum() {
        let clients = Clients::default();
        let (publisher, reader) = (record(1, 100), record(2, 3));
        clients.enter(publisher.clone());
        clients.enter(reader.clone());
        publisher.begin(&clients);
        for message in [b"1;", b"2;", b"3;"] {
            reader.outbox.lock().deliver(&[&Run::borrowed(message, 1)]);
        }
        publisher.settle(
            Totals {
                published: 3,
                matched: 3,
                copies: 3,
                ..Totals::default()
            },
            Moment::now(),
            0,
        );
        let audit = clients.audit();
        assert!(
            audit.is_exact && audit.ledger.is_balanced(),
            "{}",
            audit.ledger
        );
        assert_eq!((audit.ledger.tally.written, audit.ledger.waiting), (1, 2));
        reader.outbox.close();
        clients.leave(&reader);
        clients.leave(&publisher);
        let ledger = clients.audit().ledger;
        assert!(ledger.is_balanced(), "{ledger}");
        assert_eq!((ledger.tally.discarded, ledger.waiting), (2, 0));
    }

    #[test]
    fn who_has_no_connection_is_not_counted_as_connected() {
        let clients = Clients::default();
        let (one, other) = (record(1, 100), record(2, 100));
        clients.enter(one.clone());
        clients.stay(&one);
        clients.stay(&one);
        clients.enter(other.clone());
        let (outbox, peer) = (outbox(3, 100, 0).0, ([127, 0, 0, 1], 1).into());
        let absent = ClientRecord::absent(outbox, peer);
        clients.enter(Arc::new(absent));
        assert_eq!((clients.connected(), clients.most()), (1, 1));
        clients.leave(&one);
        clients.leave(&other);
        assert_eq!((clients.connected(), clients.most()), (0, 1));
    }

    #[test]
    fn an_audit_among_batches_sees_none_of_them_half_done() {
        const BATCHES: u64 = 2000;
        let clients = Clients::default();
        let reader = record(0, usize::MAX);
        clients.enter(reader.clone());
        thread::scope(|scope| {
            for id in 1..=2 {
                let publisher = record(id, 100);
                clients.enter(publisher.clone());
                let (clients, reader) = (&clients, &reader);
                scope.spawn(move || {
                    for done in 1..=BATCHES {
                        publisher.begin(clients);
                        reader.outbox.lock().deliver(&[&Run::borrowed(b"x;", 1)]);
                        publisher.settle(
                            Totals {
                                published: done,
                                matched: done,
                                copies: done,
                                ..Totals::default()
                            },
                            Moment::now(),
                            0,
                        );
                    }
                });
            }
            for _ in 0..50 {
                let audit = clients.audit();
                assert!(audit.is_exact);
                assert!(audit.ledger.is_balanced(), "{}", audit.ledger);
            }
        });
        assert_eq!(clients.audit().ledger.tally.written, 2 * BATCHES);
    }

    #[test]
    fn what_somebody_subscribed_to_is_shown_in_order_and_in_parts() {
        let record = record(1, 0);
        let count = FILTERS_AT_A_TIME * 2 + 1;
        for number in (0..count).rev() {
            assert!(record.add_filter(&format!("{number:05}")));
        }
        assert!(!record.add_filter("00000"));
        let mut shown = 0;
        record.look_at_filters(|filter| {
            assert_eq!(filter, format!("{shown:05}"));
            shown += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(shown, count);
        record.look_at_filters(|filter| {
            shown -= 1;
            if filter == "00009" {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(shown, count - 10);
    }
}
