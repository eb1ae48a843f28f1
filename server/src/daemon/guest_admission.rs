//! Whether a client may have a guest's device, also while the configuration around it changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use vfio_user_device::server::{AdmissionError, AdmissionPolicy};

use super::class_admission::ClassAdmission;

/// Asked for each client of one guest. A client of a guest with a shared source becomes a class of
/// that.
pub struct GuestAdmission {
    /// Locked for reading while a client is admitted. A reload locks it for writing: what it has
    /// found to fit then still fits when it is done.
    admissions: Arc<RwLock<()>>,
    state: Mutex<State>,
}

struct State {
    class: Option<Arc<ClassAdmission>>,
    connected: bool,
    paused: bool,
}

impl GuestAdmission {
    /// Admits clients. `admissions` is that of all guests.
    pub fn new(admissions: Arc<RwLock<()>>, class: Option<Arc<ClassAdmission>>) -> Self {
        GuestAdmission {
            admissions,
            state: Mutex::new(State { class, connected: false, paused: false }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client has been admitted and has not left.
    pub fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// Admits no client until [`GuestAdmission::resume`].
    pub fn pause(&self) {
        self.state().paused = true;
    }

    /// Admits clients again.
    pub fn resume(&self) {
        self.state().paused = false;
    }

    /// Gives the guest a part of another shared source, or of none. A client that is connected
    /// leaves its class and becomes the new one. Admissions have to be locked.
    ///
    /// # Errors
    /// The new class is not to be had: the client then has none.
    pub fn move_to(&self, class: Option<Arc<ClassAdmission>>) -> Result<(), AdmissionError> {
        let mut state = self.state();
        match std::mem::replace(&mut state.class, class) {
            Some(before) if state.connected => before.release(),
            Some(before) => before.release_unclaimed(),
            None => {}
        }
        match &state.class {
            Some(class) if state.connected => class.admit(),
            _ => Ok(()),
        }
    }
}

impl AdmissionPolicy for GuestAdmission {
    fn admit(&self) -> Result<(), AdmissionError> {
        let _admission = self.admissions.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.paused {
            return Err(AdmissionError::new("a reload is about to replace the device"));
        }
        if let Some(class) = &state.class {
            class.admit()?;
        }
        state.connected = true;
        Ok(())
    }

    fn release(&self) {
        let mut state = self.state();
        state.connected = false;
        if let Some(class) = &state.class {
            class.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_paused_no_client_is_admitted_and_a_connected_one_stays() {
        let guest = GuestAdmission::new(Arc::default(), None);
        guest.admit().unwrap();
        guest.pause();
        assert!(guest.is_connected());
        guest.release();
        guest.admit().unwrap_err();
        assert!(!guest.is_connected());
        guest.resume();
        guest.admit().unwrap();
    }

    #[test]
    fn no_client_is_admitted_during_a_reload() {
        let admissions: Arc<RwLock<()>> = Arc::default();
        let guest = Arc::new(GuestAdmission::new(Arc::clone(&admissions), None));
        let reload = admissions.write().unwrap();
        let client = std::thread::spawn({
            let guest = Arc::clone(&guest);
            move || guest.admit()
        });
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(!guest.is_connected());
        guest.pause();
        drop(reload);
        client.join().unwrap().unwrap_err();
    }
}
