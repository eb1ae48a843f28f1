//! What a device is: a configuration and a handful of callbacks.

use std::any::Any;

use crate::access::Access;
use crate::bus::Bus;
use crate::memory::DmaCompletion;
use crate::pci::config::DeviceConfig;
use crate::state::{DeviceState, StateError};

/// A PCI device, as its author writes it.
///
/// The kit calls one callback at a time, never two at once, for one client at a time. A callback
/// never waits: what has to happen later is a task ([`Bus::spawn`]), a timer ([`Bus::set_timer`]), an
/// access to guest memory ([`Bus::dma_read`]) or a word from another thread ([`Bus::wait_for`]).
///
/// A panic in a callback or a task does not end the connection: the device is disabled. Its BARs read as all
/// ones and ignore writes, it signals no interrupt and accesses no guest memory, and none of its
/// callbacks is called again. The log says where and why it panicked. Later clients get a new device of
/// [`Server::with_factory`](crate::server::Server::with_factory); without one they are rejected until the
/// program is started again.
///
/// ```
/// use vfio_user_device::{Access, Bar, Bus, Class, DeviceConfig, Device, Identity, Register};
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
///     fn config(&self) -> DeviceConfig {
///         DeviceConfig::new(Identity::new(0x1234, 0xc0de).class(Class::UNCLASSIFIED))
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
/// let mut bench = vfio_user_device::TestBench::new(Counter::default()).unwrap();
/// assert_eq!(bench.read(0, COUNT, 4), 1);
/// assert_eq!(bench.read(0, COUNT, 4), 2);
/// ```
pub trait Device: AsAny + Send + 'static {
    /// What the guest finds in configuration space. Asked for once, before the first client.
    fn config(&self) -> DeviceConfig;

    /// The guest reads `access.width` bytes of a BAR. Surplus high bits of the answer are dropped.
    fn read(&mut self, bus: &mut Bus, access: Access) -> u64;

    /// The guest writes `value` to a BAR.
    fn write(&mut self, bus: &mut Bus, access: Access, value: u64);

    /// The driver reads configuration space. By default that is [`Bus::config_read`]; a device that
    /// has something of its own there calls that, and changes the bytes. QEMU answers for BARs, MSI and
    /// MSI-X itself.
    fn config_read(&mut self, bus: &mut Bus, offset: usize, data: &mut [u8]) {
        bus.config_read(offset, data);
    }

    /// The driver writes to configuration space. By default that is [`Bus::config_write`], which
    /// keeps what a driver may not write; a device that does not call it rejects the access.
    fn config_write(&mut self, bus: &mut Bus, offset: usize, data: &[u8]) {
        bus.config_write(offset, data);
    }

    /// The device was reset: registers go back to their values at power-on. Tasks, timers, the wait
    /// for a waker and accesses to guest memory are cancelled already. By default nothing happens.
    fn reset(&mut self, bus: &mut Bus) {
        let _ = bus;
    }

    /// The timer with that number fired. By default nothing happens.
    fn on_timer(&mut self, bus: &mut Bus, id: u32) {
        let _ = (bus, id);
    }

    /// An access to guest memory that this device asked for is done. They end in the order in
    /// which they were asked for. By default nothing happens.
    fn on_dma_complete(&mut self, bus: &mut Bus, done: DmaCompletion) {
        let _ = (bus, done);
    }

    /// The [`Waker`](crate::Waker) that this device waits for was used. By default nothing happens.
    fn on_wake(&mut self, bus: &mut Bus) {
        let _ = bus;
    }

    /// The client has gone, and the guest with it. Accesses to guest memory have ended already,
    /// with [`DmaError::Disconnected`](crate::DmaError::Disconnected), and tasks have been dropped. What the guest has written to
    /// PCI configuration (command register, BARs, MSI and MSI-X) is undone as by a reset; the next
    /// client finds the device itself as it is left here, and need not reset it. By default nothing
    /// happens.
    fn on_disconnect(&mut self, bus: &mut Bus) {
        let _ = bus;
    }

    /// The state of the device, for another one that takes its place while the guest
    /// runs. Everything that [`Device::restore`] needs, and nothing of what
    /// is around the device: the kit keeps PCI configuration, interrupts, timers and guest memory.
    /// By default the device cannot be exchanged. [`exchangeable!`](crate::exchangeable) writes this and
    /// [`Device::restore`] for a device that is its own state.
    ///
    /// # Errors
    /// [`StateError::NotExchangeable`], or what [`DeviceState::of`] says. The device goes on.
    fn save(&self) -> Result<DeviceState, StateError> {
        Err(StateError::NotExchangeable)
    }

    /// Takes the place of a device that has said this of itself. It is called once, before any other
    /// callback or after a reset. Timers and interrupts are as they were. Accesses to guest memory that had not ended,
    /// tasks and the wait for a waker are gone: the device starts them again here.
    ///
    /// # Errors
    /// [`StateError::NotExchangeable`], or what [`DeviceState::get`] says. This device is dropped
    /// then, and the old one goes on.
    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        let _ = (bus, state);
        Err(StateError::NotExchangeable)
    }

    /// The state of the device, for one at another server to which the client moves its guest. By
    /// default it is that of [`Device::save`].
    ///
    /// The client carries it, and can keep it, change it, and use it twice. A device leaves out what
    /// belongs to its host, as bytes of a source that no other guest may get.
    ///
    /// # Errors
    /// As [`Device::save`].
    fn save_to_migrate(&self) -> Result<DeviceState, StateError> {
        self.save()
    }

    /// Goes on from the state of a device at another server. By default that is
    /// [`Device::restore`]. The state has come from the client: like everything from there, it may be
    /// hostile.
    ///
    /// # Errors
    /// As [`Device::restore`]. The device is reset before it is used again.
    fn restore_migrated(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        self.restore(bus, state)
    }
}

/// In the implementation of [`Device`]: the device is its own state, which makes it exchangeable.
///
/// [`Device::save`] gives the device's value, and [`Device::restore`] takes it. The type has to derive
/// serde's traits, and its value to be all that there is: a device with tasks that run on writes the
/// two functions itself.
///
/// ```
/// use vfio_user_device::serde::{Deserialize, Serialize};
/// # use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity, TestBench};
///
/// #[derive(Default, Serialize, Deserialize)]
/// #[serde(crate = "vfio_user_device::serde", default)]
/// struct Counter {
///     reads: u64,
/// }
///
/// impl Device for Counter {
///     vfio_user_device::exchangeable!();
///     // config, read and write as always
/// #   fn config(&self) -> DeviceConfig {
/// #       DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096))
/// #   }
/// #   fn read(&mut self, _: &mut Bus, _: Access) -> u64 {
/// #       self.reads += 1;
/// #       self.reads
/// #   }
/// #   fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
/// }
/// # let mut bench = TestBench::new(Counter { reads: 6 }).unwrap();
/// # bench.exchange(Counter::default()).unwrap();
/// # assert_eq!(bench.read(0, 0, 4), 7);
/// ```
#[macro_export]
macro_rules! exchangeable {
    () => {
        fn save(&self) -> Result<$crate::DeviceState, $crate::StateError> {
            $crate::DeviceState::of(self)
        }

        fn restore(
            &mut self,
            _bus: &mut $crate::Bus,
            state: &$crate::DeviceState,
        ) -> Result<(), $crate::StateError> {
            *self = state.get()?;
            Ok(())
        }
    };
}

/// Every type, as a trait object that knows its type: a task finds its device by that.
#[doc(hidden)]
pub trait AsAny {
    /// The value as what it is.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any> AsAny for T {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn config(&self) -> DeviceConfig {
        (**self).config()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        (**self).read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        (**self).write(bus, access, value);
    }

    fn config_read(&mut self, bus: &mut Bus, offset: usize, data: &mut [u8]) {
        (**self).config_read(bus, offset, data);
    }

    fn config_write(&mut self, bus: &mut Bus, offset: usize, data: &[u8]) {
        (**self).config_write(bus, offset, data);
    }

    fn reset(&mut self, bus: &mut Bus) {
        (**self).reset(bus);
    }

    fn on_timer(&mut self, bus: &mut Bus, id: u32) {
        (**self).on_timer(bus, id);
    }

    fn on_dma_complete(&mut self, bus: &mut Bus, done: DmaCompletion) {
        (**self).on_dma_complete(bus, done);
    }

    fn on_wake(&mut self, bus: &mut Bus) {
        (**self).on_wake(bus);
    }

    fn on_disconnect(&mut self, bus: &mut Bus) {
        (**self).on_disconnect(bus);
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        (**self).save()
    }

    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        (**self).restore(bus, state)
    }
    fn save_to_migrate(&self) -> Result<DeviceState, StateError> {
        (**self).save_to_migrate()
    }

    fn restore_migrated(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        (**self).restore_migrated(bus, state)
    }
}
