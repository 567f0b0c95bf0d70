//! The files of TLS while the broker runs: taken when they change, and their end announced.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::event_client::clipped;
use crate::engine::security_events::SecurityEvent;
use crate::engine::stats::metrics::Metrics;
use crate::net::listener::Listener;
use crate::net::tls::material::TlsMaterial;
use crate::net::tls::watched::WatchedTls;

/// Interval at which the files are looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Days before the end of a certificate at which it is announced.
const WARN_DAYS: [i64; 4] = [1, 3, 7, 14];

const DAY_S: i64 = 24 * 60 * 60;

/// What is known of the files.
#[derive(Default)]
pub(crate) struct Certificates {
    watched: WatchedTls,
    /// The certificate that ends first, and when.
    ends: Option<(Box<Path>, Timestamp)>,
    /// The number of days that was announced last.
    warned: Option<i64>,
}

impl Certificates {
    /// Those of a configuration that have been read after this look at them.
    pub(crate) fn new(watched: WatchedTls, material: Option<&TlsMaterial>) -> Self {
        Self {
            watched,
            ends: material.map(|material| material.ends.clone()),
            warned: None,
        }
    }

    /// The certificate that ends first, and when.
    pub(crate) fn ends(&self) -> Option<&(Box<Path>, Timestamp)> {
        self.ends.as_ref()
    }

    /// Takes the files if they have changed, all of them or none, and announces their end.
    pub(super) fn look(&mut self, config: &Config, listener: &Listener, engine: &Engine) {
        let metrics = &engine.metrics;
        if self.watched.have_changed() {
            match take(config, listener) {
                Ok(None) => {
                    self.watched.note_mistakes(&[]);
                }
                Ok(Some(ends)) => {
                    self.watched.note_mistakes(&[]);
                    log::info!(
                        "TLS: the files have changed; the certificate in {} ends on {}",
                        ends.0.display(),
                        ends.1
                    );
                    note_changed(engine, &ends);
                    (self.ends, self.warned) = (Some(ends), None);
                }
                Err(mistakes) => {
                    if self.watched.note_mistakes(&mistakes) {
                        metrics.tls_reload_failed.add(1);
                        engine.security.note(|| SecurityEvent::CertificatesRefused {
                            errors: mistakes.iter().map(|why| clipped(why)).collect(),
                        });
                        for mistake in mistakes {
                            log::error!("TLS: {mistake}; what was in force stays so");
                        }
                    }
                }
            }
        }
        self.tell_end(metrics, Timestamp::now());
    }

    /// Sets the figure of the end, and warns of it some days before.
    fn tell_end(&mut self, metrics: &Metrics, now: Timestamp) {
        let Some((path, end)) = &self.ends else {
            return metrics.tls_expires.set(0);
        };
        let end_s = end.as_second();
        metrics
            .tls_expires
            .set(u64::try_from(end_s).unwrap_or_default());
        let left_s = end_s - now.as_second();
        let due = WARN_DAYS.into_iter().find(|days| left_s <= days * DAY_S);
        if due.is_none() || due == self.warned {
            return;
        }
        self.warned = due;
        let path = path.display();
        match left_s {
            ..=0 => log::error!("TLS: the certificate in {path} has expired on {end}; renew it"),
            _ => log::warn!("TLS: the certificate in {path} ends on {end}; renew it"),
        }
    }
}

/// Tells the security log that others are in force.
pub(super) fn note_changed(engine: &Engine, (file, ends): &(Box<Path>, Timestamp)) {
    engine.security.note(|| SecurityEvent::CertificatesChanged {
        file: clipped(&file.to_string_lossy()),
        ends: ends.to_string(),
    });
}

/// Reads the files and puts them in force. Returns which certificate ends first, if they are others.
fn take(
    config: &Config,
    listener: &Listener,
) -> Result<Option<(Box<Path>, Timestamp)>, Vec<String>> {
    let one = |why: &dyn ToString| vec![why.to_string()];
    let Some(material) = config.tls_material()? else {
        return Ok(None);
    };
    let site = config.site_settings(&material.names);
    let site = site.map_err(|why| one(&why))?;
    let replaced = listener.replace_tls(Some(&material), &config.tls);
    let is_other = replaced.map_err(|why| one(&why))?;
    if is_other {
        listener.replace_site(site);
    }
    Ok(is_other.then_some(material.ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_announced_fourteen_seven_three_and_one_day_before_once_each() {
        let now = Timestamp::now();
        let in_hours = |hours: i64| now + jiff::SignedDuration::from_hours(hours);
        let end = in_hours(15 * 24);
        let mut certificates = Certificates {
            ends: Some((Path::new("a").into(), end)),
            ..Certificates::default()
        };
        let metrics = Metrics::default();
        let mut warned = Vec::new();
        for hour in 0..15 * 24 + 2 {
            let before = certificates.warned;
            certificates.tell_end(&metrics, in_hours(hour));
            if certificates.warned != before {
                warned.push((hour / 24, certificates.warned));
            }
        }
        assert_eq!(
            warned,
            [(1, Some(14)), (8, Some(7)), (12, Some(3)), (14, Some(1))]
        );
        assert_eq!(metrics.tls_expires.get(), end.as_second() as u64);
        certificates.ends = None;
        certificates.tell_end(&metrics, now);
        assert_eq!(metrics.tls_expires.get(), 0);
    }
}
