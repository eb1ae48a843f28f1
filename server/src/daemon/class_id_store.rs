//! The class id store: which class id each guest has, in memory and in the status file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use entropy::bandwidth::ClassId;

use super::status_file::{ClassIds, StatusFile, StatusFileWriter};
use super::with_remedy;

/// The class ids of connected guests, and of those that were connected when the daemon ended last.
#[derive(Debug)]
pub struct ClassIdStore {
    file: StatusFileWriter,
    ids: Mutex<ClassIds>,
    /// How often they have changed. It is counted while they are locked.
    changes: AtomicU64,
    /// How many of the changes are in the file. It is locked while the file is written, and the ids
    /// are not: guests that connect at the same time share one write.
    written: Mutex<u64>,
    /// Set when the daemon is told to end: guests that disconnect from then on keep their ids.
    ending: Arc<AtomicBool>,
    /// Whether the file could not be written the last time, which was said then.
    failing: AtomicBool,
}

impl ClassIdStore {
    /// Takes over what the file has, or what the process had whose place this one takes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(
        file: StatusFile,
        inherited: Option<ClassIds>,
        ending: Arc<AtomicBool>,
    ) -> Result<Self> {
        let ids = Mutex::new(inherited.map_or_else(|| file.load(), Ok)?);
        let file = StatusFileWriter::start(file)?;
        let (changes, written) = (AtomicU64::new(1), Mutex::new(0));
        Ok(ClassIdStore { file, ids, changes, written, ending, failing: AtomicBool::new(false) })
    }

    /// All of them.
    pub fn all(&self) -> ClassIds {
        self.ids().clone()
    }

    fn ids(&self) -> MutexGuard<'_, ClassIds> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The class ids that guests of a source have, if they are among `guests`. Those of others are
    /// released.
    pub fn of_source(&self, source: &str, guests: &BTreeSet<&str>) -> Vec<ClassId> {
        let mut ids = self.ids();
        let Some(stored) = ids.get_mut(source) else { return Vec::new() };
        stored.retain(|guest, _| guests.contains(guest.as_str()));
        stored.values().copied().map(ClassId).collect()
    }

    /// The class id that a guest has, or had before the daemon was started.
    pub fn get(&self, source: &str, guest: &str) -> Option<ClassId> {
        self.ids().get(source)?.get(guest).copied().map(ClassId)
    }

    /// Stores a guest's class id, or that it has none any more.
    pub fn set(&self, source: &str, guest: &str, id: Option<ClassId>) {
        let mut ids = self.ids();
        let of_source: &mut BTreeMap<_, _> = ids.entry(source.into()).or_default();
        match id {
            Some(ClassId(id)) => of_source.insert(guest.into(), id),
            None => of_source.remove(guest),
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        drop(ids);
        self.store();
    }

    /// Whether the daemon is about to end, so that guests that disconnect keep their ids.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Writes to the file what has changed until now, unless another thread has.
    pub fn store(&self) {
        let wanted = self.changes.load(Ordering::Relaxed);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return;
        }
        let ids = self.ids();
        let changes = self.changes.load(Ordering::Relaxed);
        let copy = ids.clone();
        drop(ids);
        self.write(copy);
        *written = changes;
    }

    /// Guests that come and go while the disk is full do not fill the log as well.
    fn write(&self, ids: ClassIds) {
        match self.file.store(ids) {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                log::warn!("the status file can be written again");
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                log::error!(
                    "{}; until it can be, class ids are lost with the daemon",
                    with_remedy(&error)
                );
            }
            Ok(()) | Err(_) => {}
        }
    }
}
