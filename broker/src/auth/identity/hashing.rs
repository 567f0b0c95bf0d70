//! The threads that compare passwords with their hashes, which costs tens of milliseconds each, so that they
//! take at most half of the processors from everything else.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::password::{HashMemory, StoredPassword};
use super::remembered::{Fingerprint, RememberedPasswords};
use super::secret::Secret;
use crate::sync::{AtomicU64, Ordering};

/// The threads. They end when this is dropped.
pub(super) struct HashThreads {
    line: Option<Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
    /// How many hashes they have computed.
    computed: Arc<AtomicU64>,
}

/// A password to compare.
pub(super) struct Question {
    pub(super) password: Secret,
    pub(super) stored: StoredPassword,
    /// What is remembered if it is right; nothing for a user that is not there.
    pub(super) fingerprint: Option<Fingerprint>,
    /// When the asking thread gives up.
    pub(super) deadline: Instant,
    pub(super) answer: Sender<bool>,
}

/// Why a password was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotCompared {
    /// Too many wait.
    LineFull,
    /// The deadline has passed.
    Late,
}

/// Maximum passwords that wait.
const MOST_WAITING: usize = 256;

impl HashThreads {
    pub(super) fn start(remembered: &Arc<RememberedPasswords>) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::start_with((processors / 2).max(1), remembered)
    }

    fn start_with(count: usize, remembered: &Arc<RememberedPasswords>) -> io::Result<Self> {
        let (line, questions) = bounded(MOST_WAITING);
        let computed: Arc<AtomicU64> = Arc::default();
        let start = |_| {
            let (questions, remembered) = (questions.clone(), remembered.clone());
            let computed = computed.clone();
            let thread = thread::Builder::new().name("passwords".to_owned());
            thread.spawn(move || compare_loop(&questions, &remembered, &computed))
        };
        let threads = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self {
            line: Some(line),
            threads,
            computed,
        })
    }

    /// How many hashes have been computed.
    pub(super) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// Compares a password, while this thread waits.
    pub(super) fn compare(
        &self,
        password: &Secret,
        stored: &StoredPassword,
        fingerprint: Option<Fingerprint>,
        deadline: Instant,
    ) -> Result<bool, NotCompared> {
        let (answer, answered) = bounded(1);
        let question = Question {
            password: password.copy(),
            stored: stored.clone(),
            fingerprint,
            deadline,
            answer,
        };
        let line = self.line.as_ref().expect("it is there until the drop");
        match line.try_send(question) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Err(NotCompared::LineFull);
            }
        }
        answered
            .recv_deadline(deadline)
            .map_err(|_| NotCompared::Late)
    }
}

impl Drop for HashThreads {
    fn drop(&mut self) {
        self.line = None;
        for thread in self.threads.drain(..) {
            // A panic has been told by its hook.
            let _ = thread.join();
        }
    }
}

fn compare_loop(
    questions: &Receiver<Question>,
    remembered: &RememberedPasswords,
    computed: &AtomicU64,
) {
    let mut memory = HashMemory::default();
    loop {
        let question = questions.try_recv().or_else(|_| {
            memory.release();
            questions.recv()
        });
        // It fails when the broker stops.
        let Ok(question) = question else { return };
        if Instant::now() >= question.deadline {
            continue;
        }
        let fingerprint = question.fingerprint;
        // Many clients with one password may have come at once; the first of them was enough.
        let is_right = fingerprint.is_some_and(|it| remembered.is_right(&it, Instant::now())) || {
            computed.fetch_add(1, Ordering::Relaxed);
            question.stored.matches(&question.password, &mut memory)
        };
        if let Some(fingerprint) = fingerprint.filter(|_| is_right) {
            remembered.remember(fingerprint, Instant::now());
        }
        // The asking thread may have given up.
        let _ = question.answer.send(is_right);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into()).expect("a secret")
    }

    #[test]
    fn beyond_the_line_a_question_is_refused_at_once_and_a_late_one_is_given_up() {
        // Without a thread the line does not move.
        let stored = StoredPassword::of(&secret("right")).expect("random bytes");
        let (line, _questions) = bounded(MOST_WAITING);
        let threads = HashThreads {
            line: Some(line),
            threads: Vec::new(),
            computed: Arc::default(),
        };
        let late = Instant::now();
        for _ in 0..MOST_WAITING {
            assert_eq!(
                threads.compare(&secret("right"), &stored, None, late),
                Err(NotCompared::Late)
            );
        }
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(
            threads.compare(&secret("right"), &stored, None, later),
            Err(NotCompared::LineFull)
        );
        assert!(Instant::now() < later);
    }

    #[test]
    fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let remembered = Arc::new(RememberedPasswords::new().expect("random bytes"));
        let threads = HashThreads::start_with(1, &remembered).expect("a thread");
        let stored = StoredPassword::of(&secret("right")).expect("random bytes");
        let deadline = Instant::now() + Duration::from_secs(60);
        for (text, is_right) in [("wrong", false), ("right", true)] {
            let password = secret(text);
            let fingerprint =
                remembered.fingerprint(&"ann".parse().expect("a name"), &stored, &password);
            let compared = threads.compare(&password, &stored, Some(fingerprint), deadline);
            assert_eq!(compared, Ok(is_right));
            assert_eq!(remembered.is_right(&fingerprint, Instant::now()), is_right);
        }
    }

    #[test]
    fn the_threads_end_before_what_they_belong_to_does() {
        let remembered = Arc::new(RememberedPasswords::new().expect("random bytes"));
        let threads = HashThreads::start_with(2, &remembered).expect("threads");
        assert_eq!(Arc::strong_count(&remembered), 3);
        drop(threads);
        assert_eq!(Arc::strong_count(&remembered), 1);
    }
}
