//! How the sources are laid out: which file lies on which floor, what must not be named where, how
//! long files and functions may be, and where a comment has to give a reason.
//!
//! The sources are read as text by `tests::source`, without comments and without unit tests, which
//! may reach where the code may not. Each check collects all its faults before it fails.

mod absent;
mod circles;
mod documents;
mod floors;
mod reasons;
mod sizes;
mod statements;

/// Fails with all the faults, if there are any.
#[track_caller]
fn none<T: AsRef<str>>(rule: &str, faults: impl IntoIterator<Item = T>) {
    let faults: Vec<String> = faults
        .into_iter()
        .map(|fault| format!("\n  {}", fault.as_ref()))
        .collect();
    assert!(faults.is_empty(), "{rule}:{}", faults.concat());
}
