//! What the broker reads in certificates: their dates and their names.

use std::fmt::Display;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValidTime {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

/// The time in which a certificate is valid, or why it cannot be read.
pub(super) fn valid_time(certificate: &CertificateDer<'_>) -> Result<ValidTime, String> {
    let parsed = Certificate::from_der(certificate).map_err(unreadable)?;
    let validity = parsed.tbs_certificate().validity();
    let timestamp = |time: &Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(unreadable)?;
        Timestamp::from_second(seconds).map_err(unreadable)
    };
    Ok(ValidTime {
        begin: timestamp(&validity.not_before)?,
        end: timestamp(&validity.not_after)?,
    })
}

/// The names of hosts in a certificate; those with a `*` are among them.
pub(super) fn host_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let parsed = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    Ok(parsed.valid_dns_names().map(str::to_owned).collect())
}

fn unreadable(why: impl Display) -> String {
    format!("its certificate cannot be read: {why}")
}

impl ValidTime {
    /// Why a certificate is not valid at this time, if it is not.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        if now < self.begin {
            return Err(format!(
                "its certificate is not valid before {}; it is {now:.0} now",
                self.begin
            ));
        }
        match now > self.end {
            true => Err(format!("its certificate has expired on {}", self.end)),
            false => Ok(()),
        }
    }
}
