//! A disk that is none: files in memory, for a store that ends with its process.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::{Disk, DiskFile, ReadDisk};
use crate::sync::{Mutex, RwLock};

/// The files by name.
#[derive(Default)]
pub(crate) struct RamDisk(Mutex<BTreeMap<String, RamFile>>);

/// One file, which lasts as long as it is open or has a name.
#[derive(Clone, Default)]
struct RamFile(Arc<RwLock<Vec<u8>>>);

impl RamDisk {
    fn take(&self, name: &str) -> io::Result<RamFile> {
        let taken = self.0.lock().remove(name);
        taken.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl ReadDisk for RamDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let files = self.0.lock();
        let in_folder = |name: &String| {
            let name = name.strip_prefix(folder)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        Ok(files.keys().filter_map(in_folder).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.lock().get(name).cloned();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file))
    }
}

impl Disk for RamDisk {
    fn make_folder(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = RamFile::default();
        self.0.lock().insert(name.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.take(from)?;
        self.0.lock().insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.take(name).map(drop)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn sync_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for RamFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let file = self.0.read();
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
        let read = bytes.len().min(file.len() - at);
        bytes[..read].copy_from_slice(&file[at..at + read]);
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let mut file = self.0.write();
        let mut end = usize::try_from(at).map_err(io::Error::other)?;
        let begin = end;
        for slice in slices {
            let at = end;
            end += slice.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at..end].copy_from_slice(slice);
        }
        Ok(end - begin)
    }

    /// The pages of what was never written take no memory.
    fn reserve(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut file = self.0.write();
        if file.is_empty() {
            *file = vec![0; len];
        } else if file.len() < len {
            file.resize(len, 0);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut file = self.0.write();
        file.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        file.shrink_to_fit();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{read_all, write_all};
    use super::*;

    #[test]
    fn files_have_what_was_written_and_go_with_their_names() {
        let disk = RamDisk::default();
        let file = disk.create("log/1").expect("memory");
        file.reserve(10).expect("memory");
        write_all(&*file, &[b"ab", b"", b"cd"], 8).expect("memory");
        let content = |name| read_all(&*disk.open(name).expect("it is there")).expect("memory");
        assert_eq!(content("log/1"), b"\0\0\0\0\0\0\0\0abcd");
        disk.create("log/2").expect("memory");
        disk.rename("log/1", "log/2").expect("it is there");
        disk.create("other/log/3").expect("memory");
        assert_eq!(disk.names("log").expect("memory"), ["2"]);
        file.truncate(9).expect("memory");
        assert_eq!(content("log/2"), b"\0\0\0\0\0\0\0\0a");
        assert_eq!(file.read_at(&mut [0; 4], 8).expect("memory"), 1);
        assert_eq!(file.read_at(&mut [0; 4], 80).expect("memory"), 0);
        for name in ["log/1", "log"] {
            let missing = disk.open(name).map(drop).map_err(|err| err.kind());
            assert_eq!(missing, Err(io::ErrorKind::NotFound));
        }
        disk.remove("log/2").expect("it is there");
        assert_eq!(disk.names("log").expect("memory"), [""; 0]);
        // What is open can still be read.
        assert_eq!(file.len().expect("memory"), 9);
    }
}
