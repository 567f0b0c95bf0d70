//! Many idle connections: how fast they connect, and how fast one message reaches all of them.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::BenchFailure;
use super::flow::Flow;
use super::frames::Frames;
use super::layout::Layout;
use super::link::{BenchLink, Dialer, TICK};
use super::progress;
use super::publisher::BenchPublisher;
use super::reader::SubscriberReader;
use super::report::BenchReport;
use super::settings::RunSettings;
use super::tally::Faults;
use super::times::{histogram, record};
use super::wire::PublishOptions;

/// Number of messages that are sent to all connections, one after another.
const BROADCASTS: u64 = 20;

/// `hold` is a pause after all are connected, in which the broker's memory can be measured.
pub(crate) fn run(settings: &RunSettings, hold: Duration) -> Result<BenchReport, BenchFailure> {
    let layout = &settings.layout;
    let begin = Instant::now();
    let links = connect(settings)?;
    let connecting = begin.elapsed();
    wait(hold, &settings.dialer);

    let flow = &Flow::new(layout);
    let link = settings.dialer.dial("p0", false)?;
    let frames = Frames::new(link.wire, 0, &[0], settings.size, PublishOptions::PLAIN, 1);
    let mut publisher = BenchPublisher::new(0, link, frames, layout, flow);
    let reader = SubscriberReader::new(links, layout, flow, settings.size)
        .map_err(BenchFailure::Resources)?;
    let all = layout.subscribers as u64;
    let (arrived_at_all, arrivals) = mpsc::channel();
    let mut times = histogram();
    let (broadcast, tallies) = thread::scope(|scope| {
        let mut copies = [0; BROADCASTS as usize];
        let reading = scope.spawn(move || {
            reader.run(|arrival| {
                let Some(copies) = copies.get_mut(arrival.number as usize) else {
                    return;
                };
                *copies += 1;
                if *copies == all {
                    // The receiver may have timed out.
                    let _ = arrived_at_all.send((arrival.number, arrival.now_ns));
                }
            })
        });
        let broadcast = (0..BROADCASTS).try_for_each(|number| {
            if let Some(time_ns) = broadcast(&mut publisher, number, &arrivals, &settings.dialer)? {
                record(&mut times, time_ns);
            }
            Ok(())
        });
        flow.close();
        (broadcast, reading.join().expect("no panic"))
    });
    let interrupted = settings.dialer.interrupt.is_raised();
    match broadcast {
        Err(BenchFailure::Interrupted) => {}
        broadcast => broadcast?,
    }

    let mut faults = Faults::default();
    for mut tally in tallies? {
        if !interrupted {
            tally.end(0, publisher.published());
        }
        faults += tally.faults();
    }
    let mut report = BenchReport::new("idle", settings);
    report.connections(settings.layout.subscribers, settings.size);
    report.pace("connected", all, connecting);
    report.times_head();
    report.times("to all", "broadcast", &times);
    report.faults(faults);
    report.interrupted = interrupted;
    Ok(report)
}

/// Connects and subscribes one after another.
fn connect(settings: &RunSettings) -> Result<Vec<BenchLink>, BenchFailure> {
    let topic = [Layout::topic(settings.dialer.target.wire, 0)];
    let bar = progress::bar(settings.progress, settings.layout.subscribers as u64);
    let links = (0..settings.layout.subscribers).map(|subscriber| {
        let mut link = settings.dialer.dial_subscriber(&format!("s{subscriber}"))?;
        link.subscribe(&topic)?;
        bar.inc(1);
        Ok(link)
    });
    let links = links.collect();
    bar.finish_and_clear();
    links
}

/// An interrupt ends the pause; publishing the first message reports it.
fn wait(hold: Duration, dialer: &Dialer) {
    let since = Instant::now();
    while since.elapsed() < hold && !dialer.interrupt.is_raised() {
        thread::sleep(TICK.min(hold - since.elapsed().min(hold)));
    }
}

/// Publishes one message; returns the time until the last connection had it. `None` after a
/// timeout.
fn broadcast(
    publisher: &mut BenchPublisher<'_>,
    number: u64,
    arrivals: &Receiver<(u64, u64)>,
    dialer: &Dialer,
) -> Result<Option<u64>, BenchFailure> {
    let sent_ns = publisher.flow.now_ns();
    publisher.publish(1)?;
    let since = Instant::now();
    while since.elapsed() < dialer.wait {
        if dialer.interrupt.is_raised() {
            return Err(BenchFailure::Interrupted);
        }
        match arrivals.recv_timeout(TICK.min(dialer.wait)) {
            Ok((arrived, now_ns)) if arrived == number => {
                publisher.link.receive(|_, _| {})?;
                // A pause, so that this message is fully handled before the next.
                thread::sleep(Duration::from_millis(1));
                return Ok(Some(now_ns.saturating_sub(sent_ns)));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // The reader has ended; its result says why.
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
    Ok(None)
}
