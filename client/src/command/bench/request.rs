//! Round trips: one connection asks on a topic, another answers on a second one.

use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::flow::Flow;
use super::frames::Frames;
use super::layout::Layout;
use super::link::{BEAT, Dialer, Link};
use super::payload;
use super::progress::Progress;
use super::publisher::Extent;
use super::report::Report;
use super::settings::Setting;
use super::tally::Tally;
use super::times::{histogram, record};
use super::trouble::Trouble;
use super::wire::Wire;

const QUESTIONS: usize = 0;
const ANSWERS: usize = 1;

pub(crate) fn run(setting: &Setting) -> Result<Report, Trouble> {
    let dialer = &setting.dialer;
    let topic = |topic| Layout::topic(dialer.target.wire, topic);
    let mut asker = Side::connect(dialer, "asker", topic(ANSWERS))?;
    let mut answerer = Side::connect(dialer, "answerer", topic(QUESTIONS))?;

    let flow = &Flow::new(&setting.layout);
    let (asked, answered) = thread::scope(|scope| {
        let answering = scope.spawn(|| answer(&mut answerer, &topic(ANSWERS), flow));
        let asked = ask(setting, &mut asker, flow);
        flow.close();
        (asked, answering.join().expect("no panic"))
    });
    // Without answers the asker only sees silence; why there were none is the better news.
    let interrupted = dialer.interrupt.is_raised();
    match answered {
        Err(Trouble::Interrupted) => {}
        answered => answered?,
    }
    let Asked {
        tally,
        times,
        seconds,
    } = asked?;

    let mut report = Report::new("request", setting);
    report.connections(2, setting.size);
    report.pace("round trips", tally.received(), seconds);
    report.times_head();
    report.times("round trip", "round_trip", &times);
    report.faults(tally.faults());
    report.interrupted = interrupted;
    Ok(report)
}

/// One who listens and speaks.
#[derive(Debug)]
struct Side {
    link: Link,
    /// Where a subscriber may not publish, it has a second connection for that.
    mouth: Option<Link>,
}

impl Side {
    fn connect(dialer: &Dialer, name: &str, listens_to: String) -> Result<Self, Trouble> {
        let mut link = dialer.dial_subscriber(name)?;
        link.subscribe(&[listens_to])?;
        let mouth = if link.wire.subscribers_may_publish() {
            None
        } else {
            Some(dialer.dial(&format!("{name}-mouth"), false)?)
        };
        Ok(Self { link, mouth })
    }

    /// What it publishes in.
    fn wire(&self) -> &'static dyn Wire {
        self.mouth.as_ref().unwrap_or(&self.link).wire
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match &mut self.mouth {
            Some(mouth) => {
                mouth.receive(|_, _| {})?;
                mouth.send(bytes)
            }
            None => self.link.send(bytes),
        }
    }
}

struct Asked {
    tally: Tally,
    times: hdrhistogram::Histogram<u64>,
    seconds: Duration,
}

/// Asks one question after another.
fn ask(setting: &Setting, side: &mut Side, flow: &Flow) -> Result<Asked, Trouble> {
    let mut frames = Frames::new(side.wire(), 0, &[QUESTIONS], setting.size, false, 1);
    let mut tally = Tally::new(1);
    let mut times = histogram();
    let mut progress = Progress::start(setting);
    let mut asked = 0;
    let begin = Instant::now();
    let goes_on = |asked| match setting.extent {
        Extent::Time(time) => begin.elapsed() < time,
        Extent::Count(count) => asked < count,
    };
    while goes_on(asked) && !flow.is_stopped() {
        frames.set(0, QUESTIONS, asked, asked);
        flow.add_published(QUESTIONS, 1);
        let sent = Instant::now();
        side.say(frames.first(1))?;
        match await_answer(&mut side.link, &mut tally, asked, setting.dialer.wait, flow) {
            Ok(true) => record(&mut times, sent.elapsed().as_nanos() as u64),
            Ok(false) => {}
            Err(Trouble::Interrupted) => break,
            Err(trouble) => return Err(trouble),
        }
        asked += 1;
        progress.show(flow);
    }
    progress.end();
    let seconds = begin.elapsed();
    if !setting.dialer.interrupt.is_raised() {
        tally.end(0, asked);
    }
    Ok(Asked {
        tally,
        times,
        seconds,
    })
}

/// Whether the answer to a question has come in time.
fn await_answer(
    link: &mut Link,
    tally: &mut Tally,
    question: u64,
    wait: Duration,
    flow: &Flow,
) -> Result<bool, Trouble> {
    let since = Instant::now();
    let mut has_come = false;
    let mut is_strange = false;
    while !has_come && since.elapsed() < wait && !flow.is_stopped() {
        link.wait(PollFlags::IN, BEAT.min(wait))?;
        link.receive(|_, payload| match payload::number(payload) {
            Some((_, number)) => {
                tally.push(0, number);
                has_come |= number == question;
            }
            None => is_strange = true,
        })?;
        if is_strange {
            return Err(Trouble::Strange);
        }
    }
    Ok(has_come)
}

/// Publishes what it gets as the answer to it.
fn answer(side: &mut Side, topic: &str, flow: &Flow) -> Result<(), Trouble> {
    let wire = side.wire();
    let mut answers = Vec::new();
    let mut echo = |side: &mut Side| {
        side.link.wait(PollFlags::IN, BEAT)?;
        let answer = |_: &[u8], payload: &[u8]| wire.publish(topic, payload, false, &mut answers);
        side.link.receive(answer)?;
        side.say(&answers)?;
        answers.clear();
        Ok(())
    };
    while !flow.is_closed() {
        echo(side).inspect_err(|_| flow.stop())?;
    }
    Ok(())
}
