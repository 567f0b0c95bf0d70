//! Detects a peer that has vanished while bytes were on the way to it.
//!
//! TCP keep-alive probes only connections without bytes on the way; for the others the kernel gives up
//! after a quarter of an hour. `TCP_USER_TIMEOUT` would shorten that, but it also ends a connection
//! whose peer answers every probe and merely reads nothing (measured: 3.6 s with a timeout of 3 s), and
//! this broker ends no connection for slowness. So `TCP_INFO` is read: the number of consecutive
//! unanswered probes, and the time since the last answer.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// A peer that has not answered for this long, with this many consecutive probes unanswered, has
/// vanished. A peer that only reads nothing answers each probe.
const UNANSWERED: Duration = Duration::from_secs(60);
const PROBES: u8 = 3;

/// The socket option to read. Miri does not support `TCP_INFO`; another option of any size exercises
/// the same memory accesses, which is what Miri checks.
const QUESTION: libc::c_int = if cfg!(miri) {
    libc::TCP_NODELAY
} else {
    libc::TCP_INFO
};

/// Whether the peer of this socket has vanished.
pub(crate) fn has_vanished(socket: impl AsFd) -> bool {
    // If the option cannot be read, the connection's own thread will find the error. A Unix socket has no
    // such option, and its peer cannot vanish: the system closes what a program leaves open.
    read(socket).is_ok_and(|info| is_gone(&info))
}

fn is_gone(info: &libc::tcp_info) -> bool {
    let unanswered = info.tcpi_retransmits.max(info.tcpi_probes);
    let silent = Duration::from_millis(info.tcpi_last_ack_recv.into());
    unanswered >= PROBES && silent >= UNANSWERED
}

#[allow(
    unsafe_code,
    reason = "no library of this project reads TCP_INFO; without it a vanished peer is kept for \
              a quarter of an hour"
)]
fn read(socket: impl AsFd) -> io::Result<libc::tcp_info> {
    let mut len = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `tcp_info` consists of integers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the kernel writes at most
    // `len` bytes, which is the size of `info`, and any bytes are valid integers.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            QUESTION,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    match done {
        0 => Ok(info),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn account(retransmits: u8, probes: u8, silent_ms: u32) -> libc::tcp_info {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let socket = TcpStream::connect(address).expect("it listens");
        let mut info = read(&socket).expect("a TCP socket has an account");
        info.tcpi_retransmits = retransmits;
        info.tcpi_probes = probes;
        info.tcpi_last_ack_recv = silent_ms;
        info
    }

    #[test]
    fn only_a_peer_that_answers_no_probe_for_a_minute_has_vanished() {
        assert!(is_gone(&account(8, 0, 61_000)));
        assert!(is_gone(&account(0, 5, 61_000)));
        assert!(!is_gone(&account(8, 0, 30_000)));
        assert!(!is_gone(&account(0, 0, 600_000)));
        assert!(!is_gone(&account(1, 1, 90_000)));
    }

    #[test]
    fn a_peer_that_reads_nothing_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut socket = TcpStream::connect(address).expect("it listens");
        let _peer = listener.accept().expect("a connection waits");
        socket
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        while socket.write(&[0; 65536]).is_ok() {}
        assert!(!has_vanished(&socket));
    }
}
