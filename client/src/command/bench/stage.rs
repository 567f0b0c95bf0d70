//! What throughput, latency and acknowledged runs have in common: they connect everybody, let the
//! publishers play while one thread reads all subscribers, and add up what arrived.

use std::thread;
use std::time::Duration;

use super::flow::{Flow, room};
use super::frames::Frames;
use super::layout::{Layout, share};
use super::link::{BEAT, Link};
use super::progress::Progress;
use super::publisher::Publisher;
use super::reader::{Arrival, Reader};
use super::report::Report;
use super::settings::Setting;
use super::tally::{Faults, Tally};
use super::trouble::Trouble;

/// How the publishers of a run write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether messages are acknowledged.
    pub(crate) acked: bool,
    /// So many messages in one write at most.
    pub(crate) at_once: u64,
}

/// What came out of it. `W` is what each publisher brings back.
#[derive(Debug)]
pub(crate) struct Played<W> {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) faults: Faults,
    /// Until the broker had handled all that was published.
    pub(crate) publishing: Duration,
    /// Until the last message arrived.
    pub(crate) delivering: Duration,
    pub(crate) brought: Vec<W>,
    pub(crate) interrupted: bool,
}

impl<W> Played<W> {
    pub(crate) fn report_published(&self, report: &mut Report, size: usize) {
        report.rate("published", self.published, size, self.publishing);
    }

    pub(crate) fn report_delivered(&self, report: &mut Report, size: usize) {
        report.rate("delivered", self.delivered, size, self.delivering);
    }

    /// The last line of a report, and how the run ended.
    pub(crate) fn report_end(&self, report: &mut Report) {
        report.faults(self.faults);
        report.interrupted = self.interrupted;
    }
}

/// Runs `write` for every publisher, each on a thread of its own, and `on_message` for whatever
/// arrives.
pub(crate) fn play<W: Default + Send>(
    setting: &Setting,
    manner: Manner,
    write: impl Fn(&mut Publisher<'_>) -> Result<W, Trouble> + Sync,
    on_message: impl FnMut(Arrival<'_>) + Send,
) -> Result<Played<W>, Trouble> {
    let layout = &setting.layout;
    let subscribers = connect_subscribers(setting)?;
    let links = connect_publishers(setting, manner)?;
    let flow = Flow::new(layout);
    let reader = Reader::new(subscribers, layout, &flow, setting.size).map_err(Trouble::Machine)?;
    let publishers = links.into_iter().enumerate();
    let publishers: Vec<_> = publishers
        .map(|(number, link)| set_up(setting, manner, number, link, &flow))
        .collect();
    let (flow, write) = (&flow, &write);

    thread::scope(|scope| {
        let reading = scope.spawn(move || closing_on_trouble(flow, reader.run(on_message)));
        let writing = publishers.into_iter().map(|publisher| {
            scope.spawn(move || closing_on_trouble(flow, publish(publisher, write)))
        });
        let writing: Vec<_> = writing.collect();
        let mut progress = Progress::start(setting);
        while !writing.iter().all(thread::ScopedJoinHandle::is_finished) {
            progress.show(flow);
            thread::park_timeout(BEAT / 4);
            if setting.dialer.interrupt.is_raised() {
                flow.stop();
            }
        }
        let joined = writing
            .into_iter()
            .map(|writer| writer.join().expect("no panic"));
        let written: Result<Vec<Written<W>>, Trouble> = joined.collect();
        let interrupted = setting.dialer.interrupt.is_raised();
        if written.is_ok() && !interrupted {
            flow.wait_for_rest(setting.dialer.wait);
        }
        flow.close();
        progress.end();
        let tallies = reading.join().expect("no panic")?;
        Ok(add_up(layout, flow, tallies, written?, interrupted))
    })
}

/// What one publisher did.
struct Written<W> {
    published: u64,
    end_ns: u64,
    brought: W,
}

fn publish<W: Default>(
    mut publisher: Publisher<'_>,
    write: &impl Fn(&mut Publisher<'_>) -> Result<W, Trouble>,
) -> Result<Written<W>, Trouble> {
    // An interruption ends a measurement early, and what was measured counts.
    let brought = match write(&mut publisher) {
        Err(Trouble::Interrupted) => W::default(),
        brought => brought?,
    };
    match publisher.link.settle() {
        Err(Trouble::Interrupted) => {}
        settled => settled?,
    }
    Ok(Written {
        published: publisher.published(),
        end_ns: publisher.flow.now_ns(),
        brought,
    })
}

/// One thread's trouble ends the run for all.
fn closing_on_trouble<T>(flow: &Flow, result: Result<T, Trouble>) -> Result<T, Trouble> {
    result.inspect_err(|_| flow.close())
}

fn connect_subscribers(setting: &Setting) -> Result<Vec<Link>, Trouble> {
    let Setting { dialer, layout, .. } = setting;
    let links = (0..layout.subscribers).map(|subscriber| {
        let mut link = dialer.dial_subscriber(&format!("s{subscriber}"))?;
        let topics = layout.subscribed_by(subscriber).into_iter();
        let names = topics.map(|topic| Layout::topic(dialer.target.wire, topic));
        link.subscribe(&names.collect::<Vec<_>>())?;
        Ok(link)
    });
    links.collect()
}

fn connect_publishers(setting: &Setting, manner: Manner) -> Result<Vec<Link>, Trouble> {
    let links = (0..setting.layout.publishers)
        .map(|publisher| setting.dialer.dial(&format!("p{publisher}"), manner.acked));
    links.collect()
}

fn set_up<'a>(
    setting: &'a Setting,
    manner: Manner,
    number: usize,
    link: Link,
    flow: &'a Flow,
) -> Publisher<'a> {
    let layout = &setting.layout;
    let topics = layout.published_by(number);
    let Manner { acked, at_once } = manner;
    let frames = Frames::new(link.wire, number, &topics, setting.size, acked, at_once);
    let room = room(setting.cap, layout, frames.frame_bytes());
    Publisher::new(number, link, frames, layout, flow)
        .ending(setting.extent)
        .keeping(room, setting.dialer.wait)
}

fn add_up<W>(
    layout: &Layout,
    flow: &Flow,
    mut tallies: Vec<Tally>,
    written: Vec<Written<W>>,
    interrupted: bool,
) -> Played<W> {
    // What was on the way when the user interrupted is not lost.
    if !interrupted {
        for (publisher, Written { published, .. }) in written.iter().enumerate() {
            end_streams(layout, &mut tallies, publisher, *published);
        }
    }
    let mut faults = Faults::default();
    for tally in &tallies {
        faults += tally.faults();
    }
    let end_ns = written.iter().map(|written| written.end_ns).max();
    Played {
        published: written.iter().map(|written| written.published).sum(),
        delivered: tallies.iter().map(Tally::received).sum(),
        faults,
        publishing: Duration::from_nanos(end_ns.unwrap_or(0)),
        delivering: Duration::from_nanos(flow.last_ns()),
        brought: written.into_iter().map(|written| written.brought).collect(),
        interrupted,
    }
}

/// Tells the subscribers of a publisher how many messages there were.
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
