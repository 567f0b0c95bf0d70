//! Who clients are, and what they may do.

pub mod access;
pub(crate) mod address;
pub mod identity;
pub(crate) mod rate;
