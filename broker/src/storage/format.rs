//! The file `format` of a store: which format it has, who it is, and how its last process ended.

use std::io;

use protocol::StoreId;

use super::disk::{Disk, ReadDisk, read_all, write_all};
use super::frame::FrameSecret;

const NAME: &str = "format";
const UNFINISHED: &str = "format.new";
const FIRST_LINE: &str = "dallal store 1";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Tells stores apart.
    pub(crate) id: StoreId,
    /// Rises at each start after an end that was not clean.
    pub(crate) generation: u32,
    /// The last process has made everything durable and noted that.
    pub(crate) is_clean: bool,
    /// What the checksums of headers begin with. A store that was made without one goes on so.
    pub(crate) secret: FrameSecret,
}

#[derive(Debug)]
pub(crate) enum FormatError {
    /// Its first line.
    Newer(String),
    Io(io::Error),
}

impl Format {
    /// An identifier for a new store.
    pub(crate) fn new_id() -> io::Result<StoreId> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(StoreId::of_random(bytes))
    }

    /// What the checksums of headers in a new store begin with.
    pub(crate) fn new_secret() -> io::Result<FrameSecret> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(FrameSecret(u32::from_le_bytes(bytes)))
    }

    /// None if there is no such file, or nothing in it can be read: then the files of the store say what they can.
    pub(crate) fn read(disk: &dyn ReadDisk) -> Result<Option<Self>, FormatError> {
        let file = match disk.open(NAME) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(FormatError::Io(err)),
        };
        let bytes = read_all(&*file).map_err(FormatError::Io)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if first != FIRST_LINE {
            let version = first.strip_prefix("dallal store ");
            let is_newer = version.is_some_and(|it| it.parse::<u32>().is_ok_and(|it| it > 1));
            return match is_newer {
                true => Err(FormatError::Newer(first.to_owned())),
                false => Ok(None),
            };
        }
        let mut value = |key| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let id = value("id").and_then(|id| StoreId::parse(id).ok());
        let generation = value("generation").and_then(|it| it.parse().ok());
        let is_clean = value("clean") == Some("yes");
        let secret = match lines.next() {
            Some(line) => secret(line),
            None => Some(FrameSecret(0)),
        };
        Ok(id
            .zip(generation)
            .zip(secret)
            .map(|((id, generation), secret)| Self {
                id,
                generation,
                is_clean,
                secret,
            }))
    }

    /// Replaces the file, durably.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let Self {
            id,
            generation,
            is_clean,
            secret,
        } = self;
        let clean = if *is_clean { "yes" } else { "no" };
        let mut text = format!("{FIRST_LINE}\nid {id}\ngeneration {generation}\nclean {clean}\n");
        if *secret != FrameSecret(0) {
            text.push_str(&format!("secret {:08x}\n", secret.0));
        }
        let file = disk.create(UNFINISHED)?;
        write_all(&*file, &[text.as_bytes()], 0)?;
        file.sync()?;
        disk.rename(UNFINISHED, NAME)?;
        disk.sync_folder("")
    }
}

/// The secret in the line for it.
fn secret(line: &str) -> Option<FrameSecret> {
    let digits = line.strip_prefix("secret ")?;
    let is_number = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_number.then(|| u32::from_str_radix(digits, 16).ok())?;
    number.map(FrameSecret)
}
