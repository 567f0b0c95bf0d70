//! How far followers are.

use crate::engine::Engine;

/// The followers that are there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FollowerFigures {
    pub(crate) live: usize,
    pub(crate) behind: usize,
    /// Entries of the log behind the place of the one that is the furthest behind.
    pub(crate) lag: u64,
}

impl FollowerFigures {
    pub(crate) fn of(engine: &Engine) -> Self {
        let mut figures = Self::default();
        let history = engine.router.history();
        let Some(history) = history.filter(|history| history.tail().followers() > 0) else {
            return figures;
        };
        for record in engine.clients.present() {
            match record.outbox().lock().followed_to() {
                None => {}
                Some(None) => figures.live += 1,
                Some(Some(next)) => {
                    figures.behind += 1;
                    figures.lag = figures.lag.max(history.next().saturating_sub(next));
                }
            }
        }
        figures
    }
}
