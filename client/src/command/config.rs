//! `client config`: the path and contents of the configuration file, and an example.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::address::{self, Url};
use crate::configuration::{self, Configuration, EXAMPLE};
use crate::exit::{self, Exit, Failure};

const EXAMPLES: &str = "\
Flags and the environment (BROKER_URL) win over the file.

Examples:
  client config                       show it
  client publish -c work news hello   use the server that it calls work
";

#[derive(Debug, clap::Args)]
#[command(after_help = [EXAMPLES, exit::HELP].join("\n"))]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<Exit, Failure> {
    let wrong = |why| Failure::new(Exit::Usage, "client", why);
    let path = configuration::path().map_err(wrong)?;
    let check = |url: &str| url.parse::<Url>().map(drop);
    let configuration = Configuration::read(&path, check).map_err(wrong)?;
    let shown = ConfigurationText {
        path: &path,
        configuration: configuration.as_ref(),
    };
    write!(io::stdout().lock(), "{shown}").map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Done)
}

/// The output of the command.
struct ConfigurationText<'a> {
    path: &'a Path,
    configuration: Option<&'a Configuration>,
}

impl fmt::Display for ConfigurationText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.configuration {
            None => writeln!(f, "There is no {path} yet. It could say:")?,
            Some(Configuration { servers, default }) => {
                writeln!(f, "{path} says:\n")?;
                if servers.is_empty() {
                    writeln!(f, "  nothing")?;
                }
                let width = servers.keys().map(|name| name.chars().count()).max();
                let width = width.unwrap_or_default();
                for (name, server) in servers {
                    let url = address::without_password(&server.url);
                    let keys = match &server.keys()[..] {
                        [] => String::new(),
                        keys => format!("   with {}", keys.join(", ")),
                    };
                    let is_default = default.as_ref() == Some(name);
                    let mark = if is_default { "   (default)" } else { "" };
                    writeln!(f, "  {name:width$}   {url}{keys}{mark}")?;
                }
                writeln!(f, "\nAn example of such a file:")?;
            }
        }
        writeln!(f)?;
        EXAMPLE.lines().try_for_each(|line| match line {
            "" => writeln!(f),
            line => writeln!(f, "  {line}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::configuration::ConfiguredServer;
    use crate::tls_flags::TlsSettings;

    fn shown(configuration: Option<Configuration>) -> String {
        let path = Path::new("/home/ann/client.toml");
        let configuration = configuration.as_ref();
        ConfigurationText {
            path,
            configuration,
        }
        .to_string()
    }

    #[test]
    fn a_file_is_shown_with_its_default() {
        let server = |url: &str, ca: Option<PathBuf>| ConfiguredServer {
            url: url.to_owned(),
            tls: TlsSettings {
                ca,
                ..TlsSettings::default()
            },
            ..ConfiguredServer::default()
        };
        let servers = [
            ("home", server("localhost", Some("/a".into()))),
            ("office", server("10.0.0.1:99", None)),
        ];
        let shown = shown(Some(Configuration {
            servers: servers
                .map(|(name, server)| (name.to_owned(), server))
                .into(),
            default: Some("office".to_owned()),
        }));
        let said = "/home/ann/client.toml says:\n\n  home     localhost   with ca\n  \
                    office   10.0.0.1:99   (default)\n\nAn example of such a file:\n\n  \
                    default = \"home\"\n";
        assert!(shown.starts_with(said), "{shown}");
    }

    #[test]
    fn without_a_file_there_is_an_example() {
        let shown = shown(None);
        let said = "There is no /home/ann/client.toml yet. It could say:\n\n  default";
        assert!(shown.starts_with(said), "{shown}");
        assert!(shown.ends_with("ca = \"work-ca.pem\"\n"), "{shown}");
    }
}
