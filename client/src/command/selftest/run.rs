//! Runs several cases at a time, and reports them in the order of the table.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::case::Case;

use super::context::{TestContext, TestServer};
use super::finding::Checked;
use super::property::Properties;
use super::version::MqttVersion;

/// The outcome of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) checked: Checked,
    pub(crate) took: Duration,
}

/// The properties that the server announces in its CONNACK.
pub(crate) fn introduce(target: &TestServer, version: MqttVersion) -> Checked<Properties> {
    let nothing = Properties::default();
    let context = TestContext::new(target, version, &nothing);
    let (peer, connack) = context.open(&context.connect_packet("probe"))?;
    peer.leave()?;
    Ok(connack.properties)
}

/// Runs `cases` and passes their outcomes to `tell` in order. Ends early if `tell` fails.
pub(crate) fn all(
    target: &TestServer,
    version: MqttVersion,
    server_properties: &Properties,
    cases: &[Case],
    jobs: NonZeroUsize,
    mut tell: impl FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let next = &next;
    thread::scope(|scope| {
        let (sender, outcomes) = mpsc::channel();
        for _ in 0..jobs.get().min(cases.len()) {
            let sender = sender.clone();
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else {
                        return;
                    };
                    let outcome = one(target, version, server_properties, case);
                    if sender.send((index, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut turn = 0;
        for (index, outcome) in outcomes {
            early.insert(index, outcome);
            while let Some(outcome) = early.remove(&turn) {
                tell(&outcome)?;
                turn += 1;
            }
        }
        Ok(())
    })
}

fn one(
    target: &TestServer,
    version: MqttVersion,
    server_properties: &Properties,
    case: &Case,
) -> Outcome {
    let start = Instant::now();
    let context = TestContext::new(target, version, server_properties);
    let checked = (case.check)(&context);
    context.clean_up();
    Outcome {
        case: *case,
        checked,
        took: start.elapsed(),
    }
}
