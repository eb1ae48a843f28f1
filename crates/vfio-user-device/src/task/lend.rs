//! What tasks borrow: their device and its bus.

use std::sync::Mutex;

use crate::bus::Bus;
use crate::device::Device;

/// What is lent to the tasks.
pub(crate) struct Lent {
    pub device: Box<dyn Device>,
    pub bus: Box<Bus>,
}

/// Where a device and its bus are while its tasks are polled, so that these can borrow them.
pub(crate) type Slot = Mutex<Option<Lent>>;

/// The device as what it is, in however many boxes.
pub(super) fn find<D: Device>(device: &mut dyn Device) -> Option<&mut D> {
    if device.as_any_mut().is::<D>() {
        return device.as_any_mut().downcast_mut();
    }
    let inner = device.as_any_mut().downcast_mut::<Box<dyn Device>>()?;
    find(&mut **inner)
}
