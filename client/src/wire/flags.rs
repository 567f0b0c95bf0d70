//! The flags for MQTT, beside those for the broker's address.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};
use client::decode_spaces;
use client::mqtt::{self, Qos, Settings, Will};

use super::target::Target;
use crate::address::{Login, Url};
use crate::duration;
use crate::server::{self, Decision, ServerFlags};
use crate::value;

/// Names the rarely used flags, which are hidden so that the help fits a screen. `docs/client.md`
/// explains them.
pub(crate) const MORE_HELP: &str = "\
More in docs/client.md: --wait-for-broker --tls --user -k --clean --will-*
";

/// The value of `--mqtt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFlag {
    #[value(name = "3.1.1", alias = "3", alias = "4", alias = "311")]
    V3,
    #[value(name = "5", alias = "5.0")]
    V5,
}

/// The protocol.
#[derive(Clone, Debug, clap::Args)]
struct ProtocolFlags {
    /// Speak MQTT 5 or 3.1.1; mqtt://HOST is 5
    #[arg(long, value_enum, value_name = "VERSION", hide_possible_values = true)]
    mqtt: Option<VersionFlag>,
}

/// Options of the session.
#[derive(Clone, Debug, clap::Args)]
struct SessionFlags {
    /// QoS: 0 at most, 1 at least, 2 exactly once
    #[arg(
        short,
        long,
        value_name = "QOS",
        default_value_t = 1,
        hide_default_value = true
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(..=2))]
    qos: u8,
    /// The client id
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// The keep-alive interval
    #[arg(short, long, value_name = "TIME", default_value = "30s", hide = true)]
    #[arg(value_parser = duration::parse)]
    keep_alive: Duration,
    /// Keep the session for TIME after the end
    #[arg(short = 'x', long, value_name = "TIME", requires = "id", value_parser = duration::parse)]
    session_expiry: Option<Duration>,
    /// Start a new session, even if one was kept
    #[arg(long, hide = true)]
    clean: bool,
    /// The topic of the will, published if the connection breaks
    #[arg(long, value_name = "TOPIC", hide = true, value_parser = value::topic)]
    will_topic: Option<String>,
    /// The payload of the will
    #[arg(long, value_name = "MESSAGE", hide = true, requires = "will_topic")]
    will_payload: Option<String>,
    /// The QoS of the will
    #[arg(
        long,
        value_name = "QOS",
        default_value_t = 0,
        hide = true,
        requires = "will_topic"
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(..=2))]
    will_qos: u8,
    /// Retain the will
    #[arg(long, hide = true, requires = "will_topic")]
    will_retain: bool,
}

/// Flags without a meaning in the line protocol.
const ONLY_MQTT: [&str; 9] = [
    "qos",
    "id",
    "keep_alive",
    "session_expiry",
    "clean",
    "will_topic",
    "will_payload",
    "will_qos",
    "will_retain",
];

/// All flags, for commands that publish or subscribe.
#[derive(Clone, Debug)]
pub(crate) struct WireArguments(pub(crate) Target);

/// Address and login, for commands that neither publish nor subscribe.
#[derive(Clone, Debug)]
pub(crate) struct LoginArguments(pub(crate) Target);

impl Args for WireArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        SessionFlags::augment_args(LoginArguments::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WireArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let session = SessionFlags::from_arg_matches(matches)?;
        target(matches, Some(&session)).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for LoginArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        ProtocolFlags::augment_args(ServerFlags::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LoginArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        target(matches, None).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn target(matches: &ArgMatches, session: Option<&SessionFlags>) -> Result<Target, clap::Error> {
    let flags = ProtocolFlags::from_arg_matches(matches)?;
    let speaks_mqtt = |url: &Url| flags.mqtt.is_some() || url.mqtt.is_some();
    let Decision {
        url,
        tls,
        login,
        wait,
        typed,
        waits_for_broker,
        ..
    } = server::decide(matches, None, speaks_mqtt)?;
    let version = match (flags.mqtt, &url.mqtt) {
        (Some(VersionFlag::V3), _) => Some(mqtt::Version::V3),
        (Some(VersionFlag::V5), _) | (None, Some(_)) => Some(mqtt::Version::V5),
        (None, None) => None,
    };
    let credential = login.credential();
    let mqtt = match version {
        None => {
            refuse_mqtt_flags(matches)?;
            None
        }
        Some(version) => Some(settings(version, login, session)),
    };
    Ok(Target {
        server: url.server,
        tls,
        credential,
        typed,
        waits_for_broker,
        wait,
        mqtt,
        qos: session.map_or(Qos::AtLeastOnce, |session| qos(session.qos)),
    })
}

fn settings(version: mqtt::Version, login: Login, session: Option<&SessionFlags>) -> Settings {
    let settings = Settings {
        version,
        user: login.user,
        password: login.password,
        ..Settings::default()
    };
    let Some(flags) = session else {
        return settings;
    };
    Settings {
        id: flags.id.clone().unwrap_or_default(),
        keep_alive: flags.keep_alive,
        session_expiry: flags.session_expiry.unwrap_or_default(),
        clean: flags.clean,
        will: flags.will_topic.as_ref().map(|topic| Will {
            topic: decode_spaces(topic).into_owned(),
            payload: flags.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: qos(flags.will_qos),
            retain: flags.will_retain,
        }),
        ..settings
    }
}

fn qos(number: u8) -> Qos {
    match number {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn refuse_mqtt_flags(matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_typed = |name: &&&str| {
        let source = matches
            .try_contains_id(name)
            .is_ok_and(|is_there| is_there)
            .then(|| matches.value_source(name));
        source.flatten() == Some(ValueSource::CommandLine)
    };
    let Some(name) = ONLY_MQTT.iter().find(is_typed) else {
        return Ok(());
    };
    let name = name.replace('_', "-");
    let why = format!("--{name} is for MQTT; give --mqtt, or a server mqtt://HOST:PORT\n");
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, why))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        wire: WireArguments,
    }

    fn parsed(arguments: &str) -> Result<Target, String> {
        let words = ["command"].into_iter().chain(arguments.split_whitespace());
        let parsed = Command::try_parse_from(words);
        parsed
            .map(|it| it.wire.0)
            .map_err(|error| error.to_string())
    }

    fn settings_of(arguments: &str) -> Settings {
        parsed(arguments).expect(arguments).mqtt.expect("MQTT")
    }

    #[test]
    fn a_url_of_mqtt_means_version_5_unless_another_is_given() {
        assert_eq!(settings_of("-s mqtt://a").version, mqtt::Version::V5);
        assert_eq!(
            settings_of("-s mqtt://a --mqtt 3.1.1").version,
            mqtt::Version::V3
        );
        assert_eq!(settings_of("-s a:1 --mqtt 5").version, mqtt::Version::V5);
        assert!(parsed("-s a:1").expect("a target").mqtt.is_none());
    }

    #[test]
    fn the_command_line_wins_over_the_url() {
        let settings = settings_of("-s mqtt://ann:one@a --password two");
        assert_eq!(settings.user.as_deref(), Some("ann"));
        assert_eq!(settings.password, Some("two".into()));
    }

    #[test]
    fn the_session_and_the_will_are_as_asked_for() {
        let flags =
            "-s mqtt://a -i me -x 5m -k 9 -q 2 --will-topic w --will-payload x --will-qos 1";
        let settings = settings_of(flags);
        assert_eq!((&*settings.id, settings.keep_alive.as_secs()), ("me", 9));
        assert_eq!(
            (settings.session_expiry.as_secs(), settings.clean),
            (300, false)
        );
        let will = settings.will.expect("a will");
        assert_eq!((&*will.topic, &*will.payload), ("w", &b"x"[..]));
        assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, false));
        assert_eq!(parsed(flags).expect("a target").qos, Qos::ExactlyOnce);
    }

    #[test]
    fn a_session_that_was_begun_anew_goes_on_when_its_connection_was_lost() {
        let target = parsed("-s mqtt://a -i me -x 5m --clean").expect("a target");
        let again = target.again().mqtt.expect("MQTT");
        assert!(target.mqtt.expect("MQTT").clean);
        assert_eq!((again.clean, &*again.id), (false, "me"));
    }

    #[test]
    fn flags_of_mqtt_mean_nothing_elsewhere() {
        for flags in ["-q 1", "--clean", "--will-topic a", "-k 5"] {
            let refused = parsed(flags).expect_err(flags);
            assert!(refused.contains("is for MQTT"), "{refused}");
        }
        for flags in [
            "-s mqtt://a -q 3",
            "-s mqtt://a -x 5",
            "-s mqtt://a --will-qos 1",
        ] {
            assert!(parsed(flags).is_err(), "{flags}");
        }
    }
}
