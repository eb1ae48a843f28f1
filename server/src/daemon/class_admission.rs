//! Whether a guest with a shared source may connect: its floor has to fit.

use std::sync::Arc;

use entropy::source::Share;
use vfio_user_device::server::{AdmissionError, AdmissionPolicy};

use super::class_id_store::ClassIdStore;

/// Admits a guest if its floor fits, and makes it a class while it is connected.
pub struct ClassAdmission {
    /// Its part.
    pub share: Arc<Share>,
    /// Of which source.
    pub source: String,
    /// Its name.
    pub guest: String,
    /// Where its class id is stored.
    pub ids: Arc<ClassIdStore>,
}

impl ClassAdmission {
    /// The guest is not served any more. If it has a class id from before a restart and has not
    /// connected since, that id is free for others.
    pub fn release_unclaimed(&self) {
        if self.share.class().is_some() {
            // Its session has not ended; its end releases the id.
            return;
        }
        if let Some(id) = self.ids.get(&self.source, &self.guest) {
            self.ids.set(&self.source, &self.guest, None);
            self.share.release(id);
        }
    }
}

impl AdmissionPolicy for ClassAdmission {
    fn admit(&self) -> Result<(), AdmissionError> {
        let before = self.ids.get(&self.source, &self.guest);
        let id = self.share.join(before).map_err(AdmissionError::new)?;
        if before.is_none() {
            self.ids.set(&self.source, &self.guest, Some(id));
        }
        Ok(())
    }

    fn release(&self) {
        let keep = self.ids.is_ending();
        if !keep {
            self.ids.set(&self.source, &self.guest, None);
        }
        self.share.leave(keep);
    }
}
