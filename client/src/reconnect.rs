//! Reconnects after a lost connection, with exponential backoff and jitter: clients that lost the
//! same broker at the same moment do not all come back at once.

use std::time::{Duration, Instant};

use client::{Error, Interrupt};

use crate::stderr::say;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A connection that lasted this long resets the backoff.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// How long to wait before the next attempt.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    /// Told before the reason of the first pause.
    lost: &'static str,
    /// Told when there is a connection again, unless the caller does.
    regained: Option<&'static str>,
}

const REGAINED: &str = "connected again; messages may have been missed meanwhile";

/// What a follower is told that has a connection again, and maybe goes on where it lost the one before.
pub(crate) fn regained(is_resumed: bool) -> &'static str {
    match is_resumed {
        true => "connected again; messages on topics that keep none may have been missed meanwhile",
        false => REGAINED,
    }
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            lost: "lost the broker: ",
            regained: Some(REGAINED),
        }
    }

    /// The pauses of a client that only publishes.
    pub(crate) fn of_publisher() -> Self {
        Self {
            regained: Some("connected again; going on with the first message without a receipt"),
            ..Self::new()
        }
    }

    /// The pauses of a client that says itself when there is a connection again.
    pub(crate) fn of_follower() -> Self {
        Self {
            regained: None,
            ..Self::new()
        }
    }

    /// Resets the backoff if the last connection lasted long enough.
    pub(crate) fn connection_held(&mut self, time: Duration) {
        if time >= GOOD_CONNECTION {
            self.next = FIRST_PAUSE;
        }
    }

    /// Doubles the pause up to the maximum; `share`, from 0 to 1, is the jitter within its second
    /// half.
    fn next(&mut self, share: f64) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(LONGEST_PAUSE);
        longest.mul_f64(0.5 + share / 2.0)
    }

    /// Calls `connect` until it succeeds and reports each attempt through `tell`. `None` if the
    /// deadline passes first; an error only if another attempt cannot help.
    pub(crate) fn reconnect<T>(
        &mut self,
        lost: &Error,
        interrupt: &Interrupt,
        deadline: Option<Instant>,
        mut connect: impl FnMut() -> Result<T, Error>,
        mut tell: impl FnMut(String),
    ) -> Result<Option<T>, Error> {
        let mut reason = format!("{}{lost}", self.lost);
        loop {
            let pause = self.next(fastrand::f64());
            let seconds = pause.as_secs_f64();
            tell(format!("{reason}; trying again in {seconds:.1} s"));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if interrupt.wait(left.map_or(pause, |left| left.min(pause))) {
                return Err(Error::Interrupted);
            }
            if left.is_some_and(|left| left <= pause) {
                return Ok(None);
            }
            match connect() {
                Ok(client) => {
                    self.regained.map(str::to_owned).map(&mut tell);
                    return Ok(Some(client));
                }
                Err(error) if is_worth_another_try(&error) => reason = error.to_string(),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Calls `connect` for a first connection; if `waits` and it fails in a way that may pass, until it
/// succeeds. `None` if the deadline passes first.
pub(crate) fn first<T>(
    waits: bool,
    interrupt: &Interrupt,
    deadline: Option<Instant>,
    mut connect: impl FnMut() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    match connect() {
        Err(error) if waits && is_worth_another_try(&error) => {
            let mut pauses = Pauses {
                lost: "",
                regained: Some("connected"),
                ..Pauses::new()
            };
            let tell = |text| say(format_args!("client: {text}"));
            pauses.reconnect(&error, interrupt, deadline, connect, tell)
        }
        connected => connected.map(Some),
    }
}

/// Whether a new connection may help.
pub(crate) fn is_worth_another_try(error: &Error) -> bool {
    error.is_disconnect() || matches!(error, Error::NoAnswer { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let mut pauses = Pauses::new();
        let millis: Vec<_> = (0..8).map(|_| pauses.next(1.0).as_millis()).collect();
        assert_eq!(millis, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_pause_is_at_least_half_of_its_length() {
        assert_eq!(Pauses::new().next(0.0), FIRST_PAUSE / 2);
    }

    #[test]
    fn only_a_good_connection_makes_the_pauses_short_again() {
        let mut pauses = Pauses::new();
        pauses.next(1.0);
        pauses.connection_held(Duration::from_secs(1));
        assert_eq!(pauses.next(1.0), FIRST_PAUSE * 2);
        pauses.connection_held(GOOD_CONNECTION);
        assert_eq!(pauses.next(1.0), FIRST_PAUSE);
    }
}
