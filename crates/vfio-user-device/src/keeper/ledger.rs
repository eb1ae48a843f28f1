//! The ledger: what a device and all around it are like, part by part, in a state page.
//!
//! A part that has changed is written to the copy that does not count. A commit then lets all new copies
//! count at once, together with the answer to the message that has brought the change.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::directory::Directory;
use super::layout::{IS_LARGE, OUTGOING_BIT, PARTS, Part};
use super::map::{Area, Map, Unkept};
use crate::state::{Descriptors, StateError};

/// The ledger of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    area: Area,
    directory: &'static Directory,
    /// The page's place in the directory.
    entry: usize,
    /// The descriptors that the copies name, which are open as long as these count.
    held: [Descriptors; Part::ALL.len()],
    /// Parts that were written since the last commit, and their descriptors.
    written: Vec<(Part, Descriptors)>,
    /// The device cannot say its state.
    pub without_device: bool,
}

impl Ledger {
    /// A ledger in a new page, which the directory has from the first commit on. `entry` is that of the
    /// page whose place it takes.
    ///
    /// # Errors
    /// Descriptors or memory have run out.
    pub fn new(directory: &'static Directory, entry: Option<usize>) -> io::Result<Self> {
        let map = Map::new()?;
        let entry = match entry {
            Some(entry) => {
                map.set_crashes(directory.crashes(entry));
                entry
            }
            None => directory.reserve().ok_or(io::ErrorKind::OutOfMemory)?,
        };
        let held = [(); Part::ALL.len()].map(|()| Descriptors::named());
        let area = map.area(PARTS);
        Ok(Ledger { area, directory, entry, held, written: Vec::new(), without_device: false })
    }

    /// The page.
    pub fn map(&self) -> &Arc<Map> {
        self.area.map()
    }

    /// Writes a part, which counts from the next commit on. `fds` has the descriptors that it names.
    pub fn write(&mut self, part: Part, value: &impl Serialize, fds: Descriptors) {
        let copy = usize::from(self.area.map().copies() & part.bit() == 0);
        let length = match self.write_to(part.small(copy), value) {
            Some(length) => length,
            None => match self.write_to(part.large(copy), value) {
                Some(length) => length | IS_LARGE,
                None => {
                    log::warn!(
                        "{part:?} of a device is too long to be kept: a crash loses its client"
                    );
                    self.map().set_unkept(Unkept::Part, true);
                    0
                }
            },
        };
        self.area.map().store(part.length_at(copy), length);
        self.written.retain(|(other, _)| *other != part);
        self.written.push((part, fds));
    }

    fn write_to(&mut self, place: std::ops::Range<usize>, value: &impl Serialize) -> Option<u32> {
        let start = place.start;
        let mut writer = Writer { area: &mut self.area, at: start, end: place.end };
        serde_json::to_writer(&mut writer, value).ok()?;
        u32::try_from(writer.at - start).ok()
    }

    /// Lets all count that was written. `consumed`: the messages in the journal were carried out.
    /// `outgoing`: an answer was written to the journal.
    pub fn commit(&mut self, consumed: bool, outgoing: bool) {
        let map = self.area.map();
        let mut copies = map.copies();
        for (part, _) in &self.written {
            copies ^= part.bit();
        }
        if outgoing {
            copies ^= OUTGOING_BIT;
        }
        map.commit(copies, map.epoch().wrapping_add(consumed.into()));
        // The descriptors of the copies before are closed now, and not before.
        for (part, fds) in self.written.drain(..) {
            self.held[part as usize] = fds;
        }
    }

    /// A message was carried out: crashes before it are not in a row with those after it.
    pub fn forget_crashes(&self) {
        if self.area.map().crashes() != 0 {
            self.area.map().set_crashes(0);
        }
    }

    /// Lets a process that takes this one's place find the page.
    pub fn publish(&self) {
        self.directory.set(self.entry, Some(self.area.map().as_fd().as_raw_fd()));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.directory.set(self.entry, None);
    }
}

/// Writes into a place of the page.
struct Writer<'a> {
    area: &'a mut Area,
    at: usize,
    end: usize,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.end - self.at {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.area.write(self.at, bytes);
        self.at += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Map {
    /// Sets the length of a part that is written once, to its large place.
    pub(super) fn set_part_length(&self, part: Part, length: usize) {
        let length = u32::try_from(length).unwrap_or(0) | IS_LARGE;
        self.store(part.length_at(0), length);
    }

    /// The copy of a part that counts.
    ///
    /// # Errors
    /// It does not say what it should.
    pub fn part<T: DeserializeOwned>(&self, part: Part) -> Result<T, StateError> {
        let copy = usize::from(self.copies() & part.bit() != 0);
        let length: u32 = self.load(part.length_at(copy));
        let place = if length & IS_LARGE == 0 { part.small(copy) } else { part.large(copy) };
        let length = usize::try_from(length & !IS_LARGE).unwrap_or(0);
        let text = self.read(place.start, length.min(place.len()));
        let content = |error| StateError::Content(format!("{part:?}: {error}"));
        serde_json::from_slice(&text).map_err(content)
    }
}
