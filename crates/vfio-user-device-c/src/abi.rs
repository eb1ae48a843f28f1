//! The structures that C hands over, as the header declares them.

use std::ffi::{c_int, c_void};
use std::{mem, ptr, slice};

use vfio_user_device::{Bar, Bus, Class, DeviceConfig, Identity, Msix, Width};

use crate::slices::slice_of;
use crate::state::State;

/// `struct vfio_user_bar`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CBar {
    /// Bytes.
    pub size: u64,
    /// One of [`bar_kind`].
    pub kind: u32,
    /// Reads have no side effects.
    pub prefetchable: u8,
    /// Bytes of the widest access; 0 for 4.
    pub max_access_width: u8,
    /// 0.
    pub reserved: u16,
}

/// Values of [`CBar::kind`].
pub mod bar_kind {
    /// No BAR.
    pub const NONE: u32 = 0;
    /// Memory below 4 GiB.
    pub const MEMORY32: u32 = 1;
    /// Memory anywhere.
    pub const MEMORY64: u32 = 2;
    /// I/O ports.
    pub const IO: u32 = 3;
}

/// `struct vfio_user_msix`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CMsix {
    /// Number of vectors; 0 for no MSI-X.
    pub vectors: u16,
    /// The BAR that holds both tables.
    pub bar: u16,
    /// 0.
    pub reserved: u32,
    /// Offset of the table.
    pub table_offset: u64,
    /// Offset of the pending bits.
    pub pba_offset: u64,
}

/// `struct vfio_user_capability`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CCapability {
    /// Capability id.
    pub id: u8,
    /// Bytes of the body.
    pub length: u8,
    /// 0.
    pub reserved: [u8; 6],
    /// What follows id and next pointer.
    pub body: *const u8,
}

/// `struct vfio_user_config`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CConfig {
    /// Size of the structure as the caller knows it.
    pub struct_size: usize,
    /// Vendor id.
    pub vendor_id: u16,
    /// Device id.
    pub device_id: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor_id: u16,
    /// Subsystem id.
    pub subsystem_id: u16,
    /// Base class, sub-class, interface.
    pub class_code: u32,
    /// Revision.
    pub revision: u8,
    /// Whether the device has an interrupt pin.
    pub intx: u8,
    /// Number of MSI vectors.
    pub msi_vectors: u16,
    /// MSI-X.
    pub msix: CMsix,
    /// The BARs.
    pub bars: [CBar; 6],
    /// The capabilities.
    pub capabilities: *const CCapability,
    /// How many there are.
    pub capability_count: usize,
}

/// `struct vfio_user_ops`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct COps {
    /// Size of the structure as the caller knows it.
    pub struct_size: usize,
    /// The guest reads.
    pub read: Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u32, u64, u32) -> u64>,
    /// The guest writes.
    pub write: Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u32, u64, u32, u64)>,
    /// The device was reset.
    pub reset: Option<unsafe extern "C" fn(*mut c_void, *mut Bus)>,
    /// A timer has fired.
    pub timer: Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u32)>,
    /// An access to guest memory is done.
    pub dma_done:
        Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u64, c_int, *const c_void, usize)>,
    /// The waker was used.
    pub wake: Option<unsafe extern "C" fn(*mut c_void, *mut Bus)>,
    /// The client has gone.
    pub disconnect: Option<unsafe extern "C" fn(*mut c_void, *mut Bus)>,
    /// The device says its state.
    pub save: Option<unsafe extern "C" fn(*mut c_void, *mut State) -> c_int>,
    /// It takes the state of another one.
    pub restore: Option<unsafe extern "C" fn(*mut c_void, *mut Bus, *const State) -> c_int>,
    /// The driver reads configuration space.
    pub config_read: Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u32, *mut c_void, usize)>,
    /// The driver writes to configuration space.
    pub config_write:
        Option<unsafe extern "C" fn(*mut c_void, *mut Bus, u32, *const c_void, usize)>,
}

/// A structure that begins with its size, and whose members may all be zero.
///
/// # Safety
/// `repr(C)`, the first member is a `usize`, and all zeros are a value of it.
pub unsafe trait Versioned: Copy {
    /// Its name in the header.
    const NAME: &'static str;
}

// SAFETY: see the declaration: numbers, and pointers that may be null.
unsafe impl Versioned for CConfig {
    const NAME: &'static str = "struct vfio_user_config";
}

// SAFETY: see the declaration: a number, and functions that may be absent.
unsafe impl Versioned for COps {
    const NAME: &'static str = "struct vfio_user_ops";
}

/// Copies a structure of any version of the header: members that the caller does not know are zero,
/// and those that this library does not know have to be.
///
/// # Safety
/// `given` is null or points to as many bytes as its first member says.
pub unsafe fn copy<T: Versioned>(given: *const T) -> Result<T, String> {
    const SIZE_LIMIT: usize = 64 << 10;
    if given.is_null() {
        return Err(format!("no {}; pass the address of one", T::NAME));
    }
    // SAFETY: the caller's promise, of the first member.
    let size = unsafe { ptr::read_unaligned(given.cast::<usize>()) };
    if !(mem::size_of::<usize>()..=SIZE_LIMIT).contains(&size) {
        return Err(format!("{}: struct_size is {size}; set it to sizeof the structure", T::NAME));
    }
    let mut known = mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's promise, of all that the structure says it has; no more of it is copied
    // than there is room, and all zeros are a value of it.
    let (known, rest) = unsafe {
        let bytes = given.cast::<u8>();
        let common = size.min(mem::size_of::<T>());
        ptr::copy_nonoverlapping(bytes, known.as_mut_ptr().cast::<u8>(), common);
        (known.assume_init(), slice::from_raw_parts(bytes.add(common), size - common))
    };
    if rest.iter().any(|byte| *byte != 0) {
        let newest = mem::size_of::<T>();
        let name = T::NAME;
        return Err(format!("{name}: members behind byte {newest} are set; this library is older"));
    }
    Ok(known)
}

impl CConfig {
    /// What the kit makes of it. What is impossible in there, the kit says later.
    ///
    /// # Safety
    /// The capabilities are as many as it says, and so are the bytes of each.
    pub unsafe fn device_config(&self) -> Result<DeviceConfig, String> {
        let [_, base, sub, interface] = self.class_code.to_be_bytes();
        let mut identity = Identity::new(self.vendor_id, self.device_id).revision(self.revision);
        if self.class_code != 0 {
            identity = identity.class(Class { base, sub, interface });
        }
        if (self.subsystem_vendor_id, self.subsystem_id) != (0, 0) {
            identity = identity.subsystem(self.subsystem_vendor_id, self.subsystem_id);
        }
        let mut config = DeviceConfig::new(identity);
        for (index, bar) in self.bars.iter().enumerate() {
            if let Some(bar) = bar.bar().map_err(|error| format!("BAR {index}: {error}"))? {
                config = config.bar(index, bar);
            }
        }
        if self.intx != 0 {
            config = config.interrupt_pin();
        }
        if self.msi_vectors != 0 {
            config = config.msi(self.msi_vectors);
        }
        if self.msix.vectors != 0 {
            config = config.msix(Msix {
                vectors: self.msix.vectors,
                bar: self.msix.bar.into(),
                table: self.msix.table_offset,
                pba: self.msix.pba_offset,
            });
        }
        // SAFETY: the caller's promise.
        for capability in unsafe { slice_of(self.capabilities, self.capability_count) } {
            // SAFETY: as above.
            let body = unsafe { slice_of(capability.body, capability.length.into()) };
            config = config.capability(capability.id, body.to_vec());
        }
        Ok(config)
    }
}

impl CBar {
    fn bar(&self) -> Result<Option<Bar>, String> {
        let bar = match self.kind {
            bar_kind::NONE => return Ok(None),
            bar_kind::MEMORY32 => Bar::memory32(self.size),
            bar_kind::MEMORY64 => Bar::memory64(self.size),
            bar_kind::IO => Bar::io(self.size),
            other => return Err(format!("invalid kind: {other}; expected VFIO_USER_BAR_...")),
        };
        let width = match self.max_access_width {
            1 => Width::Byte,
            2 => Width::Word,
            0 | 4 => Width::Dword,
            8 => Width::Qword,
            other => {
                return Err(format!(
                    "invalid max_access_width: {other}; expected one of 1, 2, 4, 8"
                ));
            }
        };
        let bar = bar.max_access_width(width);
        Ok(Some(if self.prefetchable != 0 { bar.prefetchable() } else { bar }))
    }
}

#[cfg(test)]
mod tests;
