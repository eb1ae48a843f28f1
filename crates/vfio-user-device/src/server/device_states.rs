//! The states of devices without their guests: for a file, from one run of a program to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device_server::Server;
use super::running::RunningServer;
use super::server_set::{ServerKey, ServerSet};
use crate::state::{DeviceState, StateError};

/// How long all sessions may take to come to rest.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

impl ServerSet {
    /// Lets all sessions rest until their servers are removed, and says what their devices are like then.
    /// For the end of a program: no device changes after it was saved.
    pub fn save_devices(&self) -> BTreeMap<ServerKey, Result<DeviceState, StateError>> {
        let servers = self.running();
        let deadline = Instant::now() + REST_TIMEOUT;
        servers.iter().for_each(|(_, server)| server.ask_to_rest());
        let save = |(key, server): (ServerKey, Arc<RunningServer>)| {
            let at_rest = server.wait_until_at_rest(deadline);
            let busy = || StateError::Content("its session does not come to rest".into());
            (key, if at_rest { server.save_device() } else { Err(busy()) })
        };
        servers.into_iter().map(save).collect()
    }
}

impl RunningServer {
    fn save_device(&self) -> Result<DeviceState, StateError> {
        let panicked = Err(StateError::Content("the device has panicked".into()));
        self.function().guarded(panicked, |function| function.device.save())
    }
}

impl Server {
    /// Lets the device go on from the state of one that has ended with its guest: it is as after
    /// [`Device::on_disconnect`](crate::Device::on_disconnect). PCI configuration and guest memory are no
    /// part of it. To be called before the server is added to others.
    ///
    /// # Errors
    /// The state is of another device. This one may have taken a part of it.
    pub fn restore_device(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let panicked = Err(StateError::Content("the device has panicked".into()));
        let restore = |function: &mut crate::pci::function::PciFunction| {
            function.device.restore(&mut function.bus, state)
        };
        let restored = self.function.guarded(panicked, restore);
        self.function.disconnect();
        restored
    }
}
