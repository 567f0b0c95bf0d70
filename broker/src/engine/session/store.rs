//! Sessions by client identifier: each is served by one connection at a time, resumed, and ended when
//! it expires.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::{Lifecycle, Session, Will};
use crate::sync::{Condvar, Mutex};

/// Maximum time that a connection waits for the one that has its session.
const TAKE_OVER_TIME: Duration = Duration::from_secs(3);

/// Entries of `due` for each session above which outdated ones are removed.
const DUE_PER_SESSION: usize = 4;

/// All sessions whose clients have an identifier.
#[derive(Default)]
pub(crate) struct SessionStore {
    table: Mutex<SessionTable>,
    /// Signalled when a session is detached or ends, when there is a new entry in `due`, and when the
    /// broker stops.
    changed: Condvar,
}

#[derive(Default)]
struct SessionTable {
    /// By client identifier [MQTT-3.1.3-2].
    sessions: HashMap<Box<str>, Arc<Session>, RandomState>,
    /// When to check which session. Entries may be outdated; the session decides.
    due: BinaryHeap<Reverse<(Instant, Box<str>)>>,
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
}

/// An event that is due for a disconnected client.
pub(crate) enum Due {
    Will(Will),
    /// The session has expired.
    Expired(Arc<Session>),
}

impl SessionStore {
    /// Opens the session of a client. If a connection has it, `take_over` asks that one to leave, and
    /// its end is awaited. A `clean` session is always the connection's `own`.
    pub(crate) fn open(
        &self,
        client_id: &str,
        own: &Arc<Session>,
        clean: bool,
        take_over: impl Fn(&Session),
    ) -> Opened {
        let mut table = self.table.lock();
        let mut deadline = None;
        while let Some(session) = table.sessions.get(client_id)
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
        // [MQTT-3.1.2-4] of 3.1.1, [MQTT-3.1.2-5] of 5.0.
        if !clean && let Some(session) = table.sessions.get(client_id) {
            session.attach();
            // Its last connection may have ended by itself just before the takeover. Only under the
            // table's lock is it certain that the next takeover has not begun.
            session.outbox().reopen();
            return Opened::Resumed(session.clone());
        }
        // A new session, because the client asks for one [MQTT-3.1.2-6] (3.1.1) [MQTT-3.1.2-4] (5.0),
        // or because it has none [MQTT-3.1.2-4] (3.1.1) [MQTT-3.1.2-6] (5.0).
        let _ = own.client_id.set(client_id.into());
        let before = table.sessions.insert(client_id.into(), own.clone());
        Opened::New(before.inspect(|before| before.end()))
    }

    /// The connection of this session has ended, and the session continues.
    pub(crate) fn detach(&self, session: &Session) {
        let mut table = self.table.lock();
        let moments = session.detach(Instant::now());
        if let Some(client_id) = session.client_id() {
            for moment in moments.into_iter().flatten() {
                table.due.push(Reverse((moment, client_id.into())));
            }
        }
        if table.due.len() > 64 + DUE_PER_SESSION * table.sessions.len() {
            table.drop_outdated();
        }
        drop(table);
        self.changed.notify_all();
    }

    /// A session has ended with its connection.
    pub(crate) fn end(&self, session: &Session) {
        let mut table = self.table.lock();
        session.end();
        if let Some(client_id) = session.client_id()
            // Another one may have replaced it.
            && let Some(present) = table.sessions.get(client_id)
            && present.id() == session.id()
        {
            table.sessions.remove(client_id);
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
            match table.due.peek() {
                None => self.changed.wait(&mut table),
                Some(Reverse((moment, _))) if *moment > now => {
                    let moment = *moment;
                    self.changed.wait_until(&mut table, moment);
                }
                Some(_) => {
                    if let Some(due) = table.take_due(now) {
                        return Some(due);
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
    /// The event of the next entry, unless that is outdated.
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        let Reverse((_, client_id)) = self.due.pop()?;
        let session = self.sessions.get(&client_id)?;
        let Lifecycle::Detached { until } = session.lifecycle() else {
            return None;
        };
        // [MQTT-4.1.0-2] of 5.0.
        if until.is_some_and(|until| until <= now) {
            session.end();
            return self.sessions.remove(&client_id).map(Due::Expired);
        }
        session.take_due_will(now).map(Due::Will)
    }

    fn drop_outdated(&mut self) {
        let moments = self.sessions.iter().flat_map(|(client_id, session)| {
            let moments = session.due().into_iter().flatten();
            moments.map(|moment| Reverse((moment, client_id.clone())))
        });
        self.due = moments.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::engine::memory::budget::Memory;
    use crate::engine::outbox::tests::outbox;
    use crate::engine::session::Expiry;

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
            delay,
            due: None,
            _charge: Arc::new(Memory::new(100)).charge(0),
        }
    }

    /// A detached session.
    fn detached(store: &SessionStore, id: u64, client_id: &str, expiry: Expiry) -> Arc<Session> {
        let session = session(id);
        let opened = store.open(client_id, &session, false, no_take_over);
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
        let Opened::Resumed(resumed) = store.open("ann", &session(2), false, no_take_over) else {
            panic!("it is there");
        };
        assert_eq!(resumed.id(), 1);
        assert_eq!(resumed.lifecycle(), Lifecycle::Attached);
        let opened = store.open("bob", &session(3), false, no_take_over);
        assert!(matches!(opened, Opened::New(None)));
    }

    #[test]
    fn a_client_that_begins_anew_ends_its_earlier_session() {
        let store = SessionStore::default();
        let first = detached(&store, 1, "ann", Expiry::Never);
        let next = session(2);
        let Opened::New(Some(before)) = store.open("ann", &next, true, no_take_over) else {
            panic!("it is there");
        };
        assert_eq!(before.id(), 1);
        assert_eq!(first.lifecycle(), Lifecycle::Ended);
        assert_eq!(next.client_id(), Some("ann"));
        // The end of the earlier one does not end its replacement.
        store.end(&first);
        store.detach(&next);
        let opened = store.open("ann", &session(3), false, no_take_over);
        assert!(matches!(opened, Opened::Resumed(each) if each.id() == 2));
    }

    #[test]
    fn the_connection_that_has_a_session_is_asked_to_leave_and_waited_for() {
        let store = SessionStore::default();
        let first = session(1);
        store.open("ann", &first, false, no_take_over);
        let opened = thread::scope(|scope| {
            let asked = |asked: &Session| {
                assert_eq!(asked.id(), 1);
                scope.spawn(|| store.detach(&first));
            };
            store.open("ann", &session(2), false, asked)
        });
        assert!(matches!(opened, Opened::Resumed(each) if each.id() == 1));
    }

    #[test]
    fn a_session_that_ends_with_its_connection_is_not_found_again() {
        let store = SessionStore::default();
        let first = session(1);
        store.open("ann", &first, false, no_take_over);
        store.end(&first);
        assert_eq!(first.lifecycle(), Lifecycle::Ended);
        let opened = store.open("ann", &session(2), false, no_take_over);
        assert!(matches!(opened, Opened::New(None)));
    }

    #[test]
    fn wills_and_ends_become_due_in_their_order() {
        let store = SessionStore::default();
        let session = session(1);
        store.open("ann", &session, false, no_take_over);
        session.set_expiry(Expiry::After(Duration::from_millis(20)));
        session.set_will(Some(will(Duration::from_millis(5))));
        assert!(session.take_will_at_end().is_none(), "it has a delay");
        store.detach(&session);
        assert!(matches!(store.next_due(), Some(Due::Will(_))));
        assert!(matches!(store.next_due(), Some(Due::Expired(each)) if each.id() == 1));
        assert_eq!(session.lifecycle(), Lifecycle::Ended);
        store.close();
        assert!(store.next_due().is_none());
    }

    #[test]
    fn a_client_that_comes_back_in_time_has_no_will_published_and_no_end() {
        let store = SessionStore::default();
        let first = session(1);
        store.open("ann", &first, false, no_take_over);
        first.set_expiry(Expiry::After(Duration::from_millis(20)));
        first.set_will(Some(will(Duration::from_millis(10))));
        store.detach(&first);
        let opened = store.open("ann", &session(2), false, no_take_over);
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
            let opened = store.open("ann", &session(id), false, no_take_over);
            let Opened::Resumed(session) = opened else {
                panic!("it is there");
            };
            session.set_will(Some(will(Duration::from_secs(30))));
            store.detach(&session);
        }
        let due = store.table.lock().due.len();
        assert!(due <= 64 + DUE_PER_SESSION, "{due} entries");
    }
}
