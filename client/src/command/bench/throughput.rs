//! As much as the broker carries: publishers write as fast as the slowest subscriber reads.

use super::publisher::Publisher;
use super::report::Report;
use super::settings::Setting;
use super::stage::{Manner, play};
use super::trouble::Trouble;

pub(crate) fn run(setting: &Setting) -> Result<Report, Trouble> {
    let manner = Manner {
        acked: false,
        at_once: setting.most_at_once(),
    };
    let played = play(setting, manner, publish, |_| {})?;
    let mut report = Report::new("throughput", setting);
    report.cast(setting);
    played.report_published(&mut report, setting.size);
    played.report_delivered(&mut report, setting.size);
    played.report_end(&mut report);
    Ok(report)
}

fn publish(publisher: &mut Publisher<'_>) -> Result<(), Trouble> {
    loop {
        let count = publisher.left().min(publisher.frames.count() as u64);
        if count == 0 || !publisher.wait_for_room(count as usize) {
            return Ok(());
        }
        publisher.publish(count as usize)?;
        publisher.link.receive(|_, _| {})?;
    }
}
