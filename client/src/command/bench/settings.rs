//! The settings of a run of any kind.

use super::layout::Layout;
use super::link::Dialer;
use super::publisher::Extent;
use super::wire::PublishOptions;

const WRITES_ON_THE_WAY: usize = 4;

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub(crate) dialer: Dialer,
    pub(crate) layout: Layout,
    /// Size of a payload in bytes.
    pub(crate) size: usize,
    pub(crate) extent: Extent,
    pub(crate) publish: PublishOptions,
    /// How many bytes of frames a subscriber may be behind.
    pub(crate) cap: usize,
    pub(crate) progress: bool,
}

impl RunSettings {
    /// Messages in one write. One write is a small part of what may be in flight, so that writing
    /// and reading overlap.
    pub(crate) fn most_at_once(&self) -> u64 {
        (self.cap / WRITES_ON_THE_WAY / self.size).max(1) as u64
    }
}
