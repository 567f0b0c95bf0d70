//! Who clients are, and what they may do.

pub(crate) mod address;
pub mod identity;
