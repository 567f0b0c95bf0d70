//! A broker that runs for one measurement: started afresh in an empty folder, and gone afterwards.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FsWord, statfs};
use tempfile::TempDir;
use tests::certificates::{Authority, Wanted};

use crate::account::{as_nobody, nobody, runs_as_nobody};
use crate::case::{Case, Wire};
use crate::peer::{Besides, Peer};
use crate::programs::Found;

/// Another program may take a free port before the broker does.
const ATTEMPTS: usize = 3;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Where files of some size are that outlive a restart of the machine, by the standard of file systems.
const ON_DISK: &str = "/var/tmp";

/// What the kernel calls a file system in memory.
const TMPFS: FsWord = 0x0102_1994;

/// The folder in that of a broker for what it keeps.
const DATA: &str = "data";

/// The end of a broker's output, of this length, tells why it ended.
const SHOWN_CHARACTERS: usize = 300;

/// A broker that takes connections. Dropping it kills it and waits for its end.
pub(crate) struct Server {
    child: Child,
    peer: &'static Peer,
    port: u16,
    folder: TempDir,
    /// That of its certificate, if it speaks TLS.
    authority: Option<Authority>,
}

impl Server {
    pub(crate) fn start(found: &Found, case: &Case) -> Result<Self, String> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            match Self::try_start(found, case) {
                Ok(server) => return Ok(server),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    fn try_start(found: &Found, case: &Case) -> Result<Self, String> {
        let mut server =
            Self::spawn(found, case).map_err(|error| format!("cannot start: {error}"))?;
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if !matches!(server.child.try_wait(), Ok(None)) {
                return Err(format!("ended at once: {}", server.last_words()));
            }
            if server.takes_connections(case) {
                return Ok(server);
            }
            thread::sleep(PAUSE);
        }
        Err(format!("takes no connections: {}", server.last_words()))
    }

    fn spawn(found: &Found, case: &Case) -> io::Result<Self> {
        let peer = found.peer;
        let folder = empty_folder(case)?;
        let path = folder.path();
        let port = free_port()?;
        // Some know from its name how it is written.
        let settings = path.join("settings.toml");
        let mut text = peer.settings(case).text.to_owned();
        let mut arguments = peer.arguments.to_owned();
        match peer.besides(case) {
            Some(Besides::Settings(more)) => text.push_str(more),
            Some(Besides::Arguments(more)) => arguments = format!("{arguments} {more}"),
            None => {}
        }
        let port_text = port.to_string();
        let names = ["socket", "cert.pem", "key.pem", DATA];
        let [socket, cert, key, data] = names.map(|name| path.join(name));
        let authority = (case.wire == Wire::Tls).then(Authority::new);
        if let Some(authority) = &authority {
            let files = authority.sign("broker", &Wanted::HERE);
            fs::copy(files.cert, &cert)?;
            fs::copy(files.key, &key)?;
        }
        let paths = [&socket, &cert, &key, &data];
        let [at, cert_at, key_at, data_at] = paths.map(|path| path.display().to_string());
        let words = [
            ("PORT", &*port_text),
            ("SOCKET", &at),
            ("CERT", &cert_at),
            ("KEY", &key_at),
            ("DATA", &data_at),
        ];
        let text = words
            .iter()
            .fold(text, |text, (word, value)| text.replace(word, value));
        fs::write(&settings, text)?;
        if runs_as_nobody(peer) {
            let (user, group) = nobody();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
            let own = [path, &*cert, &*key, &*data]
                .into_iter()
                .filter(|path| path.exists());
            for path in own {
                chown(path, Some(user), Some(group))?;
            }
        }
        let log = File::create(path.join("log"))?;
        let mut command = Command::new(&found.path);
        for word in arguments.split(' ') {
            match words.iter().find(|(name, _)| *name == word) {
                Some((_, value)) => command.arg(value),
                None if word == "FILE" => command.arg(&settings),
                None => command.arg(word),
            };
        }
        as_nobody(&mut command, peer);
        // What is set for brokers elsewhere does not count here.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("BROKER_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let child = command
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self {
            child,
            peer,
            port,
            folder,
            authority,
        })
    }

    /// What tells `client bench` where it is and which protocol to speak.
    pub(crate) fn bench_arguments(&self, case: &Case) -> Vec<String> {
        let socket = socket_in(self.folder.path());
        let (address, flags) = self.peer.address(case, self.port, &socket);
        let server = ["--server".to_owned(), address];
        let flags = flags.iter().map(|&flag| flag.to_owned());
        let ca = self.authority.iter().flat_map(|authority| {
            let ca = authority.path("ca.pem").display().to_string();
            ["--ca".to_owned(), ca]
        });
        server.into_iter().chain(flags).chain(ca).collect()
    }

    /// Whether it can be reached in every way that the case has.
    fn takes_connections(&self, case: &Case) -> bool {
        let at_path = || UnixStream::connect(socket_in(self.folder.path())).is_ok();
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && (!matches!(case.wire, Wire::Tcp | Wire::Unix) || at_path())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let words = log.split_whitespace().collect::<Vec<_>>().join(" ");
        let skipped = words.chars().count().saturating_sub(SHOWN_CHARACTERS);
        words.chars().skip(skipped).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of a broker. What is kept is on a disk, which a folder for temporary files may not be.
fn empty_folder(case: &Case) -> io::Result<TempDir> {
    if !case.wire.is_stored() {
        return tempfile::tempdir();
    }
    if statfs(ON_DISK)?.f_type == TMPFS {
        let why = format!("{ON_DISK} is in memory, and the store is measured on a disk");
        return Err(io::Error::other(why));
    }
    let folder = tempfile::tempdir_in(ON_DISK)?;
    fs::create_dir(folder.path().join(DATA))?;
    Ok(folder)
}

/// The Unix socket of a broker with this folder.
fn socket_in(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
