//! What a device is: a description and a handful of verbs.

use std::fmt;

use crate::bus::Bus;
use crate::description::Description;
use crate::dma::DmaDone;

/// A PCI device, as its author writes it.
///
/// The kit calls one verb at a time, never two at once, for one client at a time. A verb never
/// waits: what has to happen later is a timer ([`Bus::set_timer`]), an access to guest memory
/// ([`Bus::dma_read`]) or a word from another thread ([`Bus::wait_for`]), each of which ends in a
/// verb of its own.
///
/// A panic in a callback does not end the connection: the device plays dead. Its BARs read as all
/// ones and ignore writes, it signals no interrupt and accesses no guest memory, and none of its
/// callbacks is called again. The log says where and why it panicked. Later clients get a new device of
/// [`Server::with_factory`](crate::Server::with_factory); without one they are refused until the
/// program is started again.
///
/// ```
/// use vfio_user_kit::{Access, Bar, Bus, Class, Description, Device, Identity, Register};
///
/// /// A device with one register that counts how often it was read.
/// #[derive(Default)]
/// struct Counter {
///     reads: u64,
/// }
///
/// const COUNT: u64 = 0x0;
///
/// impl Device for Counter {
///     fn describe(&self) -> Description {
///         Description::new(Identity::new(0x1234, 0xc0de).class(Class::UNCLASSIFIED))
///             .bar(0, Bar::memory32(4096).registers(&[Register::new("COUNT", COUNT, 4)]))
///     }
///
///     fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
///         match access.offset {
///             COUNT => {
///                 self.reads += 1;
///                 self.reads
///             }
///             _ => 0,
///         }
///     }
///
///     fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
/// }
///
/// let mut bench = vfio_user_kit::TestBench::new(Counter::default()).unwrap();
/// assert_eq!(bench.read(0, COUNT, 4), 1);
/// assert_eq!(bench.read(0, COUNT, 4), 2);
/// ```
pub trait Device: Send {
    /// What the guest finds in configuration space. Asked for once, before the first client.
    fn describe(&self) -> Description;

    /// The guest reads `access.width` bytes of a BAR. Surplus high bits of the answer are dropped.
    fn read(&mut self, bus: &mut Bus, access: Access) -> u64;

    /// The guest writes `value` to a BAR.
    fn write(&mut self, bus: &mut Bus, access: Access, value: u64);

    /// The device was reset: registers go back to their values at power-on. Timers, the wait for
    /// a waker and accesses to guest memory are cancelled already. By default nothing happens.
    fn reset(&mut self, bus: &mut Bus) {
        let _ = bus;
    }

    /// The timer with that number fired. By default nothing happens.
    fn timer(&mut self, bus: &mut Bus, id: u32) {
        let _ = (bus, id);
    }

    /// An access to guest memory that this device asked for is done. They end in the order in
    /// which they were asked for. By default nothing happens.
    fn dma_done(&mut self, bus: &mut Bus, done: DmaDone) {
        let _ = (bus, done);
    }

    /// The [`Waker`](crate::Waker) that this device waits for was used. By default nothing happens.
    fn woken(&mut self, bus: &mut Bus) {
        let _ = bus;
    }

    /// The client has gone, and the guest with it. Accesses to guest memory have ended already,
    /// with [`DmaError::Disconnected`](crate::DmaError::Disconnected). What the guest has written to
    /// PCI configuration (command register, BARs, MSI and MSI-X) is undone as by a reset; the next
    /// client finds the device itself as it is left here, and need not reset it. By default nothing
    /// happens.
    fn disconnected(&mut self, bus: &mut Bus) {
        let _ = bus;
    }
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn describe(&self) -> Description {
        (**self).describe()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        (**self).read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        (**self).write(bus, access, value);
    }

    fn reset(&mut self, bus: &mut Bus) {
        (**self).reset(bus);
    }

    fn timer(&mut self, bus: &mut Bus, id: u32) {
        (**self).timer(bus, id);
    }

    fn dma_done(&mut self, bus: &mut Bus, done: DmaDone) {
        (**self).dma_done(bus, done);
    }

    fn woken(&mut self, bus: &mut Bus) {
        (**self).woken(bus);
    }

    fn disconnected(&mut self, bus: &mut Bus) {
        (**self).disconnected(bus);
    }
}

/// Width of a register access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
    /// 64 bits.
    Qword = 8,
}

impl Width {
    /// From widest to narrowest.
    pub(crate) const DESCENDING: [Width; 4] =
        [Width::Qword, Width::Dword, Width::Word, Width::Byte];

    /// Width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        self as usize
    }

    /// The bits of a value that an access of this width carries.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self as u32)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes(), f)
    }
}

/// One access to a BAR: naturally aligned, within the BAR, and no wider than the BAR allows.
///
/// The kit splits everything else as QEMU's memory core does: an 8-byte access to a BAR with
/// 4-byte registers is two accesses, the low one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Number of the BAR, 0 to 5.
    pub bar: usize,
    /// Offset in the BAR in bytes.
    pub offset: u64,
    /// Width of the access.
    pub width: Width,
}
