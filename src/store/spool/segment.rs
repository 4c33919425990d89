//! The files of a spool: numbered segments, each with a head that says whose they are and entries one after the other.
//!
//! A segment is written by one process and never continued by another. What a kill cut off at its end was acknowledged
//! to nobody and is dropped; what is damaged elsewhere is copied beside the segment, said, and passed over.

use super::entry::{self, NoFrame, Spooled};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Begins every segment; the last byte is the version.
const MAGIC: [u8; 8] = *b"ORspool\x01";
/// Bytes before the first entry: magic and the store's epoch.
pub(super) const HEAD_BYTES: u64 = 24;
const EXTENSION: &str = "spool";

/// A spool's folder, and the store that its decisions are for.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) epoch: [u8; 16],
}

/// An entry that was read, and where its frame stands.
pub(super) type Placed = (Range<u64>, Spooled);

impl Folder {
    /// The numbers of the segments that are there, in order.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(&self.path)? {
            let path = file?.path();
            let stem = path.file_stem().and_then(OsStr::to_str);
            if path.extension().and_then(OsStr::to_str) == Some(EXTENSION) {
                numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes a segment; it is there for good when this returns.
    pub(super) fn create(&self, number: u64) -> io::Result<File> {
        let mut options = File::options();
        let mut file = options.create_new(true).write(true).mode(0o600).open(self.segment(number))?;
        file.write_all(&[&MAGIC[..], &self.epoch].concat())?;
        file.sync_all()?;
        File::open(&self.path)?.sync_all()?;
        Ok(file)
    }

    /// Removes a segment whose decisions are all logged. Should a power cut bring it back, logging them again is harmless.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.segment(number))
    }

    /// One entry of a segment, or the bytes that stand there, where these are none.
    pub(super) fn read(&self, number: u64, place: Range<u64>) -> io::Result<Result<Spooled, Vec<u8>>> {
        let mut file = File::open(self.segment(number))?;
        file.seek(SeekFrom::Start(place.start))?;
        let mut frame = vec![0; (place.end - place.start) as usize];
        file.read_exact(&mut frame)?;
        Ok(entry::unframe(&frame).ok().and_then(|(content, _)| entry::decode(content)).ok_or(frame))
    }

    /// Every entry of a segment that an earlier process left. `None`: it is no segment of this spool, and was set aside.
    pub(super) fn recover(&self, number: u64) -> io::Result<Option<Vec<Placed>>> {
        let path = self.segment(number);
        let bytes = fs::read(&path)?;
        let head = [&MAGIC[..], &self.epoch].concat();
        if !bytes.starts_with(&head) {
            self.set_segment_aside(number, &bytes)?;
            return Ok(None);
        }
        let (mut entries, mut at) = (Vec::new(), head.len());
        while at < bytes.len() {
            let end = match entry::unframe(&bytes[at..]) {
                Ok((content, length)) => match entry::decode(content) {
                    Some(spooled) => {
                        entries.push((at as u64..(at + length) as u64, spooled));
                        at + length
                    }
                    None => self.set_aside(number, at, &bytes[at..at + length])?,
                },
                Err(what) => match (entry::next_frame(&bytes[at..]), what) {
                    (Some(next), _) => self.set_aside(number, at, &bytes[at..at + next])?,
                    (None, NoFrame::Incomplete) => self.cut(&path, at, bytes.len())?,
                    // A power cut may have made the file longer before it wrote anything there.
                    (None, NoFrame::Damaged) if bytes[at..].iter().all(|&byte| byte == 0) => {
                        self.cut(&path, at, bytes.len())?
                    }
                    (None, NoFrame::Damaged) => self.set_aside(number, at, &bytes[at..])?,
                },
            };
            at = end;
        }
        Ok(Some(entries))
    }

    /// Copies an entry that nobody can log beside its segment; returns where the copy is.
    pub(super) fn keep_aside(&self, number: u64, at: u64, bytes: &[u8]) -> io::Result<PathBuf> {
        let copy = self.path.join(format!("{number:020}-{at}.damaged"));
        fs::write(&copy, bytes)?;
        Ok(copy)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.{EXTENSION}"))
    }

    /// Sets aside what is damaged within a segment; returns where it ends.
    pub(super) fn set_aside(&self, number: u64, at: usize, bytes: &[u8]) -> io::Result<usize> {
        let copy = self.keep_aside(number, at as u64, bytes)?;
        tracing::error!(
            spool.file = %self.segment(number).display(),
            spool.offset = at,
            spool.bytes = bytes.len(),
            "a part of the spool is damaged: the decisions in it are not logged, all others are; a copy of it is {}",
            copy.display()
        );
        Ok(at + bytes.len())
    }

    /// Drops what was not written to its end, which was acknowledged to nobody; returns where the segment ended.
    fn cut(&self, path: &Path, at: usize, end: usize) -> io::Result<usize> {
        tracing::warn!(
            spool.file = %path.display(),
            spool.offset = at,
            spool.bytes = end - at,
            "the spool's last entry was not written to its end, and so was never acknowledged; it is dropped"
        );
        let file = File::options().write(true).open(path)?;
        file.set_len(at as u64)?;
        file.sync_all()?;
        Ok(end)
    }

    fn set_segment_aside(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.segment(number);
        // Its making was cut off: it never held anything.
        if (bytes.len() as u64) < HEAD_BYTES {
            return fs::remove_file(path);
        }
        let (what, extension) = if bytes.starts_with(&MAGIC) {
            ("holds decisions for another store", "of-another-store")
        } else {
            ("is no spool that this release can read", "unreadable")
        };
        let aside = path.with_extension(extension);
        fs::rename(&path, &aside)?;
        tracing::error!(
            spool.file = %aside.display(),
            "a file of the spool {what}; it is set aside, and what it holds is not logged"
        );
        Ok(())
    }
}
