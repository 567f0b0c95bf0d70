//! The progress bar of a run.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::flow::Flow;
use super::publisher::Extent;
use super::settings::RunSettings;

/// Time between two updates of the rate.
const RATE_EVERY: Duration = Duration::from_millis(500);

/// A progress bar on standard error, or none.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    counts_messages: bool,
    last: (Instant, u64),
}

impl Progress {
    pub(crate) fn start(settings: &RunSettings) -> Self {
        let (length, counts_messages) = match settings.extent {
            Extent::Time(time) => (time.as_millis() as u64, false),
            Extent::Count(count) => (count, true),
        };
        Self {
            bar: bar(settings.progress, length),
            counts_messages,
            last: (Instant::now(), 0),
        }
    }

    pub(crate) fn show(&mut self, flow: &Flow) {
        if self.bar.is_hidden() {
            return;
        }
        let published = flow.published();
        let position = if self.counts_messages {
            published
        } else {
            flow.now_ns() / 1_000_000
        };
        self.bar.set_position(position);
        let (since, before) = self.last;
        let time = since.elapsed();
        if time >= RATE_EVERY {
            let rate = (published - before) as f64 / time.as_secs_f64();
            self.bar
                .set_message(format!("{} msg/s", HumanCount(rate as u64)));
            self.last = (Instant::now(), published);
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar that is visible only at a terminal.
pub(crate) fn bar(wanted: bool, length: u64) -> ProgressBar {
    if !wanted || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.with_style(style.expect("a template of ours"))
}
