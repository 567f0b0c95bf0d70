//! Throughput: publishers write as fast as the slowest subscriber reads.

use super::failure::BenchFailure;
use super::phase::run_phase;
use super::publisher::BenchPublisher;
use super::report::BenchReport;
use super::settings::RunSettings;

pub(crate) fn run(settings: &RunSettings) -> Result<BenchReport, BenchFailure> {
    let result = run_phase(settings, settings.most_at_once(), publish, |_| {})?;
    let mut report = BenchReport::new("throughput", settings);
    report.participants(settings);
    result.report_published(&mut report, settings.size);
    result.report_delivered(&mut report, settings.size);
    result.report_end(&mut report);
    Ok(report)
}

fn publish(publisher: &mut BenchPublisher<'_>) -> Result<(), BenchFailure> {
    loop {
        let count = publisher.left().min(publisher.frames.count() as u64);
        if count == 0 || !publisher.wait_for_room(count as usize) {
            return Ok(());
        }
        publisher.publish(count as usize)?;
        publisher.link.receive(|_, _| {})?;
    }
}
