//! Round trips: one connection sends requests on a topic, another answers on a second topic.

use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::failure::BenchFailure;
use super::flow::Flow;
use super::frames::Frames;
use super::layout::Layout;
use super::link::{BenchLink, Dialer, TICK};
use super::payload;
use super::progress::Progress;
use super::publisher::Extent;
use super::report::BenchReport;
use super::settings::RunSettings;
use super::tally::Tally;
use super::times::{histogram, record};
use super::wire::{Protocol, PublishOptions};

const QUESTIONS: usize = 0;
const ANSWERS: usize = 1;

pub(crate) fn run(settings: &RunSettings) -> Result<BenchReport, BenchFailure> {
    let dialer = &settings.dialer;
    let topic = |topic| Layout::topic(dialer.target.wire, topic);
    let mut asker = Endpoint::connect(dialer, "asker", topic(ANSWERS))?;
    let mut answerer = Endpoint::connect(dialer, "answerer", topic(QUESTIONS))?;

    let flow = &Flow::new(&settings.layout);
    let (asked, answered) = thread::scope(|scope| {
        let answering = scope.spawn(|| answer(&mut answerer, &topic(ANSWERS), flow));
        let asked = ask(settings, &mut asker, flow);
        flow.close();
        (asked, answering.join().expect("no panic"))
    });
    // The failure of the answering side is the cause if there were no answers, so it is reported
    // first.
    let interrupted = dialer.interrupt.is_raised();
    match answered {
        Err(BenchFailure::Interrupted) => {}
        answered => answered?,
    }
    let AskerResult {
        tally,
        times,
        seconds,
    } = asked?;

    let mut report = BenchReport::new("request", settings);
    report.connections(2, settings.size);
    report.pace("round trips", tally.received(), seconds);
    report.times_head();
    report.times("round trip", "round_trip", &times);
    report.faults(tally.faults());
    report.interrupted = interrupted;
    Ok(report)
}

/// A client that subscribes and publishes.
#[derive(Debug)]
struct Endpoint {
    link: BenchLink,
    /// A second connection, if the protocol does not let a subscriber publish.
    publish_link: Option<BenchLink>,
}

impl Endpoint {
    fn connect(dialer: &Dialer, name: &str, listens_to: String) -> Result<Self, BenchFailure> {
        let mut link = dialer.dial_subscriber(name)?;
        link.subscribe(&[listens_to])?;
        let publish_link = if link.wire.subscribers_may_publish() {
            None
        } else {
            Some(dialer.dial(&format!("{name}-publisher"), false)?)
        };
        Ok(Self { link, publish_link })
    }

    /// The protocol of its publishing connection.
    fn wire(&self) -> &'static dyn Protocol {
        self.publish_link.as_ref().unwrap_or(&self.link).wire
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), BenchFailure> {
        match &mut self.publish_link {
            Some(publish_link) => {
                publish_link.receive(|_, _| {})?;
                publish_link.send(bytes)
            }
            None => self.link.send(bytes),
        }
    }
}

struct AskerResult {
    tally: Tally,
    times: hdrhistogram::Histogram<u64>,
    seconds: Duration,
}

/// Sends one request after another.
fn ask(
    settings: &RunSettings,
    endpoint: &mut Endpoint,
    flow: &Flow,
) -> Result<AskerResult, BenchFailure> {
    let mut frames = Frames::new(
        endpoint.wire(),
        0,
        &[QUESTIONS],
        settings.size,
        PublishOptions::PLAIN,
        1,
    );
    let mut tally = Tally::new(1);
    let mut times = histogram();
    let mut progress = Progress::start(settings);
    let mut asked = 0;
    let begin = Instant::now();
    let goes_on = |asked| match settings.extent {
        Extent::Time(time) => begin.elapsed() < time,
        Extent::Count(count) => asked < count,
    };
    while goes_on(asked) && !flow.is_stopped() {
        frames.set(0, QUESTIONS, asked, asked);
        flow.add_published(QUESTIONS, 1);
        let sent = Instant::now();
        endpoint.say(frames.first(1))?;
        match await_answer(
            &mut endpoint.link,
            &mut tally,
            asked,
            settings.dialer.wait,
            flow,
        ) {
            Ok(true) => record(&mut times, sent.elapsed().as_nanos() as u64),
            Ok(false) => {}
            Err(BenchFailure::Interrupted) => break,
            Err(failure) => return Err(failure),
        }
        asked += 1;
        progress.show(flow);
    }
    progress.end();
    let seconds = begin.elapsed();
    if !settings.dialer.interrupt.is_raised() {
        tally.end(0, asked);
    }
    Ok(AskerResult {
        tally,
        times,
        seconds,
    })
}

/// Waits for the answer to a request; returns whether it arrived in time.
fn await_answer(
    link: &mut BenchLink,
    tally: &mut Tally,
    question: u64,
    wait: Duration,
    flow: &Flow,
) -> Result<bool, BenchFailure> {
    let since = Instant::now();
    let mut has_come = false;
    let mut is_strange = false;
    while !has_come && since.elapsed() < wait && !flow.is_stopped() {
        link.wait(PollFlags::IN, TICK.min(wait))?;
        link.receive(|_, payload| match payload::number(payload) {
            Some((_, number)) => {
                tally.push(0, number);
                has_come |= number == question;
            }
            None => is_strange = true,
        })?;
        if is_strange {
            return Err(BenchFailure::Unexpected);
        }
    }
    Ok(has_come)
}

/// Answers each request with its own payload.
fn answer(endpoint: &mut Endpoint, topic: &str, flow: &Flow) -> Result<(), BenchFailure> {
    let wire = endpoint.wire();
    let mut answers = Vec::new();
    let mut echo = |endpoint: &mut Endpoint| {
        endpoint.link.wait(PollFlags::IN, TICK)?;
        let answer = |_: &[u8], payload: &[u8]| {
            wire.publish(topic, payload, PublishOptions::PLAIN, &mut answers)
        };
        endpoint.link.receive(answer)?;
        endpoint.say(&answers)?;
        answers.clear();
        Ok(())
    };
    while !flow.is_closed() {
        echo(endpoint).inspect_err(|_| flow.stop())?;
    }
    Ok(())
}
