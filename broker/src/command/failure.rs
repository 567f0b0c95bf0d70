//! Why a tool has not done what it was told to.

/// A line each.
pub(super) type Failures = Vec<String>;

/// A failure in one line.
pub(super) fn one(failure: &str) -> Failures {
    vec![failure.to_owned()]
}
