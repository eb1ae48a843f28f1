//! Exchanging the device on a bench.

use super::TestBench;
use crate::device::Device;
use crate::pci::function::{OnPanic, PciFunction};
use crate::state::{Descriptors, StateError};

impl TestBench {
    /// Puts another device in the place of this one, as an exchange of the program does: the guest
    /// and its driver notice nothing.
    ///
    /// # Errors
    /// One of them cannot be exchanged, or they do not look the same. The first one stays then.
    pub fn exchange(&mut self, device: impl Device + 'static) -> Result<(), StateError> {
        let bus = &mut self.function.bus;
        bus.dma.hold(true);
        let exchanged = self.exchange_now(device);
        self.function.bus.dma.hold(false);
        self.run();
        exchanged
    }

    fn exchange_now(&mut self, device: impl Device + 'static) -> Result<(), StateError> {
        self.run();
        let mut fds = Descriptors::default();
        let state = self.function.save(&mut fds)?;
        // Through text, as between processes.
        let text = serde_json::to_string(&state);
        let content = |error: serde_json::Error| StateError::Content(error.to_string());
        let state = serde_json::from_str(&text.map_err(content)?).map_err(content)?;
        let function = PciFunction::new(Box::new(device), OnPanic::Propagate);
        let mut function = function.map_err(|error| StateError::Content(error.to_string()))?;
        function.restore(state, &mut fds)?;
        self.function = function;
        Ok(())
    }
}
