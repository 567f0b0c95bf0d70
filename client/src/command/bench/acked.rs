//! Acknowledged publishing, with a window of messages without a receipt.

use client::AckLevel;
use hdrhistogram::Histogram;
use indicatif::HumanCount;
use rustix::event::PollFlags;

use super::failure::BenchFailure;
use super::link::TICK;
use super::phase::run_phase;
use super::publisher::BenchPublisher;
use super::report::BenchReport;
use super::settings::RunSettings;
use super::times::{histogram, record};

pub(crate) fn run(settings: &RunSettings, window: u64) -> Result<BenchReport, BenchFailure> {
    let result = run_phase(
        settings,
        window.min(settings.most_at_once()),
        |publisher| publish(publisher, window),
        |_| {},
    )?;
    let mut acked = 0;
    let mut lowest = Some(AckLevel::Disk);
    let mut times = histogram();
    for outcome in &result.outcomes {
        acked += outcome.acked;
        lowest = lowest.min(outcome.lowest);
        if let Some(of_one) = &outcome.times {
            times.add(of_one).expect("the same bounds");
        }
    }
    let mut report = BenchReport::new("acknowledged", settings);
    report.participants(settings);
    report.with(&format!("a window of {}", HumanCount(window)));
    report.figure("window", window);
    if let Some(asked) = settings.publish.level {
        report.level(asked, lowest);
    }
    report.rate("acked", acked, settings.size, result.publishing);
    result.report_delivered(&mut report, settings.size);
    report.times_head();
    report.times("acked after", "ack_after", &times);
    result.report_end(&mut report);
    Ok(report)
}

/// The result of one publisher.
#[derive(Debug, Default)]
struct Receipts {
    acked: u64,
    /// The lowest level of these messages; `None` if it is unknown of one.
    lowest: Option<AckLevel>,
    times: Option<Histogram<u64>>,
}

impl Receipts {
    fn of(publisher: &BenchPublisher<'_>, acked: u64, times: Histogram<u64>) -> Self {
        Self {
            acked,
            lowest: publisher.link.lowest_level(),
            times: Some(times),
        }
    }
}

fn publish(publisher: &mut BenchPublisher<'_>, window: u64) -> Result<Receipts, BenchFailure> {
    let mut times = histogram();
    // Send times of the messages in flight.
    let mut sent_ns = vec![0; window as usize];
    let mut acked = 0;
    let mut quiet_since_ns = publisher.flow.now_ns();
    loop {
        let published = publisher.published();
        let free = window - (published - acked);
        let count = free
            .min(publisher.left())
            .min(publisher.frames.count() as u64);
        if count > 0 && publisher.wait_for_room(count as usize) {
            let now_ns = publisher.flow.now_ns();
            for number in published..published + count {
                sent_ns[(number % window) as usize] = now_ns;
            }
            publisher.publish(count as usize)?;
        } else if acked == published {
            return Ok(Receipts::of(publisher, acked, times));
        } else {
            match publisher.link.wait(PollFlags::IN, TICK) {
                Err(BenchFailure::Interrupted) => {
                    return Ok(Receipts::of(publisher, acked, times));
                }
                waited => waited?,
            }
        }
        publisher.link.receive(|_, _| {})?;
        let now_ns = publisher.flow.now_ns();
        // Ignores acknowledgements of messages that were not published.
        let now_acked = publisher.link.acked().min(publisher.published());
        if now_acked > acked || count > 0 {
            quiet_since_ns = now_ns;
        }
        for number in acked..now_acked {
            record(&mut times, now_ns - sent_ns[(number % window) as usize]);
        }
        acked = acked.max(now_acked);
        publisher.check_patience(now_ns - quiet_since_ns)?;
    }
}
