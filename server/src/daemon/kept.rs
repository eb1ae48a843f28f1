//! Which class number each guest has, in memory and in the status file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use my_rng_server::bandwidth::ClassId;
use my_rng_server::source::Share;
use vfio_user_kit::{Gate, Refused};

use super::identifiers::{Identifiers, StatusFile};

/// The numbers of connected guests, and of those that were connected when the daemon ended last.
#[derive(Debug)]
pub struct Kept {
    file: StatusFile,
    numbers: Mutex<Identifiers>,
    /// How often they have changed. It is counted while they are locked.
    changes: AtomicU64,
    /// How many of the changes are in the file. It is locked while that is written, and the numbers
    /// are not: guests that come at the same time share what the disk takes.
    written: Mutex<u64>,
    /// Set when the daemon is told to end: guests that go now keep their numbers.
    ending: Arc<AtomicBool>,
    /// Whether the file could not be written the last time, which was said then.
    failing: AtomicBool,
}

impl Kept {
    /// Takes over what the file has.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(file: StatusFile, ending: Arc<AtomicBool>) -> Result<Self> {
        let numbers = Mutex::new(file.load()?);
        let (changes, written) = (AtomicU64::new(1), Mutex::new(0));
        Ok(Kept { file, numbers, changes, written, ending, failing: AtomicBool::new(false) })
    }

    fn numbers(&self) -> MutexGuard<'_, Identifiers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers that guests of a source have, if they are among `guests`. Those of others are
    /// forgotten.
    pub fn of_source(&self, source: &str, guests: &BTreeSet<&str>) -> Vec<ClassId> {
        let mut numbers = self.numbers();
        let Some(kept) = numbers.get_mut(source) else { return Vec::new() };
        kept.retain(|guest, _| guests.contains(guest.as_str()));
        kept.values().copied().map(ClassId).collect()
    }

    /// The number that a guest has, or had before the daemon was started.
    fn number(&self, source: &str, guest: &str) -> Option<ClassId> {
        self.numbers().get(source)?.get(guest).copied().map(ClassId)
    }

    /// Notes a guest's number, or that it has none any more.
    fn note(&self, source: &str, guest: &str, number: Option<ClassId>) {
        let mut numbers = self.numbers();
        let of_source: &mut BTreeMap<_, _> = numbers.entry(source.into()).or_default();
        match number {
            Some(ClassId(number)) => of_source.insert(guest.into(), number),
            None => of_source.remove(guest),
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        drop(numbers);
        self.store();
    }

    /// Writes to the file what has changed until now, unless somebody else has.
    pub fn store(&self) {
        let wanted = self.changes.load(Ordering::Relaxed);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return;
        }
        let numbers = self.numbers();
        let changes = self.changes.load(Ordering::Relaxed);
        let copy = numbers.clone();
        drop(numbers);
        self.write(&copy);
        *written = changes;
    }

    /// Guests that come and go while the disk is full do not fill the log as well.
    fn write(&self, numbers: &Identifiers) {
        match self.file.store(numbers) {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                log::warn!("the status file can be written again");
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                log::error!("{error:#}; until it can be, numbers are lost with the daemon");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Lets a guest in if there is room for its floor, and makes it a class meanwhile.
pub struct ClassGate {
    /// Its part.
    pub share: Arc<Share>,
    /// Of which source.
    pub source: String,
    /// Its name.
    pub guest: String,
    /// Where its number is kept.
    pub kept: Arc<Kept>,
}

impl ClassGate {
    /// The guest is not served any more. If it had a number before a restart and has not come for
    /// it, others may have that.
    pub fn forget(&self) {
        if self.share.class().is_some() {
            // Its session does not end; when it does, the number is returned.
            return;
        }
        if let Some(number) = self.kept.number(&self.source, &self.guest) {
            self.kept.note(&self.source, &self.guest, None);
            self.share.release(number);
        }
    }
}

impl Gate for ClassGate {
    fn admit(&self) -> Result<(), Refused> {
        let before = self.kept.number(&self.source, &self.guest);
        let number = self.share.join(before).map_err(Refused::new)?;
        if before.is_none() {
            self.kept.note(&self.source, &self.guest, Some(number));
        }
        Ok(())
    }

    fn left(&self) {
        let keep = self.kept.ending.load(Ordering::Acquire);
        if !keep {
            self.kept.note(&self.source, &self.guest, None);
        }
        self.share.leave(keep);
    }
}
