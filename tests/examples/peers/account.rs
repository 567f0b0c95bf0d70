//! The account that foreign programs run with: the user `nobody`, if this program runs as root.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use crate::peer::{Peer, Role};

/// User and group where the system names none.
const NOBODY: u32 = 65_534;

/// Foreign programs need no more rights than an ordinary user has.
pub(crate) fn runs_as_nobody(peer: &Peer) -> bool {
    peer.role == Role::Rival && geteuid().is_root()
}

/// Takes the rights of root from foreign programs.
pub(crate) fn as_nobody(command: &mut Command, peer: &Peer) {
    if runs_as_nobody(peer) {
        let (user, group) = nobody();
        command.uid(user).gid(group).current_dir(Path::new("/"));
    }
}

/// The numbers of the user and of its group.
pub(crate) fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users
        .lines()
        .find_map(ids_of_nobody)
        .unwrap_or((NOBODY, NOBODY))
}

fn ids_of_nobody(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_nobody_has_the_numbers_that_the_system_gives_it() {
        let line = "nobody:x:99:98:nobody:/nonexistent:/usr/sbin/nologin";
        assert_eq!(ids_of_nobody(line), Some((99, 98)));
        assert_eq!(ids_of_nobody("root:x:0:0:root:/root:/bin/bash"), None);
    }
}
