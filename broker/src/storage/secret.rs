//! Which secret the frames of a store were written with.
//!
//! `format` has it. Without it nothing in the store can be read, so that a damaged `format` must not be the end of all:
//! what a header has leads back from its checksum to the secret. Only headers at places that no publisher chooses are
//! looked at: those at the beginning of each file, where the broker writes one, and the few behind.

use std::cmp::Reverse;

use super::disk::{DiskFile, ReadDisk, read_into};
use super::frame::{FrameHeader, FrameSecret, HEADER_BYTES};

/// Headers of a file that are looked at. One alone may be damaged, and lead to any secret.
const MOST_HEADERS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundSecret {
    pub(super) value: FrameSecret,
    /// Two sources say so. Otherwise what cannot be read with it may be sound with another one.
    pub(super) is_certain: bool,
}

impl FoundSecret {
    /// The one that is noted in `format`, if any of these files has it, or else the one that most headers have.
    pub(super) fn find(
        disk: &dyn ReadDisk,
        names: impl Iterator<Item = String>,
        noted: Option<FrameSecret>,
    ) -> Option<Self> {
        let mut all: Vec<(FrameSecret, usize)> = Vec::new();
        for name in names {
            // What cannot be opened is told when it is read.
            let Ok(file) = disk.open(&name) else {
                continue;
            };
            for value in secrets(&*file) {
                if noted == Some(value) {
                    return Some(Self {
                        value,
                        is_certain: true,
                    });
                }
                match all.iter_mut().find(|(other, _)| *other == value) {
                    Some((_, count)) => *count += 1,
                    None => all.push((value, 1)),
                }
            }
        }
        let most = all.into_iter().min_by_key(|(_, count)| Reverse(*count));
        let is_certain = most.is_some_and(|(_, count)| count > 1);
        let most = most.map(|(value, _)| value);
        let value = if is_certain { most } else { noted.or(most) };
        value.map(|value| Self { value, is_certain })
    }
}

/// Those with which the first headers of a file are sound.
fn secrets(file: &dyn DiskFile) -> Vec<FrameSecret> {
    let (mut found, mut at) = (Vec::new(), 0);
    while found.len() < MOST_HEADERS {
        let mut bytes = [0; HEADER_BYTES];
        // What cannot be read is told when all of the file is.
        let read = read_into(file, &mut bytes, at).unwrap_or(0);
        let Some((header, secret)) = FrameHeader::decode_any(&bytes[..read]) else {
            break;
        };
        found.push(secret);
        at += header.frame_bytes() as u64;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::crash::{Scene, Topics, open, retained, settled};
    use super::super::disk::memory::MemoryDisk;
    use super::super::disk::{Disk, write_all};
    use super::super::frame::FrameKind;
    use super::*;

    const LOG: &str = "log/00000000000000000001.log";

    /// What a publisher may publish: a whole frame that keeps a message on topic 99, without a secret. Its line
    /// begins where frames may.
    fn forged(first: u64) -> Vec<u8> {
        let mut body = Vec::new();
        retained(99, b"forged").encode(&mut body);
        let mut header = FrameHeader::new(FrameKind::State, first, 1).of(&[&body]);
        // It says of all around it that it was durable.
        header.synced_to = 1 << 20;
        let mut bytes = header.encode(FrameSecret(0)).to_vec();
        bytes.extend_from_slice(&body);
        bytes
    }

    fn noted(disk: &MemoryDisk) -> Option<String> {
        let text = String::from_utf8(disk.bytes("format")).expect("a text");
        let mut lines = text.lines();
        lines
            .find(|line| line.starts_with("secret "))
            .map(Into::into)
    }

    fn change_format(disk: &MemoryDisk, change: impl FnOnce(String) -> String) {
        disk.damage("format", |bytes| {
            *bytes = change(String::from_utf8_lossy(bytes).into_owned()).into_bytes();
        });
    }

    /// Starts, and returns what is retained then.
    fn state(disk: &MemoryDisk) -> Topics {
        let (_, found, state) = open(disk).expect("content is no reason not to start");
        assert_eq!(found.recovered.lost, 0, "{found:?}");
        state
    }

    /// Invariant 7: payloads lie in the log byte for byte, and behind damage the next frame is looked for.
    #[test]
    fn a_frame_in_a_payload_is_not_taken_for_one_behind_damage() {
        for is_clean in [false, true] {
            // The number in the header in front of it, a length in its record, and the length in its header.
            for at in [16, 50, 8] {
                let mut scene = Scene::new();
                scene.keep(&retained(1, b"first")).expect("kept");
                let begins = used(&scene.disk);
                scene.keep(&retained(2, &forged(2))).expect("kept");
                scene.sync().expect("synced");
                scene.keep(&retained(3, b"third")).expect("kept");
                if is_clean {
                    scene.store.close().expect("no fault");
                }
                scene.disk.damage(LOG, |bytes| bytes[begins + at] ^= 1);
                let (_, found, state) = open(&scene.disk.killed()).expect("it opens");
                let topics: Vec<u8> = state.keys().copied().collect();
                assert_eq!(topics, [1, 3], "{at}: {found:?}");
                assert_eq!(found.recovered.lost, 1, "{at}: {found:?}");
            }
        }
    }

    /// Where the frames of the first segment end.
    fn used(disk: &MemoryDisk) -> usize {
        let bytes = disk.bytes(LOG);
        let used = bytes.iter().rposition(|&byte| byte != 0);
        used.map_or(0, |at| at + 1).next_multiple_of(8)
    }

    #[test]
    fn each_store_has_its_own_and_keeps_it() {
        let (one, other) = (settled(), settled());
        let secret = noted(&one.disk).expect("a line");
        assert_ne!(Some(&secret), noted(&other.disk).as_ref());
        one.store.close().expect("no fault");
        assert_eq!(state(&one.disk), *one.state());
        assert_eq!(noted(&one.disk), Some(secret));
    }

    /// Invariant 8: whatever becomes of the line, what the headers have leads to it.
    #[test]
    fn a_secret_that_is_lost_is_found_in_the_frames() {
        let scene = settled();
        let secret = noted(&scene.disk).expect("a line");
        let changes: [fn(String) -> String; 6] = [
            |_| String::new(),
            |_| "nothing".to_owned(),
            |text| text[..text.find("secret").expect("it is there")].to_owned(),
            |text| text.replace("secret ", "secret x"),
            |text| format!("{}0\n", text.trim_end()),
            // Another number, which looks right.
            |text| text[..text.len() - 9].to_owned() + "01234567\n",
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let disk = scene.disk.killed();
            change_format(&disk, change);
            assert_eq!(state(&disk), *scene.state(), "{at}");
            assert_eq!(noted(&disk).as_ref(), Some(&secret), "{at}");
            assert_eq!(state(&disk.killed()), *scene.state(), "{at}");
        }
        let disk = scene.disk.killed();
        disk.lose("format");
        // With one more header that is damaged.
        let name = format!("log/{}", disk.names_in("log")[2]);
        disk.damage(&name, |bytes| bytes[24] ^= 1);
        let (_, found, state) = open(&disk).expect("it opens");
        assert_eq!((found.recovered.lost, state.len()), (1, 29));
        assert_eq!(noted(&disk), Some(secret));
    }

    /// Nothing of a log goes that cannot be read.
    #[test]
    fn where_no_secret_is_found_all_is_kept_aside() {
        let mut scene = Scene::new();
        for n in 0..40 {
            scene.keep(&retained(n, &forged(1))).expect("kept");
        }
        scene.sync().expect("synced");
        let disk = scene.disk.killed();
        disk.lose("format");
        let names = disk.names_in("log");
        assert!(names.len() > 2);
        let mut all = Vec::new();
        for name in names.iter().map(|name| format!("log/{name}")) {
            disk.damage(&name, |bytes| bytes[0] ^= 1);
            all.push(disk.bytes(&name));
        }
        let (_, found, state) = open(&disk).expect("content is no reason not to start");
        assert!(found.is_secret_lost && state.is_empty(), "{state:?}");
        let kept = disk.names_in("damaged");
        let kept: Vec<_> = (kept.iter())
            .map(|name| disk.bytes(&format!("damaged/{name}")))
            .collect();
        for bytes in all
            .iter()
            .filter(|bytes| bytes.iter().any(|&byte| byte != 0))
        {
            let is_kept = |kept: &Vec<u8>| {
                bytes.starts_with(kept) && bytes[kept.len()..].iter().all(|&byte| byte == 0)
            };
            assert!(kept.iter().any(is_kept));
        }
    }

    /// A store of a broker that had none.
    #[test]
    fn a_store_without_a_secret_goes_on_without() {
        let disk = MemoryDisk::default();
        let file = disk.create("format").expect("no fault");
        let text = b"dallal store 1\nid k3f9\ngeneration 1\nclean yes\n";
        write_all(&*file, &[text], 0).expect("no fault");
        for life in 0..3 {
            let (store, _, state) = open(&disk).expect("it opens");
            assert_eq!(state.len(), life);
            assert_eq!(store.secret(), FrameSecret(0));
            let record = retained(life as u8, b"x");
            store.keep(&record).expect("kept");
            store.keep(&record).expect("kept");
            assert_eq!(noted(&disk), None);
            match life {
                0 => store.close().expect("no fault"),
                // It is found in the frames as well.
                1 => disk.lose("format"),
                _ => {}
            }
        }
    }
}
