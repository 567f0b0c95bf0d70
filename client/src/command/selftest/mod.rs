//! `client selftest`: numbered statements of the MQTT standard, checked against any server.
//!
//! `cases/` has the table, one file for each chapter of the standard; a case is a sentence and a
//! function. `context.rs` is the context of such a function, `test_client.rs` its raw connection.
//! The client library is not used here, because a test client must be able to send invalid packets.

mod case;
mod cases;
mod connect_packet;
mod context;
mod encode;
mod finding;
mod packet;
mod property;
mod reader;
mod report;
mod run;
mod test_client;
mod version;
mod writer;

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use client::Error;

use crate::address::{Login, Url, UrlParser};
use crate::credentials::CredentialArguments;
use crate::duration;
use crate::exit::{self, Exit, Failure};
use crate::tls_flags::TlsArguments;

use context::TestServer;
use finding::Finding;
use report::SelftestReport;
use version::MqttVersion;

const EXAMPLES: &str = "\
Examples:
  client selftest                           the broker here, both versions
  client selftest -s mqtt://localhost:1883 --mqtt 5
  client selftest --only 3.8 --json         chapter 3.8, for programs
  client selftest --list                    list the statements
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {
    /// The server: mqtt[s]://[USER:PASSWORD@]HOST[:PORT], HOST[:PORT] or unix:PATH
    #[arg(
        short,
        long,
        value_name = "URL",
        env = "BROKER_URL",
        hide_env_values = true,
        default_value = "127.0.0.1:1373",
        value_parser = UrlParser::<Url>::new()
    )]
    server: Url,
    /// Check only this version, 3.1.1 or 5
    #[arg(long, value_enum, value_name = "VERSION", hide_possible_values = true)]
    mqtt: Option<MqttVersion>,
    /// Check only statements whose number or sentence contains this; may be repeated
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// List the statements without checking them
    #[arg(long)]
    list: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Run N checks at a time
    #[arg(short, long, value_name = "N", default_value = "8")]
    jobs: NonZeroUsize,
    /// Wait at most TIME for each packet
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse_positive)]
    wait: Duration,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    credential: CredentialArguments,
}

impl Arguments {
    fn versions(&self) -> Vec<MqttVersion> {
        match self.mqtt {
            Some(version) => vec![version],
            None => MqttVersion::ALL.to_vec(),
        }
    }

    fn target(&self) -> Result<TestServer, Failure> {
        let server = &self.server.server;
        let tls = self.tls.tls(server, None);
        let tls = tls.map_err(|why| Failure::new(Exit::Usage, "client", why))?;
        let login =
            self.credential
                .login(server, tls.is_some(), self.server.mqtt.as_ref(), None, true);
        let Login { user, password } =
            login.map_err(|why| Failure::new(Exit::Usage, "client", why))?;
        Ok(TestServer {
            address: server.place(),
            user,
            password,
            timeout: self.wait,
            tls: tls.map(|tls| tls.with_alpn("mqtt")),
        })
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.server.server.path().is_some() {
        let why = "the selftest speaks MQTT without a WebSocket; give HOST:PORT or unix:PATH";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    let mut report = SelftestReport::new(io::stdout().lock(), arguments.json);
    let failed = |error| Failure::of_output(&error);
    let target = arguments.target()?;
    for version in arguments.versions() {
        let cases = cases::chosen(version, &arguments.only);
        if arguments.list {
            report.list(version, &cases).map_err(failed)?;
            continue;
        }
        if cases.is_empty() {
            continue;
        }
        let server_properties = run::introduce(&target, version)
            .map_err(|finding| cannot_begin(&target, version, &finding))?;
        report.begin(version, &target.address).map_err(failed)?;
        run::all(
            &target,
            version,
            &server_properties,
            &cases,
            arguments.jobs,
            |result| report.add(version, result),
        )
        .map_err(failed)?;
        report.end(version).map_err(failed)?;
    }
    if report.checked() == 0 && !arguments.list {
        let why = "no statement matches; list them with --list";
        return Err(Failure::new(Exit::Usage, "client", why));
    }
    Ok(if report.has_failures() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// Why there is nothing to check. A path says more about that than an address.
fn cannot_begin(target: &TestServer, version: MqttVersion, finding: &Finding) -> Failure {
    const WHAT: &str = "the selftest cannot begin";
    if let Err(Error::Refused(refusal)) = target.introduce(version)
        && refusal.is_auth()
    {
        return Failure::of(&Error::Refused(refusal), WHAT);
    }
    match target.dial(target.timeout) {
        Err(why @ Error::Tls(_)) => Failure::of(&why, WHAT),
        Err(why) if target.address.starts_with("unix:") => Failure::of(&why, WHAT),
        _ => {
            let why = format_args!("{finding}; give the right --server URL");
            Failure::new(Exit::NoConnection, WHAT, why)
        }
    }
}
