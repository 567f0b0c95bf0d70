//! Why a request of a client has no answer.

use protocol::Code;

/// A question or an order that is not answered, as an error for the client.
pub(crate) struct Unanswered {
    pub(crate) code: Code,
    /// Tells the client what to do.
    pub(crate) text: String,
}
