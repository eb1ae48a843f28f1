//! What a callback may do: interrupts, guest memory, timers.
//!
//! Each function takes the bus that the present callback was given.

use std::ffi::{c_int, c_void};
use std::slice;
use std::time::Duration;

use vfio_user_device::{Bus, DmaError, Rejected};

use crate::error;
use crate::slices::bytes;

/// Drives the interrupt pin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_set_intx(bus: &mut Bus, asserted: c_int) {
    bus.set_intx(asserted != 0);
}

/// Signals a vector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_signal_vector(bus: &mut Bus, vector: u16) {
    bus.signal_vector(vector);
}

/// Whether the driver uses MSI.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_msi_enabled(bus: &Bus) -> c_int {
    (bus.msi_enabled() && !bus.msix_enabled()).into()
}

/// Whether the driver uses MSI-X.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_msix_enabled(bus: &Bus) -> c_int {
    bus.msix_enabled().into()
}

/// Reads configuration space.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_config_read(
    bus: &Bus,
    offset: u32,
    buffer: *mut c_void,
    length: usize,
) {
    // SAFETY: the header: the caller's buffer has that many bytes.
    if let Some(buffer) = unsafe { place_for(buffer, length) } {
        bus.config_read(usize::try_from(offset).unwrap_or(usize::MAX), buffer);
    }
}

/// Writes to configuration space.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_config_write(
    bus: &mut Bus,
    offset: u32,
    data: *const c_void,
    length: usize,
) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    // SAFETY: the header: the caller's data has that many bytes.
    bus.config_write(offset, unsafe { bytes(data, length) });
}

/// Reads shared guest memory at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_memory_read(
    bus: &mut Bus,
    address: u64,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    // SAFETY: the header: the caller's buffer has that many bytes.
    match unsafe { place_for(buffer, length) } {
        Some(buffer) => error::result(bus.dma_read_now(address, buffer)),
        None => 0,
    }
}

/// The caller's buffer, if it has any bytes.
///
/// # Safety
/// It has that many.
unsafe fn place_for<'a>(buffer: *mut c_void, length: usize) -> Option<&'a mut [u8]> {
    if length == 0 {
        return None;
    }
    // SAFETY: the caller's promise. The bytes need no value, and any value is one of a byte.
    Some(unsafe {
        buffer.write_bytes(0, length);
        slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    })
}

/// Writes shared guest memory at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_memory_write(
    bus: &mut Bus,
    address: u64,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: the header: the caller's data has that many bytes.
    error::result(bus.dma_write_now(address, unsafe { bytes(data, length) }))
}

/// Begins to read guest memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_dma_read(
    bus: &mut Bus,
    address: u64,
    length: usize,
    tag: u64,
) -> c_int {
    error::result(bus.dma_read(address, length, tag).map_err(reason))
}

/// Begins to write guest memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_dma_write(
    bus: &mut Bus,
    address: u64,
    data: *const c_void,
    length: usize,
    tag: u64,
) -> c_int {
    // SAFETY: the header: the caller's data has that many bytes.
    let data = unsafe { bytes(data, length) }.to_vec();
    error::result(bus.dma_write(address, data, tag).map_err(reason))
}

/// Forgets the accesses that have not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_dma_cancel(bus: &mut Bus) {
    bus.cancel_dma();
}

/// Sets a timer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_set_timer(bus: &mut Bus, id: u32, nanoseconds: u64) {
    bus.set_timer(id, Duration::from_nanos(nanoseconds));
}

/// Stops a timer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_cancel_timer(bus: &mut Bus, id: u32) {
    bus.cancel_timer(id);
}

fn reason(rejected: Rejected) -> DmaError {
    rejected.error
}
