//! The common part of throughput, latency and acknowledged runs: connects all clients, runs a
//! thread for each publisher and one that reads all subscribers, and adds up the results.

use std::thread;
use std::time::Duration;

use super::failure::BenchFailure;
use super::flow::{Flow, room};
use super::frames::Frames;
use super::layout::{Layout, share};
use super::link::{BenchLink, TICK};
use super::progress::Progress;
use super::publisher::BenchPublisher;
use super::reader::{Arrival, SubscriberReader};
use super::report::BenchReport;
use super::settings::RunSettings;
use super::tally::{Faults, Tally};
use super::wire::PublishOptions;

/// The result of a run. `W` is the result of one publisher.
#[derive(Debug)]
pub(crate) struct PhaseResult<W> {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) faults: Faults,
    /// Until the broker had handled all that was published.
    pub(crate) publishing: Duration,
    /// Until the last message arrived.
    pub(crate) delivering: Duration,
    pub(crate) outcomes: Vec<W>,
    pub(crate) interrupted: bool,
}

impl<W> PhaseResult<W> {
    pub(crate) fn report_published(&self, report: &mut BenchReport, size: usize) {
        report.rate("published", self.published, size, self.publishing);
    }

    pub(crate) fn report_delivered(&self, report: &mut BenchReport, size: usize) {
        report.rate("delivered", self.delivered, size, self.delivering);
    }

    /// The last line of a report, and how the run ended.
    pub(crate) fn report_end(&self, report: &mut BenchReport) {
        report.faults(self.faults);
        report.interrupted = self.interrupted;
    }
}

/// Runs `write` for every publisher, each on a thread of its own, and `on_message` for every
/// message that arrives. A publisher writes at most `at_once` messages in one write.
pub(crate) fn run_phase<W: Default + Send>(
    settings: &RunSettings,
    at_once: u64,
    write: impl Fn(&mut BenchPublisher<'_>) -> Result<W, BenchFailure> + Sync,
    on_message: impl FnMut(Arrival<'_>) + Send,
) -> Result<PhaseResult<W>, BenchFailure> {
    let layout = &settings.layout;
    let subscribers = connect_subscribers(settings)?;
    let links = connect_publishers(settings)?;
    let flow = Flow::new(layout);
    let reader = SubscriberReader::new(subscribers, layout, &flow, settings.size)
        .map_err(BenchFailure::Resources)?;
    let publishers = links.into_iter().enumerate();
    let publishers: Vec<_> = publishers
        .map(|(number, link)| set_up(settings, at_once, number, link, &flow))
        .collect();
    let (flow, write) = (&flow, &write);

    thread::scope(|scope| {
        let reading = scope.spawn(move || closing_on_failure(flow, reader.run(on_message)));
        let writing = publishers.into_iter().map(|publisher| {
            scope.spawn(move || closing_on_failure(flow, publish(publisher, write)))
        });
        let writing: Vec<_> = writing.collect();
        let mut progress = Progress::start(settings);
        while !writing.iter().all(thread::ScopedJoinHandle::is_finished) {
            progress.show(flow);
            thread::park_timeout(TICK / 4);
            if settings.dialer.interrupt.is_raised() {
                flow.stop();
            }
        }
        let joined = writing
            .into_iter()
            .map(|writer| writer.join().expect("no panic"));
        let written: Result<Vec<PublisherResult<W>>, BenchFailure> = joined.collect();
        let interrupted = settings.dialer.interrupt.is_raised();
        if written.is_ok() && !interrupted {
            flow.wait_for_rest(settings.dialer.wait);
        }
        flow.close();
        progress.end();
        let tallies = reading.join().expect("no panic")?;
        Ok(add_up(layout, flow, tallies, written?, interrupted))
    })
}

/// The outcome of one publisher.
struct PublisherResult<W> {
    published: u64,
    end_ns: u64,
    outcome: W,
}

fn publish<W: Default>(
    mut publisher: BenchPublisher<'_>,
    write: &impl Fn(&mut BenchPublisher<'_>) -> Result<W, BenchFailure>,
) -> Result<PublisherResult<W>, BenchFailure> {
    // An interrupt ends the measurement early; the result counts nevertheless.
    let outcome = match write(&mut publisher) {
        Err(BenchFailure::Interrupted) => W::default(),
        outcome => outcome?,
    };
    match publisher.link.settle() {
        Err(BenchFailure::Interrupted) => {}
        settled => settled?,
    }
    Ok(PublisherResult {
        published: publisher.published(),
        end_ns: publisher.flow.now_ns(),
        outcome,
    })
}

/// The failure of one thread ends the run.
fn closing_on_failure<T>(flow: &Flow, result: Result<T, BenchFailure>) -> Result<T, BenchFailure> {
    result.inspect_err(|_| flow.close())
}

fn connect_subscribers(settings: &RunSettings) -> Result<Vec<BenchLink>, BenchFailure> {
    let RunSettings { dialer, layout, .. } = settings;
    let links = (0..layout.subscribers).map(|subscriber| {
        let mut link = dialer.dial_subscriber(&format!("s{subscriber}"))?;
        let topics = layout.subscribed_by(subscriber).into_iter();
        let names = topics.map(|topic| Layout::topic(dialer.target.wire, topic));
        link.subscribe(&names.collect::<Vec<_>>())?;
        Ok(link)
    });
    links.collect()
}

fn connect_publishers(settings: &RunSettings) -> Result<Vec<BenchLink>, BenchFailure> {
    let PublishOptions { acked, level, .. } = settings.publish;
    let links = (0..settings.layout.publishers).map(|publisher| {
        let mut link = settings.dialer.dial_publisher(publisher, acked)?;
        link.is_told_levels = level.is_some();
        Ok(link)
    });
    links.collect()
}

fn set_up<'a>(
    settings: &'a RunSettings,
    at_once: u64,
    number: usize,
    link: BenchLink,
    flow: &'a Flow,
) -> BenchPublisher<'a> {
    let layout = &settings.layout;
    let topics = layout.published_by(number);
    let RunSettings { size, publish, .. } = *settings;
    let frames = Frames::new(link.wire, number, &topics, size, publish, at_once);
    let room = room(settings.cap, layout, frames.frame_bytes());
    BenchPublisher::new(number, link, frames, layout, flow)
        .ending(settings.extent)
        .keeping(room, settings.dialer.wait)
}

fn add_up<W>(
    layout: &Layout,
    flow: &Flow,
    mut tallies: Vec<Tally>,
    written: Vec<PublisherResult<W>>,
    interrupted: bool,
) -> PhaseResult<W> {
    // Messages in flight at an interrupt are not lost.
    if !interrupted {
        for (publisher, PublisherResult { published, .. }) in written.iter().enumerate() {
            end_streams(layout, &mut tallies, publisher, *published);
        }
    }
    let mut faults = Faults::default();
    for tally in &tallies {
        faults += tally.faults();
    }
    let end_ns = written.iter().map(|written| written.end_ns).max();
    PhaseResult {
        published: written.iter().map(|written| written.published).sum(),
        delivered: tallies.iter().map(Tally::received).sum(),
        faults,
        publishing: Duration::from_nanos(end_ns.unwrap_or(0)),
        delivering: Duration::from_nanos(flow.last_ns()),
        outcomes: written.into_iter().map(|written| written.outcome).collect(),
        interrupted,
    }
}

/// Ends the streams of a publisher at the number of its messages.
fn end_streams(layout: &Layout, tallies: &mut [Tally], publisher: usize, published: u64) {
    let topics = layout.published_by(publisher);
    for (place, &topic) in topics.iter().enumerate() {
        let numbers = share(published, topics.len(), place);
        let stream = layout.stream(publisher, topic);
        let subscribers = if layout.spread {
            let group = layout.group_of(topic);
            &mut tallies[group..=group]
        } else {
            &mut tallies[..]
        };
        for tally in subscribers {
            tally.end(stream, numbers);
        }
    }
}
