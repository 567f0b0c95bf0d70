//! How safe the messages are that `publish --ack` and `play --ack` have published.

use std::fmt;

use client::{AckLevel, Reached, Receipt};

use crate::exit::{Exit, Failure};

/// What was reached, if it is what was asked for; otherwise a failure that says what to do, `to_keep` where they are not
/// kept. The messages are published in either case.
pub(in crate::command) fn check(
    asked: AckLevel,
    receipt: &Receipt,
    to_keep: &str,
) -> Result<Reached, Failure> {
    let published = match receipt.published {
        1 => "your message was published".to_owned(),
        n => format!("your {n} messages were published"),
    };
    let less = |why: fmt::Arguments<'_>| {
        let why = format_args!("{published}, but {why}");
        Failure::new(Exit::LessSafe, "client", why)
    };
    let Some(reached) = receipt.reached else {
        return Err(less(format_args!(
            "the broker does not say at which level; publish to one that does, or leave out --ack"
        )));
    };
    let level = reached.level;
    if level >= asked {
        return Ok(reached);
    }
    let advice = match level {
        AckLevel::Mem => to_keep,
        AckLevel::Os | AckLevel::Disk => {
            "the disk of the broker has failed: its operator finds the reason in its log"
        }
    };
    Err(match receipt.published {
        1 => less(format_args!("only at level {level}, not {asked}; {advice}")),
        _ => less(format_args!(
            "not all at level {asked}, the lowest is {level}; {advice}"
        )),
    })
}

/// What to do so that a message is kept that `publish` has published.
pub(super) fn to_keep(is_retained: bool) -> &'static str {
    match is_retained {
        true => "the broker keeps nothing: start it with --data DIR",
        false => {
            "the topic keeps nothing: give -r, or start the broker with --data DIR and a rule --keep for it"
        }
    }
}

/// What was reached, as a line of the output.
pub(in crate::command) fn line(reached: &Reached) -> String {
    let level = reached.level;
    match reached.position {
        Some(position) => format!("level {level}, position {position}\n"),
        None => format!("level {level}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: AckLevel = AckLevel::Disk;

    /// The text for these messages that asked for this level.
    #[track_caller]
    fn check_failure(asked: AckLevel, receipt: &Receipt, is_retained: bool, text: &str) {
        let failure = check(asked, receipt, to_keep(is_retained)).expect_err("a failure");
        assert_eq!(failure.text(), text);
    }

    fn receipt(published: u64, level: Option<AckLevel>) -> Receipt {
        Receipt {
            published,
            reached: level.map(|level| Reached {
                level,
                position: None,
            }),
            ..Receipt::default()
        }
    }

    #[test]
    fn a_level_that_is_at_least_what_was_asked_for_is_a_success() {
        for asked in AckLevel::ALL {
            for level in AckLevel::ALL {
                let checked = check(asked, &receipt(1, Some(level)), "");
                assert_eq!(checked.is_ok(), level >= asked, "{asked}, {level}");
            }
            assert!(check(asked, &receipt(1, None), "").is_err());
        }
    }

    #[test]
    fn a_lower_level_comes_with_what_to_do() {
        let mem = Some(AckLevel::Mem);
        check_failure(
            DISK,
            &receipt(1, mem),
            false,
            "client: your message was published, but only at level mem, not disk; the topic \
             keeps nothing: give -r, or start the broker with --data DIR and a rule --keep for it",
        );
        check_failure(
            AckLevel::Os,
            &receipt(3, mem),
            true,
            "client: your 3 messages were published, but not all at level os, the lowest is mem; \
             the broker keeps nothing: start it with --data DIR",
        );
        check_failure(
            DISK,
            &receipt(1, Some(AckLevel::Os)),
            true,
            "client: your message was published, but only at level os, not disk; the disk of the \
             broker has failed: its operator finds the reason in its log",
        );
        check_failure(
            AckLevel::Mem,
            &receipt(2, None),
            true,
            "client: your 2 messages were published, but the broker does not say at which level; \
             publish to one that does, or leave out --ack",
        );
    }
}
