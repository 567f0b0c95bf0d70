//! The connected clients, and the account of messages that each connection keeps.
//!
//! A [`ClientRecord`] also holds what inquiries show about a connection: its start, its name, its
//! session. A detached session keeps the record of its last connection.
//!
//! A connection's account is written by its own thread alone, at the end of each batch. To add up all
//! accounts at one moment, the batches of all connections are paused: see [`Clients::audit`].

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::Session;
use crate::auth::identity::ClientIdentity;
use crate::clock::Moment;
use crate::engine::outbox::Outbox;
use crate::engine::peer::Peer;
use crate::engine::routing::subscribers::Subscriber;
use crate::engine::stats::ledger::{Ledger, Totals};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering, sleep};

/// Maximum time that an audit waits for batches in progress.
const BATCH_TIME: Duration = Duration::from_secs(2);

/// Maximum time that an inquiry waits for the topic statistics of batches in progress.
const HAND_IN_TIME: Duration = Duration::from_millis(20);

/// Interval at which both check.
const POLL_INTERVAL: Duration = Duration::from_micros(50);

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    table: Mutex<ClientTable>,
    /// Only one audit runs at a time.
    auditing: Mutex<()>,
    /// New batches are paused.
    held_off: AtomicBool,
    gate: Mutex<()>,
    opened: Condvar,
    /// Number of requests for topic statistics.
    asked: AtomicU64,
    /// The last number that was given to a connection or a session.
    last_id: AtomicU64,
}

#[derive(Default)]
struct ClientTable {
    /// By the number of the connection.
    connected: HashMap<u64, Arc<ClientRecord>, RandomState>,
    /// Records of detached sessions, by the number of the session.
    detached: HashMap<u64, Arc<ClientRecord>, RandomState>,
    /// Records of the broker's own clients: counted in the sums, but in no list.
    internal: Vec<Arc<ClientRecord>>,
    /// Maximum connections at one time.
    most: usize,
    /// The sum of the accounts of ended connections and sessions.
    past: Ledger,
}

/// The public view of a connection, or of the last one of a detached session.
pub(crate) struct ClientRecord {
    /// Behind a proxy, that of the proxy until its header has come.
    peer: Mutex<Peer>,
    pub(crate) since: Moment,
    /// The session that began with the connection.
    own: Arc<Session>,
    /// The earlier session that was resumed instead. Set once, so that readers need no lock.
    resumed: OnceLock<Arc<Session>>,
    name: Mutex<Option<Box<str>>>,
    /// None while it has the identity that its socket gives.
    identity: Mutex<Option<Arc<ClientIdentity>>>,
    /// Written by its own thread at the end of each batch.
    account: Mutex<ConnectionAccount>,
    /// A batch is in progress: its account and the outboxes of others may differ for now.
    busy: AtomicBool,
    /// The connection has ended.
    is_detached: AtomicBool,
    /// The client has asked for the health of the broker, and for nothing else.
    is_health_check: AtomicBool,
    /// It has a place that is kept for that.
    is_for_health: AtomicBool,
    /// Set once, by connections with TLS alone.
    security: OnceLock<Box<ConnectionSecurity>>,
}

/// What TLS says of a connection.
pub(crate) struct ConnectionSecurity {
    /// As `1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite, as IANA calls it.
    pub(crate) suite: &'static str,
    /// The name in the certificate of the client, if it has shown one.
    pub(crate) certificate: Option<Box<str>>,
    /// The identity that it gives; that of clients without one if its user is disabled.
    pub(crate) identity: Mutex<Option<Arc<ClientIdentity>>>,
}

/// The account of one connection.
#[derive(Clone, Copy)]
struct ConnectionAccount {
    totals: Totals,
    /// When it last sent bytes.
    heard: Moment,
    /// The number of requests when it last reported its topic statistics.
    asked: u64,
}

/// The sum of all accounts.
pub(crate) struct Audit {
    pub(crate) ledger: Ledger,
    /// Whether no batch was in progress. If one was, the figures may differ by its messages.
    pub(crate) is_exact: bool,
}

impl Clients {
    /// Adds a new connection.
    pub(crate) fn enter(&self, record: Arc<ClientRecord>) {
        let mut table = self.table.lock();
        table.connected.insert(record.id(), record);
        table.most = table.most.max(table.connected.len());
    }

    /// Adds a record of the broker itself.
    pub(crate) fn enter_internal(&self, record: Arc<ClientRecord>) {
        self.table.lock().internal.push(record);
    }

    /// Resumes an earlier session with this connection; removes the record of its last one. The sink
    /// has been moved out of the outbox of the connection's own session, which therefore changes no
    /// more.
    pub(crate) fn resume(&self, record: &ClientRecord, session: &Arc<Session>) {
        // Under one lock, so that no sum counts an outbox twice or not at all.
        let mut table = self.table.lock();
        table.past += record.own.ledger();
        let _ = record.resumed.set(session.clone());
        if let Some(last) = table.detached.remove(&session.id()) {
            table.past += last.account();
        }
    }

    /// A connection that is open.
    pub(crate) fn connection(&self, id: u64) -> Option<Arc<ClientRecord>> {
        self.table.lock().connected.get(&id).cloned()
    }

    /// The record of the last connection of a detached session.
    pub(crate) fn last_of(&self, session: &Session) -> Option<Arc<ClientRecord>> {
        self.table.lock().detached.get(&session.id()).cloned()
    }

    /// The connection has ended, and its session is detached.
    pub(crate) fn detach(&self, record: &Arc<ClientRecord>) {
        let mut table = self.table.lock();
        record.is_detached.store(true, Ordering::Relaxed);
        table.connected.remove(&record.id());
        let session = record.session().id();
        table.detached.insert(session, record.clone());
    }

    /// Adds a session of an earlier process, whose client is away.
    pub(crate) fn restore(&self, record: Arc<ClientRecord>) {
        record.is_detached.store(true, Ordering::Relaxed);
        self.table.lock().detached.insert(record.id(), record);
    }

    /// A number for a connection or a session that no other has.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connection has ended, and its session with it: the outbox is closed.
    pub(crate) fn leave(&self, record: &ClientRecord) {
        let mut table = self.table.lock();
        table.past += record.ledger();
        table.connected.remove(&record.id());
    }

    /// A detached session has ended: the outbox is closed.
    pub(crate) fn end_detached(&self, session: &Session) {
        let mut table = self.table.lock();
        if let Some(record) = table.detached.remove(&session.id()) {
            table.past += record.ledger();
        }
    }

    /// Adds up all accounts at a moment without batches. A thread that handles a batch must call
    /// [`ClientRecord::settle`] first.
    pub(crate) fn audit(&self) -> Audit {
        self.between_batches(|table| {
            let mut ledger = table.past;
            let mut is_exact = true;
            for record in table.all() {
                // SeqCst: a connection added after the list was copied has read `held_off` too.
                is_exact &= !record.busy.load(Ordering::SeqCst);
                ledger += record.ledger();
            }
            Audit { ledger, is_exact }
        })
    }

    /// Returns when all batches that are in progress now have ended, after at most [`BATCH_TIME`]. A thread that
    /// handles a batch must call [`ClientRecord::settle`] first.
    pub(crate) fn wait_for_batches(&self) {
        self.between_batches(|_| ());
    }

    /// Calls `look` at a moment without batches, or after [`BATCH_TIME`].
    fn between_batches<T>(&self, look: impl FnOnce(&ClientTable) -> T) -> T {
        let _alone = self.auditing.lock();
        // SeqCst, here and in `ClientRecord::begin`: each side writes its own flag and then reads the
        // other's, so at least one of the two sees what the other wrote.
        self.held_off.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + BATCH_TIME;
        // Under the lock of the audit. Locked for the copy only, because connections that begin or end
        // need it.
        let all: Vec<_> = self.table.lock().all().cloned().collect();
        for record in &all {
            // SeqCst: as above. Polled, so that a batch need not wake a thread at its end.
            while record.busy.load(Ordering::SeqCst) && Instant::now() < deadline {
                sleep(POLL_INTERVAL);
            }
        }
        // Under the lock of the audit, so that no other audit resumes the batches meanwhile.
        let table = self.table.lock();
        let seen = look(&table);
        drop(table);
        // SeqCst: ends the pause, in the same total order.
        self.held_off.store(false, Ordering::SeqCst);
        // A batch that saw the flag keeps this lock until it sleeps, so it cannot miss the signal.
        drop(self.gate.lock());
        self.opened.notify_all();
        seen
    }

    /// Adds up all accounts while batches continue: each figure is right at a moment of its own.
    pub(crate) fn ledger(&self) -> Ledger {
        let table = self.table.lock();
        let mut ledger = table.past;
        table.all().for_each(|record| ledger += record.ledger());
        ledger
    }

    /// Number of connected clients.
    pub(crate) fn connected(&self) -> usize {
        self.table.lock().connected.len()
    }

    /// Number of detached sessions.
    pub(crate) fn detached(&self) -> usize {
        self.table.lock().detached.len()
    }

    /// Maximum connections at one time.
    pub(crate) fn most(&self) -> usize {
        self.table.lock().most
    }

    /// All connections and all detached sessions, in the order in which the connections began. Each
    /// session is listed once.
    pub(crate) fn present(&self) -> Vec<Arc<ClientRecord>> {
        let table = self.table.lock();
        let present = table.connected.values().chain(table.detached.values());
        let mut present: Vec<_> = present.cloned().collect();
        drop(table);
        present.sort_unstable_by_key(|record| record.id());
        present
    }

    /// Number of subscriptions.
    pub(crate) fn subscriptions(&self) -> usize {
        let present = self.present();
        let counts = present
            .iter()
            .map(|record| record.session().subscriptions().len());
        counts.sum()
    }

    /// The number of them that are shared.
    pub(crate) fn shared_subscriptions(&self) -> usize {
        let present = self.present();
        let counts = present
            .iter()
            .map(|record| record.session().subscriptions().shared_len());
        counts.sum()
    }

    /// The number of requests for topic statistics.
    #[inline]
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Requests topic statistics from all connections, and waits a moment for busy ones: so the counts
    /// of a publisher that has its receipt are complete. Other connections reported when they paused,
    /// or do so within a second.
    pub(crate) fn ask(&self) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = Instant::now() + HAND_IN_TIME;
        for record in self.present() {
            // Acquire pairs with the Release in `settle`: the end of a batch comes after its report.
            while record.busy.load(Ordering::Acquire)
                && record.account.lock().asked < asked
                && Instant::now() < deadline
            {
                sleep(POLL_INTERVAL);
            }
        }
    }

    fn wait_until_opened(&self) {
        let mut gate = self.gate.lock();
        // SeqCst: see `audit`.
        while self.held_off.load(Ordering::SeqCst) {
            self.opened.wait(&mut gate);
        }
    }
}

impl ClientTable {
    /// All records with an account.
    fn all(&self) -> impl Iterator<Item = &Arc<ClientRecord>> {
        let clients = self.connected.values().chain(self.detached.values());
        clients.chain(&self.internal)
    }
}

impl Session {
    /// The messages its outbox was given, and where they are.
    fn ledger(&self) -> Ledger {
        let stock = self.outbox().stock();
        Ledger {
            account: Totals::default(),
            taken: stock.taken,
            waiting: stock.waiting,
            waiting_bytes: (stock.waiting_bytes + stock.kept_bytes) as u64,
            tally: stock.tally,
        }
    }
}

impl ClientRecord {
    pub(crate) fn new(outbox: Subscriber, peer: Peer) -> Self {
        let since = Moment::now();
        Self {
            peer: Mutex::new(peer),
            since,
            own: Arc::new(Session::new(outbox)),
            resumed: OnceLock::new(),
            name: Mutex::new(None),
            identity: Mutex::new(None),
            account: Mutex::new(ConnectionAccount {
                totals: Totals::default(),
                heard: since,
                asked: 0,
            }),
            busy: AtomicBool::new(false),
            is_detached: AtomicBool::new(false),
            is_health_check: AtomicBool::new(false),
            is_for_health: AtomicBool::new(false),
            security: OnceLock::new(),
        }
    }

    /// What TLS says of the connection, if it has that.
    pub(crate) fn security(&self) -> Option<&ConnectionSecurity> {
        self.security.get().map(|security| &**security)
    }

    /// The handshake of TLS is done.
    pub(crate) fn set_security(&self, security: ConnectionSecurity) {
        let _ = self.security.set(Box::new(security));
    }

    /// The number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.own.id()
    }

    /// The other end of the connection.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.lock().clone()
    }

    pub(crate) fn set_peer(&self, peer: Peer) {
        *self.peer.lock() = peer;
    }

    /// Whether the connection is open; otherwise its session is detached or ended.
    pub(crate) fn is_connected(&self) -> bool {
        !self.is_detached.load(Ordering::Relaxed)
    }

    /// The session that began with the connection, even if another was resumed.
    pub(crate) fn own_session(&self) -> &Arc<Session> {
        &self.own
    }

    /// The session of the client.
    pub(crate) fn session(&self) -> &Arc<Session> {
        self.resumed.get().unwrap_or(&self.own)
    }

    /// The outbox of the client.
    pub(crate) fn outbox(&self) -> &Subscriber {
        self.session().outbox()
    }

    /// Sends the client bytes outside its conversation, unchanged, and returns when few enough answers
    /// are queued. Only for its own thread.
    pub(crate) fn interject(&self, bytes: &[u8]) {
        let outbox = self.outbox();
        outbox.lock().signal(bytes);
        outbox.wait_for_room();
    }

    /// Ends all waits for the client without a deadline, now and later, because the broker stops.
    pub(crate) fn hurry(&self) {
        // In this order, because the connection may move to another session meanwhile: either it finds
        // its own outbox hurried and takes that along, or it has moved before, and is seen here.
        self.own.outbox().hurry();
        let current = self.outbox();
        if !std::ptr::eq::<Outbox>(&**current, &**self.own.outbox()) {
            current.hurry();
        }
    }

    /// The client's name.
    pub(crate) fn name(&self) -> Option<Box<str>> {
        self.name.lock().clone()
    }

    pub(crate) fn set_name(&self, name: &str) {
        *self.name.lock() = Some(name.into());
    }

    /// The identity of the client.
    pub(crate) fn identity(&self) -> Arc<ClientIdentity> {
        self.shown_identity()
            .unwrap_or_else(|| Arc::new(self.identity_of_socket()))
    }

    /// The identity, unless it is the one of all clients that have shown none.
    pub(crate) fn shown_identity(&self) -> Option<Arc<ClientIdentity>> {
        let shown = self.identity.lock().clone();
        let shown = shown.or_else(|| self.security()?.identity.lock().clone());
        let has_peer = || matches!(&*self.peer.lock(), Peer::Unix(_));
        shown.or_else(|| has_peer().then(|| Arc::new(self.identity_of_socket())))
    }

    /// Sets it; none for the one that its socket gives. Returns false if it was that before.
    pub(crate) fn set_identity(&self, identity: Option<Arc<ClientIdentity>>) -> bool {
        let is_none = identity.is_none();
        let before = std::mem::replace(&mut *self.identity.lock(), identity);
        !(is_none && before.is_none())
    }

    /// Replaces an identity by what it has become, unless the client has another by now.
    pub(crate) fn renew_identity(&self, old: &Arc<ClientIdentity>, renewed: ClientIdentity) {
        let renewed = Arc::new(renewed);
        // That of the certificate where it lies, because a client falls back to it after each request of HTTP.
        let of_certificate = self.security().map(|security| &security.identity);
        for place in [&self.identity].into_iter().chain(of_certificate) {
            let mut identity = place.lock();
            if identity.as_ref().is_some_and(|it| Arc::ptr_eq(it, old)) {
                *identity = Some(renewed.clone());
            }
        }
    }

    fn identity_of_socket(&self) -> ClientIdentity {
        match &*self.peer.lock() {
            Peer::Network(_) => ClientIdentity::anonymous(),
            Peer::Unix(peer) => {
                ClientIdentity::of_unix_peer(&peer.user, peer.user_number, peer.is_operator)
            }
        }
    }

    /// Whether the client has asked for the health of the broker, and for nothing else.
    pub(crate) fn is_health_check(&self) -> bool {
        self.is_health_check.load(Ordering::Relaxed)
    }

    pub(crate) fn set_health_check(&self, is_health_check: bool) {
        self.is_health_check
            .store(is_health_check, Ordering::Relaxed);
    }

    /// Whether the client may ask for the health of the broker alone: its place is kept for that.
    pub(crate) fn is_for_health(&self) -> bool {
        self.is_for_health.load(Ordering::Relaxed)
    }

    pub(crate) fn set_for_health(&self, is_for_health: bool) {
        self.is_for_health.store(is_for_health, Ordering::Relaxed);
    }

    /// Begins a batch, as soon as no audit pauses batches. Returns false inside a batch, and does nothing
    /// then. Only for its own thread.
    pub(crate) fn begin(&self, clients: &Clients) -> bool {
        if self.busy.load(Ordering::Relaxed) {
            return false;
        }
        // Repeated whenever an audit came in between.
        loop {
            // SeqCst: see `Clients::audit`.
            self.busy.store(true, Ordering::SeqCst);
            if !clients.held_off.load(Ordering::SeqCst) {
                return true;
            }
            // SeqCst, as above: the audit must not see this batch end and then a later one begin
            // unasked.
            self.busy.store(false, Ordering::SeqCst);
            clients.wait_until_opened();
        }
    }

    /// Ends a batch whose messages are all delivered, and sets the account. `heard` is when the client
    /// last sent bytes, `asked` the value of [`Clients::asked`] at the last report of topic statistics.
    pub(crate) fn settle(&self, totals: Totals, heard: Moment, asked: u64) {
        *self.account.lock() = ConnectionAccount {
            totals,
            heard,
            asked,
        };
        // Release: an audit that sees the end of the batch sees its deliveries too.
        self.busy.store(false, Ordering::Release);
    }

    /// Its counts up to the end of the last batch.
    pub(crate) fn totals(&self) -> Totals {
        self.account.lock().totals
    }

    /// When it last sent bytes.
    pub(crate) fn heard(&self) -> Moment {
        self.account.lock().heard
    }

    /// Its counts, without its outbox.
    fn account(&self) -> Ledger {
        Ledger {
            account: self.totals(),
            ..Ledger::default()
        }
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = self.session().ledger();
        ledger += self.account();
        ledger
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::engine::outbox::run::Run;
    use crate::engine::outbox::tests::outbox;

    fn record(id: u64, room: usize) -> Arc<ClientRecord> {
        let peer = ([127, 0, 0, 1], 1).into();
        Arc::new(ClientRecord::new(outbox(id, 100, room).0, peer))
    }

    #[test]
    fn the_account_of_an_ended_connection_stays_in_the_sum() {
        let clients = Clients::default();
        let (publisher, reader) = (record(1, 100), record(2, 3));
        clients.enter(publisher.clone());
        clients.enter(reader.clone());
        publisher.begin(&clients);
        for message in [b"1;", b"2;", b"3;"] {
            reader
                .outbox()
                .lock()
                .deliver(&[&Run::borrowed(message, 1)]);
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
        reader.outbox().close();
        clients.leave(&reader);
        clients.leave(&publisher);
        let ledger = clients.audit().ledger;
        assert!(ledger.is_balanced(), "{ledger}");
        assert_eq!((ledger.tally.discarded, ledger.waiting), (2, 0));
    }

    #[test]
    fn a_session_that_waits_for_its_client_is_listed_and_not_connected() {
        let clients = Clients::default();
        let (one, other) = (record(1, 100), record(2, 100));
        clients.enter(one.clone());
        clients.enter(other.clone());
        clients.enter_internal(record(0, 0));
        clients.detach(&one);
        assert_eq!((clients.connected(), clients.most()), (1, 2));
        assert_eq!(clients.detached(), 1);
        assert!(!one.is_connected());
        let ids = |clients: &Clients| -> Vec<u64> {
            clients.present().iter().map(|each| each.id()).collect()
        };
        assert_eq!(ids(&clients), [1, 2]);
        clients.leave(&other);
        assert_eq!(ids(&clients), [1]);
        clients.end_detached(one.session());
        assert!(ids(&clients).is_empty());
        assert_eq!((clients.connected(), clients.detached()), (0, 0));
    }

    #[test]
    fn a_session_that_is_resumed_counts_once_and_in_the_row_of_its_new_connection() {
        let clients = Clients::default();
        let (first, next) = (record(1, 100), record(2, 100));
        clients.enter(first.clone());
        first.outbox().lock().deliver(&[&Run::borrowed(b"1;", 1)]);
        let totals = Totals {
            published: 1,
            matched: 1,
            copies: 1,
            ..Totals::default()
        };
        first.settle(totals, Moment::now(), 0);
        clients.detach(&first);
        clients.enter(next.clone());
        next.own_session().outbox().take_connection();
        clients.resume(&next, first.session());
        assert_eq!(next.session().id(), 1);
        assert_eq!((clients.connected(), clients.detached()), (1, 0));
        let ledger = clients.ledger();
        assert!(ledger.is_balanced(), "{ledger}");
        assert_eq!((ledger.account.published, ledger.taken), (1, 1));
        next.outbox().close();
        clients.leave(&next);
        assert_eq!(clients.ledger(), ledger);
    }

    #[test]
    fn whichever_outbox_a_connection_has_hurries() {
        let (first, next) = (record(1, 0), record(2, 0));
        let clients = Clients::default();
        clients.resume(&next, first.session());
        next.hurry();
        for outbox in [first.outbox(), next.own_session().outbox()] {
            outbox.lock().answer(b"x");
            // Would wait for ever without the hurry.
            outbox.drain(None);
        }
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
                        reader.outbox().lock().deliver(&[&Run::borrowed(b"x;", 1)]);
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
    fn what_becomes_of_the_identity_of_a_certificate_stays_when_another_was_assumed_meanwhile() {
        let name = || "meter".parse().expect("a name");
        let shown = Arc::new(ClientIdentity::of_certificate(name()));
        let record = record(1, 100);
        record.set_security(ConnectionSecurity {
            version: "1.3",
            suite: "",
            certificate: Some("meter".into()),
            identity: Mutex::new(Some(shown.clone())),
        });
        assert!(Arc::ptr_eq(&record.identity(), &shown));
        let mut renewed = ClientIdentity::of_certificate(name());
        renewed.groups.insert("admin".parse().expect("a name"));
        record.renew_identity(&shown, renewed.clone());
        assert_eq!(*record.identity(), renewed);
        let other = Arc::new(ClientIdentity::restored("ann".parse().expect("a name")));
        assert!(record.set_identity(Some(other.clone())));
        // It is another by now.
        record.renew_identity(&shown, ClientIdentity::of_certificate(name()));
        assert!(Arc::ptr_eq(&record.identity(), &other));
        assert!(record.set_identity(None));
        assert_eq!(*record.identity(), renewed);
    }
}
