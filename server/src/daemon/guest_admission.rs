//! Who may have a guest's device, also while the configuration around it changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use vfio_user_kit::{Gate, Refused};

use super::kept::ClassGate;

/// Asked for each client of one guest. A client of a guest with a shared source becomes a class of
/// that.
pub struct GuestGate {
    /// Locked for reading while a client is admitted. A reload locks it for writing: what it has
    /// found to fit then still fits when it is done.
    admissions: Arc<RwLock<()>>,
    state: Mutex<State>,
}

struct State {
    class: Option<Arc<ClassGate>>,
    connected: bool,
    closed: bool,
}

impl GuestGate {
    /// An open gate. `admissions` is that of all guests.
    pub fn new(admissions: Arc<RwLock<()>>, class: Option<Arc<ClassGate>>) -> Self {
        GuestGate {
            admissions,
            state: Mutex::new(State { class, connected: false, closed: false }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client has been admitted and has not left.
    pub fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// Admits no client until [`GuestGate::open`].
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Admits clients again.
    pub fn open(&self) {
        self.state().closed = false;
    }

    /// Gives the guest a part of another shared source, or of none. A client that is connected
    /// leaves its class and becomes the new one. Admissions have to be locked.
    ///
    /// # Errors
    /// The new class is not to be had: the client then has none.
    pub fn move_to(&self, class: Option<Arc<ClassGate>>) -> Result<(), Refused> {
        let mut state = self.state();
        match std::mem::replace(&mut state.class, class) {
            Some(before) if state.connected => before.left(),
            Some(before) => before.forget(),
            None => {}
        }
        match &state.class {
            Some(class) if state.connected => class.admit(),
            _ => Ok(()),
        }
    }
}

impl Gate for GuestGate {
    fn admit(&self) -> Result<(), Refused> {
        let _admission = self.admissions.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.closed {
            return Err(Refused::new("a reload is about to replace the device"));
        }
        if let Some(class) = &state.class {
            class.admit()?;
        }
        state.connected = true;
        Ok(())
    }

    fn left(&self) {
        let mut state = self.state();
        state.connected = false;
        if let Some(class) = &state.class {
            class.left();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_admits_no_client_and_keeps_the_one_that_is_connected() {
        let gate = GuestGate::new(Arc::default(), None);
        gate.admit().unwrap();
        gate.close();
        assert!(gate.is_connected());
        gate.left();
        gate.admit().unwrap_err();
        assert!(!gate.is_connected());
        gate.open();
        gate.admit().unwrap();
    }

    #[test]
    fn no_client_is_admitted_during_a_reload() {
        let admissions: Arc<RwLock<()>> = Arc::default();
        let gate = Arc::new(GuestGate::new(Arc::clone(&admissions), None));
        let reload = admissions.write().unwrap();
        let client = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.admit()
        });
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(!gate.is_connected());
        gate.close();
        drop(reload);
        client.join().unwrap().unwrap_err();
    }
}
