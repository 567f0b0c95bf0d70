//! Proxies of others, with the configurations that the documents show.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually;

/// The proxies in `docs/proxies.md`.
#[derive(Clone, Copy, Debug)]
pub enum ProxyProgram {
    /// nginx with its module `stream`.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Caddy.
    Caddy,
}

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub struct NetworkProxy {
    child: Child,
    web: SocketAddr,
    stream: SocketAddr,
    _folder: TempDir,
}

impl NetworkProxy {
    /// Starts one with this configuration, in which port 80 and, if there is one, port 1883 are replaced by free
    /// ones, and port 1373 by that of the broker.
    #[track_caller]
    pub fn start(program: ProxyProgram, configuration: &str, broker: SocketAddr) -> Self {
        loop {
            // It cannot choose ports by itself, so another program may take them first.
            if let Some(started) = Self::try_start(program, configuration, broker) {
                return started;
            }
        }
    }

    #[track_caller]
    fn try_start(program: ProxyProgram, configuration: &str, broker: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (web, stream) = (free_address(), free_address());
        let text = configuration
            .replace(":1373", &format!(":{}", broker.port()))
            .replace("listen 80;", &format!("listen {web};"))
            .replace("listen 1883;", &format!("listen {stream};"))
            .replace("bind :80\n", &format!("bind {web}\n"))
            .replace("bind :1883\n", &format!("bind {stream}\n"))
            .replace(":80 {", &format!(":{} {{\nbind 127.0.0.1", web.port()));
        let mut child = program
            .command(folder.path(), &text)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program:?} is needed ({error}); run tests/run --install")
            });
        let listening = match text.contains(&stream.to_string()) {
            true => &[web, stream][..],
            false => &[web],
        };
        let mut has_ended = false;
        eventually("the proxy listens", || {
            has_ended = child.try_wait().expect("a child of ours").is_some();
            let mut all = listening.iter();
            has_ended || all.all(|address| TcpStream::connect(address).is_ok())
        });
        (!has_ended).then(|| Self {
            child,
            web,
            stream,
            _folder: folder,
        })
    }

    /// Where it speaks HTTP.
    pub fn web(&self) -> SocketAddr {
        self.web
    }

    /// Where it passes on bytes.
    pub fn stream(&self) -> SocketAddr {
        self.stream
    }
}

impl ProxyProgram {
    fn command(self, folder: &Path, configuration: &str) -> Command {
        let file = folder.join("proxy.conf");
        let path = folder.display();
        match self {
            Self::Nginx => {
                // What Debian's own file sets, at places that need no rights.
                let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {path};"))
                    .concat();
                let text =
                    configuration.replace("http {", &format!("http {{\naccess_log off; {paths}"));
                let head = format!(
                    "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
                     daemon off; master_process off; pid {path}/pid; error_log {path}/log;\n"
                );
                fs::write(&file, head + &text).expect("a file can be written");
                let mut command = Command::new("/usr/sbin/nginx");
                command
                    .arg("-e")
                    .arg(folder.join("log"))
                    .arg("-c")
                    .arg(file);
                command
            }
            Self::Haproxy => {
                fs::write(&file, configuration).expect("a file can be written");
                let mut command = Command::new("/usr/sbin/haproxy");
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Self::Caddy => {
                // Without a site of administration and without a home to keep certificates in.
                let text = format!("{{\nadmin off\nauto_https off\n}}\n{configuration}");
                fs::write(&file, text).expect("a file can be written");
                let mut command = Command::new("/usr/bin/caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(file).env("HOME", folder);
                command
            }
        }
    }
}

impl Drop for NetworkProxy {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket")
}
