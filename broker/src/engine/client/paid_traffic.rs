//! What of a client's traffic was taken from the rates of its identity.

/// The traffic up to the last time that the client paid for it.
#[derive(Default)]
pub(super) struct PaidTraffic {
    pub(super) published: u64,
    pub(super) bytes: u64,
    /// The client has rested since that was asked last.
    pub(super) has_rested: bool,
}
