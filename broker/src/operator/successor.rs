//! A new process that goes on with the listening sockets of this one.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};

use crate::net::inherited::{PREDECESSOR, PassedSocket, SERVES};

/// Maximum time until the new process serves.
const READY_TIME: Duration = Duration::from_secs(60);

/// Interval at which it is looked whether the new process has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The first descriptor that `LISTEN_FDS` speaks of.
const FIRST: i32 = 3;

/// Starts the process with these sockets; returns its number when it serves. The error says why it does
/// not, and then it is gone.
pub(crate) fn start(mut command: Command, sockets: Vec<PassedSocket>) -> Result<u32, String> {
    if process::id() == 1 {
        return Err(
            "the broker is process 1, with which its container ends; start another container"
                .into(),
        );
    }
    let failed = |err: io::Error| format!("a new process cannot be started: {err}");
    let (own, theirs) = UnixDatagram::pair().map_err(failed)?;
    own.set_read_timeout(Some(LOOK)).map_err(failed)?;
    let (sockets, mut names): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    names.push(PREDECESSOR);
    let names = names.join(":");
    let passed = sockets.into_iter().chain([theirs.into()]);
    let mappings: Vec<FdMapping> = passed
        .zip(FIRST..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command
        .env("LISTEN_FDS", mappings.len().to_string())
        .env("LISTEN_FDNAMES", names)
        // The first two name this process, and the third other descriptors.
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_FDS_FIRST_FD");
    let mapped = command.fd_mappings(mappings);
    let mut child = mapped
        .map_err(io::Error::other)
        .and_then(Command::spawn)
        .map_err(failed)?;
    // It holds the sockets of the new process.
    drop(command);
    let deadline = Instant::now() + READY_TIME;
    let mut said = [0; SERVES.len()];
    loop {
        if own.recv(&mut said).is_ok_and(|len| said[..len] == *SERVES) {
            return Ok(child.id());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!(
                "the new process has ended ({status}); its log says why, and nothing has changed"
            ));
        }
        if Instant::now() >= deadline {
            // It may serve half; after this it does not.
            let _ = child.kill();
            let _ = child.wait();
            let time = READY_TIME.as_secs();
            return Err(format!(
                "the new process did not serve within {time} s; nothing has changed"
            ));
        }
    }
}
