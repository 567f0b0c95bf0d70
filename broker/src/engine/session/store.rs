//! Sessions by owner and client identifier: each is served by one connection at a time, resumed, and ended when
//! it expires.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::key::SessionKey;
use super::{Lifecycle, Session, Will};
use crate::auth::address::{AddressBlock, BlockCounts};
use crate::auth::identity::IdentityName;
use crate::sync::{Condvar, Mutex, Ordering};

/// Maximum time that a connection waits for the one that has its session.
const TAKE_OVER_TIME: Duration = Duration::from_secs(3);

/// Time after which what waits for an absent client is limited to its share: a client that comes back at
/// once finds everything.
const GRACE: Duration = Duration::from_secs(5);

/// Entries of `due` for each session above which outdated ones are removed.
const DUE_PER_SESSION: usize = 4;

/// All sessions whose clients have an identifier.
#[derive(Default)]
pub(crate) struct SessionStore {
    table: Mutex<SessionTable>,
    /// Sessions whose progress is to be kept.
    progressed: Mutex<Vec<Arc<Session>>>,
    /// Signalled when a session is detached or ends, when there is a new entry in `due`, and when the
    /// broker stops.
    changed: Condvar,
}

#[derive(Default)]
struct SessionTable {
    sessions: HashMap<Arc<SessionKey>, Arc<Session>, RandomState>,
    /// When to check which session. Entries may be outdated; the session decides.
    due: BinaryHeap<Reverse<(Instant, Arc<SessionKey>)>>,
    /// Which sessions are detached, and when [`GRACE`] has passed for them; in order.
    left: VecDeque<(Instant, Arc<SessionKey>)>,
    /// The address for which each session that outlasts connections is counted.
    claimed: HashMap<Arc<SessionKey>, AddressBlock, RandomState>,
    counts: BlockCounts,
    /// The number of these sessions of each owner.
    of_owners: HashMap<IdentityName, usize, RandomState>,
    closed: bool,
}

/// The result of opening a session.
pub(crate) enum Opened {
    /// The connection's own session begins; it may replace an earlier one, which ends.
    New(Option<Arc<Session>>),
    /// An earlier session is resumed.
    Resumed(Arc<Session>),
    /// The connection that has it does not end.
    Busy,
    /// There are as many sessions as there may be.
    Full(TooManySessions),
}

/// A session that is to outlast its connection.
pub(crate) struct Claim {
    pub(crate) address: AddressBlock,
    /// Maximum sessions in all, and for one address.
    pub(crate) most: usize,
    pub(crate) most_per_address: usize,
    /// Maximum sessions of its owner.
    pub(crate) most_per_owner: usize,
}

/// Why there is no room for a session that outlasts its connection. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooManySessions {
    InAll(usize),
    OfAddress(usize),
    OfOwner(usize),
}

impl fmt::Display for TooManySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, whose) = match self {
            Self::InAll(most) => (most, ""),
            Self::OfAddress(most) => (most, " for one address"),
            Self::OfOwner(most) => (most, " for one identity"),
        };
        write!(
            f,
            "the broker keeps {most} sessions{whose} and no more; connect with a clean session that ends \
             with its connection, or end one of the others that way"
        )
    }
}

/// An event that is due for a disconnected client.
pub(crate) enum Due {
    Will(Will),
    /// The session has expired.
    Expired(Arc<Session>),
    /// The client has been away for [`GRACE`].
    Away(Arc<Session>),
}

impl SessionStore {
    /// Opens the session of a client. If a connection has it, `take_over` asks that one to leave, and
    /// its end is awaited. A `clean` session is always the connection's `own`. With a `claim` it is to
    /// outlast its connection, and there may be too many of those.
    pub(crate) fn open(
        &self,
        key: &Arc<SessionKey>,
        own: &Arc<Session>,
        clean: bool,
        claim: Option<&Claim>,
        take_over: impl Fn(&Session),
    ) -> Opened {
        let mut table = self.table.lock();
        let mut deadline = None;
        while let Some(session) = table.sessions.get(key)
            && session.is_attached()
        {
            match deadline {
                None => {
                    let session = session.clone();
                    // `take_over` locks an outbox and may send, so the table is unlocked meanwhile.
                    drop(table);
                    take_over(&session);
                    deadline = Some(Instant::now() + TAKE_OVER_TIME);
                    table = self.table.lock();
                }
                Some(end) => {
                    if self.changed.wait_until(&mut table, end).timed_out() {
                        return Opened::Busy;
                    }
                }
            }
        }
        // Before anything is done: an earlier session stays as it is if there is no room for this one.
        if let Some(claim) = claim
            && let Err(full) = table.claim(key, claim)
        {
            return Opened::Full(full);
        }
        // [MQTT-3.1.2-4] of 3.1.1, [MQTT-3.1.2-5] of 5.0.
        if !clean && let Some(session) = table.sessions.get(key) {
            session.attach();
            // Its last connection may have ended by itself just before the takeover. Only under the
            // table's lock is it certain that the next takeover has not begun.
            session.outbox().reopen();
            return Opened::Resumed(session.clone());
        }
        // A new session, because the client asks for one [MQTT-3.1.2-6] (3.1.1) [MQTT-3.1.2-4] (5.0),
        // or because it has none [MQTT-3.1.2-4] (3.1.1) [MQTT-3.1.2-6] (5.0).
        let _ = own.key.set(key.clone());
        if claim.is_none() {
            table.release(key);
        }
        let before = table.sessions.insert(key.clone(), own.clone());
        Opened::New(before.inspect(|before| before.end()))
    }

    /// Adds a session of an earlier process, whose client is away and which is kept for so long still; none for ever.
    pub(crate) fn restore(&self, session: &Arc<Session>, left: Option<Duration>) {
        let Some(key) = session.key() else {
            return;
        };
        let now = Instant::now();
        let moments = session.detach(now, left);
        let mut table = self.table.lock();
        // Not for the address, which is not known, nor against a limit: it was there before.
        let unknown = AddressBlock::of(Ipv4Addr::UNSPECIFIED.into());
        table.add_claim(key, unknown);
        table.sessions.insert(key.clone(), session.clone());
        for moment in moments.into_iter().flatten() {
            table.due.push(Reverse((moment, key.clone())));
        }
    }

    /// The progress of a session is to be kept.
    pub(crate) fn note_progress(&self, session: &Arc<Session>) {
        // Relaxed: the lock of the list orders what matters.
        if !session.has_progress.swap(true, Ordering::Relaxed) {
            self.progressed.lock().push(session.clone());
        }
    }

    /// The sessions whose progress is to be kept.
    pub(crate) fn take_progressed(&self) -> Vec<Arc<Session>> {
        let progressed = std::mem::take(&mut *self.progressed.lock());
        for session in &progressed {
            // Before it is read: what comes meanwhile is noted again.
            session.has_progress.store(false, Ordering::Relaxed);
        }
        progressed
    }

    /// The connection of this session has ended, and the session continues.
    pub(crate) fn detach(&self, session: &Session) {
        let mut table = self.table.lock();
        let now = Instant::now();
        let left = session.expires_after(now);
        let moments = session.detach(now, left);
        if let Some(key) = session.key() {
            table.left.push_back((now + GRACE, key.clone()));
            for moment in moments.into_iter().flatten() {
                table.due.push(Reverse((moment, key.clone())));
            }
        }
        if table.due.len() > 64 + DUE_PER_SESSION * table.sessions.len() {
            table.drop_outdated();
        }
        drop(table);
        self.changed.notify_all();
    }

    /// Whether a connection has this session.
    pub(crate) fn is_attached(&self, key: &SessionKey) -> bool {
        let table = self.table.lock();
        table
            .sessions
            .get(key)
            .is_some_and(|session| session.is_attached())
    }

    /// All sessions for which this holds.
    pub(crate) fn find(&self, is_wanted: impl Fn(&SessionKey) -> bool) -> Vec<Arc<Session>> {
        let table = self.table.lock();
        let found = table.sessions.iter().filter(|(key, _)| is_wanted(key));
        found.map(|(_, session)| session.clone()).collect()
    }

    /// Ends a session whose client is away, so that no connection resumes it. Returns whether it was; the
    /// caller closes it.
    pub(crate) fn end_detached(&self, session: &Session) -> bool {
        let mut table = self.table.lock();
        let is_away = matches!(session.lifecycle(), Lifecycle::Detached { .. });
        if let Some(key) = session.key().filter(|_| is_away) {
            table.sessions.remove(key);
            table.release(key);
            session.end();
        }
        is_away
    }

    /// A session has ended with its connection.
    pub(crate) fn end(&self, session: &Session) {
        let mut table = self.table.lock();
        session.end();
        if let Some(key) = session.key()
            // Another one may have replaced it.
            && let Some(present) = table.sessions.get(key)
            && present.id() == session.id()
        {
            table.sessions.remove(key);
            table.release(key);
        }
        drop(table);
        self.changed.notify_all();
    }

    /// Waits until an event is due. None when the broker stops.
    pub(crate) fn next_due(&self) -> Option<Due> {
        let mut table = self.table.lock();
        loop {
            if table.closed {
                return None;
            }
            let now = Instant::now();
            let first = table.due.peek().map(|Reverse((moment, _))| *moment);
            let left = table.left.front().map(|(moment, _)| *moment);
            match first.into_iter().chain(left).min() {
                None => self.changed.wait(&mut table),
                Some(moment) if moment > now => {
                    self.changed.wait_until(&mut table, moment);
                }
                Some(_) => {
                    let due = table.take_left(now).or_else(|| table.take_due(now));
                    if due.is_some() {
                        return due;
                    }
                }
            }
        }
    }

    /// Ends [`SessionStore::next_due`].
    pub(crate) fn close(&self) {
        self.table.lock().closed = true;
        self.changed.notify_all();
    }
}

impl SessionTable {
    /// Counts a session that outlasts its connection, unless it is counted already.
    fn claim(&mut self, key: &Arc<SessionKey>, claim: &Claim) -> Result<(), TooManySessions> {
        if self.claimed.contains_key(key) {
            return Ok(());
        }
        if self.counts.total() >= claim.most {
            return Err(TooManySessions::InAll(claim.most));
        }
        if self.counts.of(claim.address) >= claim.most_per_address {
            return Err(TooManySessions::OfAddress(claim.most_per_address));
        }
        let of_owner = self.of_owners.get(&key.owner).copied().unwrap_or(0);
        if of_owner >= claim.most_per_owner {
            return Err(TooManySessions::OfOwner(of_owner));
        }
        self.add_claim(key, claim.address);
        Ok(())
    }

    fn add_claim(&mut self, key: &Arc<SessionKey>, address: AddressBlock) {
        self.claimed.insert(key.clone(), address);
        self.counts.add(address);
        *self.of_owners.entry(key.owner.clone()).or_default() += 1;
    }

    /// The session outlasts its connection no more.
    fn release(&mut self, key: &SessionKey) {
        if let Some(address) = self.claimed.remove(key) {
            self.counts.remove(address);
            if let Entry::Occupied(mut of_owner) = self.of_owners.entry(key.owner.clone()) {
                *of_owner.get_mut() -= 1;
                if *of_owner.get() == 0 {
                    of_owner.remove();
                }
            }
        }
    }

    /// The next session for which [`GRACE`] has passed, if its client is still away.
    fn take_left(&mut self, now: Instant) -> Option<Due> {
        let (_, key) = self.left.pop_front_if(|(moment, _)| *moment <= now)?;
        let session = self.sessions.get(&key)?;
        matches!(session.lifecycle(), Lifecycle::Detached { .. })
            .then(|| Due::Away(session.clone()))
    }

    /// The event of the next entry, unless that is outdated.
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        let is_due = self.due.peek().is_some_and(|Reverse((due, _))| *due <= now);
        if !is_due {
            return None;
        }
        let Reverse((_, key)) = self.due.pop()?;
        let session = self.sessions.get(&key)?;
        let Lifecycle::Detached { until } = session.lifecycle() else {
            return None;
        };
        // [MQTT-4.1.0-2] of 5.0.
        if until.is_some_and(|until| until <= now) {
            session.end();
            self.release(&key);
            return self.sessions.remove(&key).map(Due::Expired);
        }
        session.take_due_will(now).map(Due::Will)
    }

    fn drop_outdated(&mut self) {
        let moments = self.sessions.iter().flat_map(|(key, session)| {
            let moments = session.due().into_iter().flatten();
            moments.map(|moment| Reverse((moment, key.clone())))
        });
        self.due = moments.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::auth::identity::ClientIdentity;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::tests::outbox;
    use crate::engine::session::Expiry;
    use crate::engine::session::WillOwner;

    fn key(client_id: &str) -> Arc<SessionKey> {
        Arc::new(SessionKey {
            owner: "meters".parse().expect("a name"),
            client_id: client_id.into(),
        })
    }

    fn session(id: u64) -> Arc<Session> {
        Arc::new(Session::new(outbox(id, 100, 100).0))
    }

    fn no_take_over(_: &Session) {
        panic!("no connection has the session");
    }

    fn will(delay: Duration) -> Will {
        Will {
            line: b"PUBLISH a gone".to_vec(),
            qos: 0,
            owner: WillOwner {
                identity: Arc::new(ClientIdentity::anonymous()),
                client_id: None,
            },
            delay,
            due: None,
            _charge: Arc::new(Memory::new(100)).charge(0),
        }
    }

    /// A detached session.
    fn detached(store: &SessionStore, id: u64, client_id: &str, expiry: Expiry) -> Arc<Session> {
        let session = session(id);
        let opened = store.open(&key(client_id), &session, false, None, no_take_over);
        assert!(matches!(opened, Opened::New(None)));
        session.set_expiry(expiry);
        store.detach(&session);
        session
    }

    #[test]
    fn a_client_that_comes_back_finds_its_session() {
        let store = SessionStore::default();
        let first = detached(&store, 1, "ann", Expiry::Never);
        assert_eq!(first.lifecycle(), Lifecycle::Detached { until: None });
        let Opened::Resumed(resumed) =
            store.open(&key("ann"), &session(2), false, None, no_take_over)
        else {
            panic!("it is there");
        };
        assert_eq!(resumed.id(), 1);
        assert_eq!(resumed.lifecycle(), Lifecycle::Attached);
        let opened = store.open(&key("bob"), &session(3), false, None, no_take_over);
        assert!(matches!(opened, Opened::New(None)));
    }

    #[test]
    fn a_session_belongs_to_one_identity_from_birth_to_end() {
        let store = SessionStore::default();
        let first = detached(&store, 1, "ann", Expiry::Never);
        let of_thief = Arc::new(SessionKey {
            owner: "thief".parse().expect("a name"),
            ..(*key("ann")).clone()
        });
        for clean in [false, true] {
            let opened = store.open(&of_thief, &session(2), clean, None, no_take_over);
            let Opened::New(before) = opened else {
                panic!("it is of another identity");
            };
            assert!(before.is_none_or(|before| before.id() != 1));
            assert_eq!(first.lifecycle(), Lifecycle::Detached { until: None });
            let thiefs = store.find(|key| *key == *of_thief);
            store.detach(&thiefs[0]);
        }
        let opened = store.open(&key("ann"), &session(3), false, None, no_take_over);
        assert!(matches!(opened, Opened::Resumed(each) if each.id() == 1));
    }

    #[test]
    fn a_client_that_begins_anew_ends_its_earlier_session() {
        let store = SessionStore::default();
        let first = detached(&store, 1, "ann", Expiry::Never);
        let next = session(2);
        let Opened::New(Some(before)) = store.open(&key("ann"), &next, true, None, no_take_over)
        else {
            panic!("it is there");
        };
        assert_eq!(before.id(), 1);
        assert_eq!(first.lifecycle(), Lifecycle::Ended);
        assert_eq!(next.client_id(), Some("ann"));
        // The end of the earlier one does not end its replacement.
        store.end(&first);
        store.detach(&next);
        let opened = store.open(&key("ann"), &session(3), false, None, no_take_over);
        assert!(matches!(opened, Opened::Resumed(each) if each.id() == 2));
    }

    #[test]
    fn the_connection_that_has_a_session_is_asked_to_leave_and_waited_for() {
        let store = SessionStore::default();
        let first = session(1);
        store.open(&key("ann"), &first, false, None, no_take_over);
        let opened = thread::scope(|scope| {
            let asked = |asked: &Session| {
                assert_eq!(asked.id(), 1);
                scope.spawn(|| store.detach(&first));
            };
            store.open(&key("ann"), &session(2), false, None, asked)
        });
        assert!(matches!(opened, Opened::Resumed(each) if each.id() == 1));
    }

    #[test]
    fn a_session_that_ends_with_its_connection_is_not_found_again() {
        let store = SessionStore::default();
        let first = session(1);
        store.open(&key("ann"), &first, false, None, no_take_over);
        store.end(&first);
        assert_eq!(first.lifecycle(), Lifecycle::Ended);
        let opened = store.open(&key("ann"), &session(2), false, None, no_take_over);
        assert!(matches!(opened, Opened::New(None)));
    }

    #[test]
    fn wills_and_ends_become_due_in_their_order() {
        let store = SessionStore::default();
        let [session, other] = [1, 2].map(session);
        store.open(&key("ann"), &session, false, None, no_take_over);
        // However long this thread is kept waiting, the session is there when its will is due.
        session.set_expiry(Expiry::After(Duration::from_secs(3600)));
        session.set_will(Some(will(Duration::from_millis(5))));
        assert!(session.take_will_at_end().is_none(), "it has a delay");
        store.detach(&session);
        assert!(matches!(store.next_due(), Some(Due::Will(_))));
        let opened = store.open(&key("ann"), &other, false, None, no_take_over);
        assert!(matches!(opened, Opened::Resumed(_)));
        session.set_expiry(Expiry::After(Duration::from_millis(5)));
        store.detach(&session);
        assert!(matches!(store.next_due(), Some(Due::Expired(each)) if each.id() == 1));
        assert_eq!(session.lifecycle(), Lifecycle::Ended);
        store.close();
        assert!(store.next_due().is_none());
    }

    #[test]
    fn sessions_can_be_opened_while_the_next_end_is_waited_for() {
        let store = SessionStore::default();
        detached(&store, 1, "ann", Expiry::After(Duration::from_secs(3600)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| store.next_due());
            // Long enough that it waits.
            thread::sleep(Duration::from_millis(50));
            let opened = store.open(&key("ann"), &session(2), false, None, no_take_over);
            assert!(matches!(opened, Opened::Resumed(_)));
            store.close();
            let due = waiting.join().expect("no panic");
            assert!(due.is_none());
        });
    }

    #[test]
    fn a_client_that_is_away_for_the_time_of_grace_is_told_of_once() {
        let store = SessionStore::default();
        detached(&store, 1, "ann", Expiry::Never);
        let mut table = store.table.lock();
        let left = Instant::now();
        assert!(table.take_left(left).is_none(), "it may come back at once");
        let later = left + GRACE;
        assert!(matches!(table.take_left(later), Some(Due::Away(each)) if each.id() == 1));
        assert!(table.take_left(later).is_none());
    }

    #[test]
    fn a_client_that_comes_back_in_time_has_no_will_published_and_no_end() {
        let store = SessionStore::default();
        let first = session(1);
        store.open(&key("ann"), &first, false, None, no_take_over);
        first.set_expiry(Expiry::After(Duration::from_millis(20)));
        first.set_will(Some(will(Duration::from_millis(10))));
        store.detach(&first);
        let opened = store.open(&key("ann"), &session(2), false, None, no_take_over);
        assert!(matches!(opened, Opened::Resumed(_)));
        // Due after both times have passed: nothing else happened in between.
        detached(&store, 3, "bob", Expiry::After(Duration::from_millis(40)));
        assert!(matches!(store.next_due(), Some(Due::Expired(each)) if each.id() == 3));
    }

    #[test]
    fn a_will_without_a_delay_or_of_a_session_that_ends_is_published_at_once() {
        let session = session(1);
        session.set_will(Some(will(Duration::from_secs(60))));
        assert!(session.take_will_at_end().is_some(), "the session ends");
        session.set_expiry(Expiry::Never);
        assert!(session.outlasts_connection());
        session.set_will(Some(will(Duration::ZERO)));
        assert!(session.take_will_at_end().is_some(), "no delay");
        assert!(session.take_will_at_end().is_none());
    }

    #[test]
    fn entries_that_are_out_of_date_do_not_pile_up() {
        let store = SessionStore::default();
        detached(&store, 1, "ann", Expiry::After(Duration::from_secs(60)));
        for id in 2..200 {
            let opened = store.open(&key("ann"), &session(id), false, None, no_take_over);
            let Opened::Resumed(session) = opened else {
                panic!("it is there");
            };
            session.set_will(Some(will(Duration::from_secs(30))));
            store.detach(&session);
        }
        let due = store.table.lock().due.len();
        assert!(due <= 64 + DUE_PER_SESSION, "{due} entries");
    }

    #[test]
    fn the_session_of_a_client_that_is_away_can_be_ended() {
        let store = SessionStore::default();
        let first = claim(&store, 1, "a", [10, 0, 0, 1]).expect("there is room");
        assert!(!store.end_detached(&first), "a connection has it");
        store.detach(&first);
        let find = |name| store.find(|key| key.is_meant_by(name));
        for name in ["a", "meters/a"] {
            assert_eq!(find(name).len(), 1, "{name}");
        }
        assert!(store.end_detached(&first), "its client is away");
        assert_eq!(first.lifecycle(), Lifecycle::Ended);
        assert!(find("a").is_empty() && !store.end_detached(&first));
        assert_eq!(store.table.lock().counts.total(), 0);
    }

    /// Opens a session that outlasts its connection; returns whether there is room for it.
    fn claim(
        store: &SessionStore,
        id: u64,
        client_id: &str,
        address: [u8; 4],
    ) -> Result<Arc<Session>, TooManySessions> {
        let session = session(id);
        session.set_expiry(Expiry::Never);
        let claim = Claim {
            address: AddressBlock::of(address.into()),
            most: 3,
            most_per_address: 2,
            most_per_owner: usize::MAX,
        };
        match store.open(&key(client_id), &session, false, Some(&claim), |_| {}) {
            Opened::New(_) => Ok(session),
            Opened::Resumed(session) => Ok(session),
            Opened::Full(full) => Err(full),
            Opened::Busy => panic!("no connection has it"),
        }
    }

    #[test]
    fn sessions_that_outlast_their_connections_are_limited_in_all_and_for_each_address() {
        let store = SessionStore::default();
        let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let opens = |id, client_id: &str, address| claim(&store, id, client_id, address);
        let a = opens(1, "a", one).expect("there is room");
        store.detach(&opens(2, "b", one).expect("there is room"));
        assert_eq!(
            opens(3, "c", one).err(),
            Some(TooManySessions::OfAddress(2))
        );
        // Neither what is resumed nor what ends with its connection is another.
        assert!(opens(4, "b", other).is_ok());
        let clean = store.open(&key("d"), &session(5), true, None, no_take_over);
        assert!(matches!(clean, Opened::New(None)));
        let e = opens(6, "e", other).expect("there is room");
        assert_eq!(opens(7, "f", other).err(), Some(TooManySessions::InAll(3)));
        // What has ended makes room, however it has.
        store.end(&a);
        assert!(opens(8, "c", one).is_ok());
        assert_eq!(opens(9, "f", other).err(), Some(TooManySessions::InAll(3)));
        store.detach(&e);
        let clean = store.open(&key("e"), &session(10), true, None, no_take_over);
        assert!(matches!(clean, Opened::New(Some(_))));
        assert!(opens(11, "f", other).is_ok());
    }

    #[test]
    fn sessions_are_counted_for_their_owner_until_they_end() {
        let store = SessionStore::default();
        let open = |id, owner: &str, client_id: &str, most_per_owner| {
            let session = session(id);
            session.set_expiry(Expiry::Never);
            let key = Arc::new(SessionKey {
                owner: owner.parse().expect("a name"),
                client_id: client_id.into(),
            });
            let claim = Claim {
                address: AddressBlock::of([10, 0, 0, 1].into()),
                most: 100,
                most_per_address: 100,
                most_per_owner,
            };
            match store.open(&key, &session, false, Some(&claim), |_| {}) {
                Opened::New(_) => Ok(session),
                Opened::Resumed(session) => Ok(session),
                Opened::Full(full) => Err(full),
                Opened::Busy => panic!("no connection has it"),
            }
        };
        let a = open(1, "ann", "a", 2).expect("there is room");
        store.detach(&open(2, "ann", "b", 2).expect("there is room"));
        assert_eq!(
            open(3, "ann", "c", 2).err(),
            Some(TooManySessions::OfOwner(2))
        );
        // A lower limit ends none, and what is there goes on.
        assert_eq!(
            open(3, "ann", "c", 0).err(),
            Some(TooManySessions::OfOwner(2))
        );
        store.detach(&open(4, "ann", "b", 0).expect("it is there"));
        assert!(open(5, "bob", "a", 1).is_ok());
        store.end(&a);
        store.end(&a);
        assert!(open(6, "ann", "c", 2).is_ok());
        let key = store.find(|key| key.is_meant_by("ann/b"));
        assert!(store.end_detached(&key[0]));
        assert_eq!(store.table.lock().of_owners.values().sum::<usize>(), 2);
    }

    #[test]
    fn a_session_that_expires_makes_room() {
        let store = SessionStore::default();
        let address = [10, 0, 0, 1];
        for (id, client_id) in [(1, "a"), (2, "b")] {
            let session = claim(&store, id, client_id, address).expect("room");
            session.set_expiry(Expiry::After(Duration::from_millis(id)));
            store.detach(&session);
        }
        assert!(claim(&store, 3, "c", address).is_err());
        let due = store.next_due();
        assert!(matches!(due, Some(Due::Expired(_))));
        assert!(claim(&store, 4, "c", address).is_ok());
    }
}
