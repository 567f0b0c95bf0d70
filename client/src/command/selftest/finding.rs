//! Why a statement does not hold, and the checks that find that out.

use std::fmt::{self, Display};

/// Maximum number of bytes of a packet that are printed.
const SHOWN_BYTES: usize = 60;

/// The result of a check.
pub(crate) type Checked<T = ()> = Result<T, Finding>;

/// Why a statement does not hold, or could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The server behaves differently.
    Differs { expected: String, came: String },
    /// The server has announced that it lacks the feature.
    Unsupported(String),
}

impl Finding {
    pub(crate) fn differs(expected: impl Display, came: impl Display) -> Self {
        Self::Differs {
            expected: expected.to_string(),
            came: came.to_string(),
        }
    }

    /// The same finding with the bytes that were sent before it.
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

/// The first bytes in hexadecimal.
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

/// Checks that `came` equals `expected`.
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

/// Checks a condition; `came` describes what was found instead.
pub(crate) fn holds(is_so: bool, expected: impl Display, came: impl Display) -> Checked {
    if is_so {
        return Ok(());
    }
    Err(Finding::differs(expected, came))
}
