//! State as a value: what another process, or a later one, needs to go on with a device.
//!
//! A [`DeviceState`] is what a device says about itself. The kit puts it into a document with the
//! state of everything around the device. Descriptors do not fit into a document: they travel
//! beside it, and the document has their numbers ([`Descriptors`]).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::raw_fds::duplicate;

/// What a device says of itself in [`Device::save`](crate::Device::save).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use vfio_user_device::DeviceState;
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Counter {
///     reads: u64,
/// }
///
/// let state = DeviceState::of(&Counter { reads: 7 }).unwrap();
/// assert_eq!(state.get::<Counter>().unwrap(), Counter { reads: 7 });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceState(serde_json::Value);

impl DeviceState {
    /// The state of a device without any.
    pub fn none() -> Self {
        DeviceState(serde_json::Value::Null)
    }

    /// Makes a state of a value that can be serialized.
    ///
    /// # Errors
    /// [`StateError::Content`]: the value has no form in JSON, as a map whose keys are no strings.
    pub fn of(value: &impl Serialize) -> Result<Self, StateError> {
        let value = serde_json::to_value(value);
        value.map(DeviceState).map_err(|error| StateError::Content(error.to_string()))
    }

    /// Whether it is that of something without any.
    pub fn is_none(&self) -> bool {
        self.0.is_null()
    }

    /// Makes a value of a state.
    ///
    /// # Errors
    /// [`StateError::Content`]: the state is of another kind of device, or of another version.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, StateError> {
        T::deserialize(&self.0).map_err(|error| StateError::Content(error.to_string()))
    }
}

/// Why a state cannot be saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The device has no [`Device::save`](crate::Device::save).
    #[error(
        "this device cannot be exchanged: it does not say its state; give it save and restore (a \
         device with QEMU's API: a VMStateDescription), or detach it and attach the new one"
    )]
    NotExchangeable,
    /// A client moves the device to another server, or has its writes logged.
    #[error(
        "the client migrates this device, or logs what it writes: try again when the migration is over"
    )]
    Migrating,
    /// What the device itself says against it.
    #[error("{0}")]
    Device(String),
    /// The document has another layout.
    #[error("the state has version {found}, and this program has version {known}")]
    Version {
        /// The document's.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// A guest would notice the difference.
    #[error("{what} of the new device differ from the old one's: detach the one, attach the other")]
    Shape {
        /// Which part of the device.
        what: &'static str,
    },
    /// The document does not say what it should.
    #[error("invalid state: {0}")]
    Content(String),
    /// A part of guest memory cannot be mapped again.
    #[error("cannot map guest memory at {address:#x}: {reason}")]
    Memory {
        /// First address of the region.
        address: u64,
        /// Why.
        reason: String,
    },
    /// Descriptors cannot be duplicated, or are not what they should be.
    #[error("cannot hand a file descriptor over")]
    Descriptor(#[from] io::Error),
}

/// A descriptor in a document: its place among those that travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FdNumber(u32);

/// Descriptors that belong to a document.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    held: Vec<Option<Arc<OwnedFd>>>,
    numbering: Numbering,
}

/// What the numbers in a document are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Numbering {
    /// Places among the descriptors that travel beside the document.
    #[default]
    Place,
    /// The process's own numbers, for one that has the same table.
    Own,
    /// Own numbers of a process that has ended: its descriptors are open in this one, too.
    Left,
}

impl Descriptors {
    /// Those that have arrived.
    pub fn arrived(fds: Vec<OwnedFd>) -> Self {
        let held = fds.into_iter().map(|fd| Some(Arc::new(fd))).collect();
        Descriptors { held, numbering: Numbering::Place }
    }

    /// For a document that has the process's own numbers.
    pub fn named() -> Self {
        Descriptors { held: Vec::new(), numbering: Numbering::Own }
    }

    /// For such a document, in a process that has the table of its writer.
    pub fn left() -> Self {
        Descriptors { held: Vec::new(), numbering: Numbering::Left }
    }

    /// Adds a duplicate of a descriptor.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn add(&mut self, fd: BorrowedFd<'_>) -> Result<FdNumber, StateError> {
        self.add_shared(&Arc::new(fd.try_clone_to_owned()?))
    }

    /// Adds a descriptor, which stays open as long as these are there.
    ///
    /// # Errors
    /// There are too many.
    pub fn add_shared(&mut self, fd: &Arc<OwnedFd>) -> Result<FdNumber, StateError> {
        let number = match self.numbering {
            Numbering::Place => u32::try_from(self.held.len()).ok(),
            Numbering::Own | Numbering::Left => u32::try_from(fd.as_raw_fd()).ok(),
        };
        let number = number.ok_or(io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.held.push(Some(Arc::clone(fd)));
        Ok(FdNumber(number))
    }

    /// Adds a duplicate of a descriptor, if there is one.
    ///
    /// # Errors
    /// As [`Descriptors::add`].
    pub fn add_some(&mut self, fd: Option<BorrowedFd<'_>>) -> Result<Option<FdNumber>, StateError> {
        fd.map(|fd| self.add(fd)).transpose()
    }

    /// A descriptor by its number, for one use.
    ///
    /// # Errors
    /// [`StateError::Content`]: there is none, or it was taken before.
    pub fn take(&mut self, number: FdNumber) -> Result<OwnedFd, StateError> {
        if self.numbering == Numbering::Left {
            // What that process has left stays open until all is kept anew.
            return Ok(duplicate(i32::try_from(number.0).unwrap_or(-1))?);
        }
        let slot = usize::try_from(number.0).ok().and_then(|number| self.held.get_mut(number));
        let missing = || StateError::Content(format!("descriptor {} did not come", number.0));
        Ok(owned(slot.and_then(Option::take).ok_or_else(missing)?)?)
    }

    /// A descriptor, if the document has one there.
    ///
    /// # Errors
    /// As [`Descriptors::take`].
    pub fn take_some(&mut self, number: Option<FdNumber>) -> Result<Option<OwnedFd>, StateError> {
        number.map(|number| self.take(number)).transpose()
    }

    /// All that have arrived and were not taken, in their order.
    #[cfg(feature = "cli")]
    pub fn into_owned(self) -> Vec<OwnedFd> {
        self.held.into_iter().flatten().filter_map(|fd| owned(fd).ok()).collect()
    }

    /// All that have not been taken, in their order.
    pub fn borrow(&self) -> Vec<BorrowedFd<'_>> {
        self.held.iter().flatten().map(AsFd::as_fd).collect()
    }
}

/// The descriptor itself, or a duplicate of one that is needed elsewhere, too.
fn owned(fd: Arc<OwnedFd>) -> io::Result<OwnedFd> {
    Arc::try_unwrap(fd).or_else(|shared| shared.try_clone())
}

impl FdNumber {
    /// A number of the process's own.
    pub fn own(number: RawFd) -> Option<Self> {
        u32::try_from(number).ok().map(FdNumber)
    }
}

/// Bytes in a state: pairs of hexadecimal digits. A quarter as long as a list of numbers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hex(
    /// The bytes.
    pub Vec<u8>,
);

impl Hex {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, if there are exactly as many.
    ///
    /// # Errors
    /// [`StateError::Content`]: there are more or fewer.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], StateError> {
        <[u8; N]>::try_from(self.0.as_slice())
            .map_err(|_| StateError::Content(format!("{} bytes in place of {N}", self.0.len())))
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The memory of BARs is written so: digit by digit through `f` takes ten times as long.
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or_default();
        let digits: String =
            self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        f.write_str(&digits)
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes().chunks(2);
        let digit = |digit: u8| -> Option<u8> { char::from(digit).to_digit(16)?.try_into().ok() };
        let byte = |pair: &[u8]| -> Option<u8> {
            let [high, low] = *pair else { return None };
            Some(digit(high)? << 4 | digit(low)?)
        };
        let bytes = digits.map(byte).collect::<Option<_>>();
        bytes.map(Hex).ok_or_else(|| D::Error::custom("pairs of hexadecimal digits are needed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_others_are_refused() {
        let hex = Hex(vec![0, 0x1f, 0xff]);
        let text = serde_json::to_string(&hex).unwrap();
        assert_eq!(text, "\"001fff\"");
        assert_eq!(serde_json::from_str::<Hex>(&text).unwrap(), hex);
        for wrong in ["\"0\"", "\"0g\"", "\"+1\"", "7", "\"\u{e9}\""] {
            assert!(serde_json::from_str::<Hex>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_descriptor_is_taken_once() {
        let mut fds = Descriptors::default();
        let file = tempfile::tempfile().unwrap();
        let number = fds.add(file.as_fd()).unwrap();
        assert_ne!(fds.take(number).unwrap().as_raw_fd(), file.as_raw_fd());
        assert!(fds.take(number).is_err());
        assert!(fds.take(FdNumber(7)).is_err());
    }

    #[test]
    fn a_state_of_another_kind_is_refused() {
        let state = DeviceState::of(&"text").unwrap();
        let error = state.get::<u32>().unwrap_err().to_string();
        assert!(error.starts_with("invalid state: "), "{error}");
    }
}
