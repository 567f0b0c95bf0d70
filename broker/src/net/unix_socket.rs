//! Unix sockets: a file through which programs of this machine connect, and what the system says about
//! them.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::engine::peer::{Peer, UnixPeer};

/// Maximum connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// A Unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixPlace {
    pub(crate) path: PathBuf,
    /// The permissions of its file, such as 0o660.
    pub(crate) mode: u32,
    /// The numbers of the user and the group that own the file, where another than the broker's is wanted.
    pub(crate) owner: (Option<u32>, Option<u32>),
}

/// A listening Unix socket with its file.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the inode of the file.
    file: (u64, u64),
    /// Another process keeps the socket, so that its file stays.
    is_kept: AtomicBool,
}

impl UnixSocket {
    /// Listens at this path. The file of a broker that ended without removing it is replaced; any other
    /// file, and a socket on which a program listens, is an error.
    pub(crate) fn bind(place: &UnixPlace) -> io::Result<Self> {
        remove_abandoned(&place.path)?;
        let address = SocketAddrUnix::new(&place.path)?;
        let socket = stream_socket(SocketFlags::CLOEXEC)?;
        bind(&socket, &address)?;
        let listening = Self::listen(socket, place);
        if listening.is_err() {
            let _ = fs::remove_file(&place.path);
        }
        listening
    }

    fn listen(socket: OwnedFd, place: &UnixPlace) -> io::Result<Self> {
        // No program can connect before `listen`, so the file has its permissions by then.
        fs::set_permissions(&place.path, Permissions::from_mode(place.mode))?;
        let (user, group) = place.owner;
        if user.is_some() || group.is_some() {
            chown(&place.path, user, group)?;
        }
        listen(&socket, BACKLOG)?;
        let file = fs::symlink_metadata(&place.path)?;
        Self::of(socket.into(), place.path.clone(), &file)
    }

    /// A socket that another process has opened at this path. If that one keeps it, its file stays when
    /// this process ends.
    pub(crate) fn opened(listener: UnixListener, path: &Path, keeps: bool) -> io::Result<Self> {
        // Again, because the peers of a socket see the process that did so last.
        listen(&listener, BACKLOG)?;
        let socket = Self::of(listener, path.to_owned(), &fs::symlink_metadata(path)?)?;
        if keeps {
            socket.hand_over();
        }
        Ok(socket)
    }

    /// Another process keeps the socket from now on: its file stays.
    pub(crate) fn hand_over(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Whether another process keeps the socket.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    fn of(listener: UnixListener, path: PathBuf, file: &Metadata) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path,
            file: (file.dev(), file.ino()),
            is_kept: AtomicBool::new(false),
        })
    }

    /// Accepts a connection that waits.
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        let (stream, _) = self.listener.accept()?;
        let peer = Peer::Unix(Arc::new(peer_of(&stream)?));
        Ok((stream.into(), peer))
    }
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        // Another broker may have made a file of its own there meanwhile.
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket at this path on which no program listens. Any other file is an error.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there; choose another path or remove it",
        )),
        Ok(_) => {
            // Without waiting: a program whose queue is full listens as well.
            let socket = stream_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
            match connect(&socket, &SocketAddrUnix::new(path)?) {
                Err(Errno::CONNREFUSED) => fs::remove_file(path),
                Ok(()) | Err(Errno::AGAIN) => Err(io::ErrorKind::AddrInUse.into()),
                Err(err) => Err(err.into()),
            }
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

fn stream_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn peer_of(stream: &UnixStream) -> io::Result<UnixPeer> {
    let uid = getsockopt(stream, PeerCredentials)?.uid();
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    Ok(UnixPeer {
        user: user.into(),
        user_number: uid,
        is_operator: uid == 0 || uid == Uid::effective().as_raw(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> UnixPlace {
        let path = std::env::temp_dir().join(format!("dallal-{}-{name}", std::process::id()));
        UnixPlace {
            path,
            mode: 0o640,
            owner: (None, None),
        }
    }

    #[test]
    fn the_file_has_its_permissions_and_is_removed_with_the_socket() {
        let place = place("mode");
        let socket = UnixSocket::bind(&place).expect("the path is free");
        let mode = fs::metadata(&place.path).expect("it is there").mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert!(UnixStream::connect(&place.path).is_ok());
        let (_, peer) = socket.accept().expect("a connection waits");
        assert!(peer.is_operator());
        let user = User::from_uid(Uid::effective()).expect("users are known");
        let user = user.expect("this one has a name").name;
        assert_eq!(peer.to_string(), format!("unix:{user}"));
        let err = UnixSocket::bind(&place)
            .map(|_| ())
            .expect_err("it is taken");
        assert_eq!(err.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!place.path.exists());
    }

    #[test]
    fn an_abandoned_socket_is_replaced_and_another_file_is_not() {
        let place = place("stale");
        drop(UnixListener::bind(&place.path).expect("the path is free"));
        let socket = UnixSocket::bind(&place).expect("an abandoned socket is replaced");
        // Of another broker, which has replaced it.
        fs::remove_file(&place.path).expect("it is there");
        fs::write(&place.path, "text").expect("the path is free");
        drop(socket);
        assert_eq!(fs::read(&place.path).expect("it stays"), b"text");
        let err = UnixSocket::bind(&place)
            .map(|_| ())
            .expect_err("a file is there");
        assert_eq!(err.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&place.path).expect("it is there");
    }
}
