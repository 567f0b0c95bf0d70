//! A case: what the standard says, and how it is seen from outside.

use std::fmt::{self, Display};

use super::lab::Lab;
use super::version::Version;

/// So many bytes of a packet are told.
const SHOWN_BYTES: usize = 60;

/// What a check ends with.
pub(crate) type Checked<T = ()> = Result<T, Finding>;

/// Why a statement was not seen to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The server does something else.
    Differs { expected: String, came: String },
    /// The server says that it lacks what this is about.
    Unsupported(String),
}

impl Finding {
    pub(crate) fn differs(expected: impl Display, came: impl Display) -> Self {
        Self::Differs {
            expected: expected.to_string(),
            came: came.to_string(),
        }
    }

    /// The same, seen after these bytes were sent.
    pub(crate) fn after(self, bytes: &[u8]) -> Self {
        match self {
            Self::Differs { expected, came } => Self::Differs {
                came: format!("{came}, after the bytes {}", hex(bytes)),
                expected,
            },
            unsupported @ Self::Unsupported(_) => unsupported,
        }
    }

    pub(crate) fn unsupported<T>(what: impl Display) -> Checked<T> {
        Err(Self::Unsupported(what.to_string()))
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { expected, came } => write!(f, "expected {expected}; but {came}"),
            Self::Unsupported(why) => f.write_str(why),
        }
    }
}

/// The first of the bytes.
fn hex(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes
        .iter()
        .take(SHOWN_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let rest = if bytes.len() > SHOWN_BYTES {
        " ..."
    } else {
        ""
    };
    shown.join(" ") + rest
}

/// `came` has to be what was `expected`.
#[track_caller]
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, came: T, expected: T) -> Checked {
    if came == expected {
        return Ok(());
    }
    Err(Finding::differs(
        format_args!("{what} to be {expected:?}"),
        format_args!("{came:?}"),
    ))
}

/// Something has to hold; `came` says what is there instead.
pub(crate) fn holds(is_so: bool, expected: impl Display, came: impl Display) -> Checked {
    if is_so {
        return Ok(());
    }
    Err(Finding::differs(expected, came))
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The statement's number in each version that has it, without `MQTT-`.
    v3: Option<&'static str>,
    v5: Option<&'static str>,
    /// What is checked, in our own words.
    pub(crate) sentence: &'static str,
    pub(crate) check: fn(&Lab<'_>) -> Checked,
}

impl Case {
    /// For both versions, where the statements have these numbers.
    pub(crate) const fn both(
        v3: &'static str,
        v5: &'static str,
        sentence: &'static str,
        check: fn(&Lab<'_>) -> Checked,
    ) -> Self {
        let (v3, v5) = (Some(v3), Some(v5));
        Self {
            v3,
            v5,
            sentence,
            check,
        }
    }

    /// For MQTT 3.1.1 alone.
    pub(crate) const fn v3(
        number: &'static str,
        sentence: &'static str,
        check: fn(&Lab<'_>) -> Checked,
    ) -> Self {
        Self {
            v3: Some(number),
            v5: None,
            sentence,
            check,
        }
    }

    /// For MQTT 5 alone.
    pub(crate) const fn v5(
        number: &'static str,
        sentence: &'static str,
        check: fn(&Lab<'_>) -> Checked,
    ) -> Self {
        Self {
            v3: None,
            v5: Some(number),
            sentence,
            check,
        }
    }

    /// The statement's number in this version, if it has it.
    pub(crate) fn number(&self, version: Version) -> Option<&'static str> {
        match version {
            Version::V3 => self.v3,
            Version::V5 => self.v5,
        }
    }
}
