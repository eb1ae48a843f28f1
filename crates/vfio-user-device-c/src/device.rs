//! A device whose callbacks are C functions.

use std::ffi::{c_int, c_void};
use std::ptr;

use rustix::io::Errno;
use vfio_user_device::{Access, Bus, Device, DeviceConfig, DeviceState, DmaCompletion, StateError};

use crate::abi::COps;
use crate::error;
use crate::state::State;

/// The device: what it looks like, what it does, and its own pointer.
#[derive(Debug)]
pub struct CDevice {
    config: DeviceConfig,
    ops: COps,
    opaque: *mut c_void,
}

// SAFETY: the header says that the callbacks, one at a time, come from changing threads; what
// `opaque` points to is used by nothing else of this library.
unsafe impl Send for CDevice {}

impl CDevice {
    /// A device with these callbacks.
    ///
    /// # Safety
    /// The functions may be called with `opaque` as long as the device lives, from any one thread.
    pub unsafe fn new(config: DeviceConfig, ops: COps, opaque: *mut c_void) -> Self {
        CDevice { config, ops, opaque }
    }

    /// Calls one of its callbacks, if there is one.
    fn call(&self, callback: Option<unsafe extern "C" fn(*mut c_void, *mut Bus)>, bus: &mut Bus) {
        if let Some(callback) = callback {
            // SAFETY: the promise of `new`; the bus outlives the call.
            unsafe { callback(self.opaque, bus) }
        }
    }
}

impl Device for CDevice {
    fn config(&self) -> DeviceConfig {
        self.config.clone()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        let Some(read) = self.ops.read else { return 0 };
        let (bar, width) = bar_and_width(access);
        // SAFETY: the promise of `new`; the bus outlives the call.
        unsafe { read(self.opaque, bus, bar, access.offset, width) }
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        let Some(write) = self.ops.write else { return };
        let (bar, width) = bar_and_width(access);
        // SAFETY: as in `read`.
        unsafe { write(self.opaque, bus, bar, access.offset, width, value) }
    }

    fn config_read(&mut self, bus: &mut Bus, offset: usize, data: &mut [u8]) {
        bus.config_read(offset, data);
        if let Some(config_read) = self.ops.config_read {
            let (at, length) = (place(offset), data.len());
            // SAFETY: as in `read`; the data outlives the call, too.
            unsafe { config_read(self.opaque, bus, at, data.as_mut_ptr().cast(), length) }
        }
    }

    fn config_write(&mut self, bus: &mut Bus, offset: usize, data: &[u8]) {
        match self.ops.config_write {
            // SAFETY: as in `config_read`.
            Some(config_write) => unsafe {
                let data = (data.as_ptr().cast(), data.len());
                config_write(self.opaque, bus, place(offset), data.0, data.1);
            },
            None => bus.config_write(offset, data),
        }
    }

    fn reset(&mut self, bus: &mut Bus) {
        self.call(self.ops.reset, bus);
    }

    fn on_timer(&mut self, bus: &mut Bus, id: u32) {
        if let Some(timer) = self.ops.timer {
            // SAFETY: as in `read`.
            unsafe { timer(self.opaque, bus, id) }
        }
    }

    fn on_dma_complete(&mut self, bus: &mut Bus, done: DmaCompletion) {
        let Some(dma_done) = self.ops.dma_done else { return };
        let (number, data, length) = match &done.result {
            Ok(data) => (0, data.as_ptr(), data.len()),
            Err(reason) => {
                let number = error::fail(error::dma_errno(reason), &reason.to_string());
                (number as c_int, ptr::null(), 0)
            }
        };
        // SAFETY: as in `read`; the data outlives the call, too.
        unsafe { dma_done(self.opaque, bus, done.tag, number, data.cast(), length) }
    }

    fn on_wake(&mut self, bus: &mut Bus) {
        self.call(self.ops.wake, bus);
    }

    fn on_disconnect(&mut self, bus: &mut Bus) {
        self.call(self.ops.disconnect, bus);
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        let Some(save) = self.ops.save else { return Err(StateError::NotExchangeable) };
        let mut state = State::default();
        error::forget();
        // SAFETY: as in `read`; the state outlives the call.
        match unsafe { save(self.opaque, &raw mut state) } {
            0 => DeviceState::of(&state),
            error if error == NOT_EXCHANGEABLE => Err(StateError::NotExchangeable),
            error => Err(StateError::Device(error::told("save", error))),
        }
    }

    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        let Some(restore) = self.ops.restore else { return Err(StateError::NotExchangeable) };
        let state: State = state.get()?;
        error::forget();
        // SAFETY: as in `read`; the state outlives the call, too.
        match unsafe { restore(self.opaque, bus, &raw const state) } {
            0 => state.left_over().map_or(Ok(()), |name| {
                let message = format!("the device does not take the field \"{name}\" of the state");
                Err(StateError::Device(message))
            }),
            error => Err(StateError::Device(error::told("restore", error))),
        }
    }
}

/// What a device says that has no state to save.
const NOT_EXCHANGEABLE: c_int = -Errno::OPNOTSUPP.raw_os_error();

/// A place in configuration space is a small number.
fn place(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Both are small numbers.
fn bar_and_width(access: Access) -> (u32, u32) {
    (u32::try_from(access.bar).unwrap_or(0), access.width as u32)
}
