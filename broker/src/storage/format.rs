//! The file `format` of a store: which format it has, who it is, and how its last process ended.

use std::io;

use protocol::StoreId;

use super::disk::{Disk, ReadDisk, read_all, write_all};

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
        Ok(id.zip(generation).map(|(id, generation)| Self {
            id,
            generation,
            is_clean,
        }))
    }

    /// Replaces the file, durably.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let Self {
            id,
            generation,
            is_clean,
        } = self;
        let clean = if *is_clean { "yes" } else { "no" };
        let text = format!("{FIRST_LINE}\nid {id}\ngeneration {generation}\nclean {clean}\n");
        let file = disk.create(UNFINISHED)?;
        write_all(&*file, &[text.as_bytes()], 0)?;
        file.sync()?;
        disk.rename(UNFINISHED, NAME)?;
        disk.sync_folder("")
    }
}
