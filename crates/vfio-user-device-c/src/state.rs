//! The state of a device in C: numbers and bytes by name, as `save` puts them and `restore` gets
//! them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use rustix::io::Errno;
use vfio_user_device::Hex;
use vfio_user_device::serde::{Deserialize, Serialize};

use crate::error::fail;
use crate::slices::bytes;

/// `struct vfio_user_state`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde", transparent)]
pub struct State {
    fields: BTreeMap<String, Field>,
    /// Those that `restore` has got.
    #[serde(skip)]
    got: RefCell<BTreeSet<String>>,
}

/// A part of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde", untagged)]
enum Field {
    Number(u64),
    Bytes(Hex),
}

impl State {
    /// A field that nothing has asked for: the state is one of another device.
    pub fn left_over(&self) -> Option<&str> {
        let got = self.got.borrow();
        self.fields.keys().find(|name| !got.contains(*name)).map(String::as_str)
    }

    fn put(&mut self, name: *const c_char, field: Field) -> c_int {
        // SAFETY: the header: null or a C string.
        match unsafe { text(name) }.map(|name| self.fields.entry(name.to_owned())) {
            Some(Entry::Vacant(entry)) => {
                entry.insert(field);
                0
            }
            Some(Entry::Occupied(entry)) => {
                let message = format!("the state has a field \"{}\" already", entry.key());
                fail(Errno::EXIST, &message)
            }
            None => fail(Errno::INVAL, "a field of a state needs a name in UTF-8"),
        }
    }

    fn get(&self, name: *const c_char) -> Result<&Field, c_int> {
        // SAFETY: the header: null or a C string.
        let name = unsafe { text(name) }.unwrap_or_default();
        let missing = || fail(Errno::NOENT, &format!("the state has no field \"{name}\""));
        let field = self.fields.get(name).ok_or_else(missing)?;
        self.got.borrow_mut().insert(name.to_owned());
        Ok(field)
    }
}

/// # Safety
/// It is null or a C string.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

/// # Safety
/// It is null or a C string.
unsafe fn other_kind(name: *const c_char, wanted: &str) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { text(name) }.unwrap_or_default();
    fail(Errno::INVAL, &format!("the field \"{name}\" of the state is not {wanted}"))
}

/// Adds a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_state_put_number(
    state: &mut State,
    name: *const c_char,
    value: u64,
) -> c_int {
    state.put(name, Field::Number(value))
}

/// Adds bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_state_put_bytes(
    state: &mut State,
    name: *const c_char,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: the header: the caller's data has that many bytes.
    let bytes = unsafe { bytes(data, length) };
    state.put(name, Field::Bytes(Hex(bytes.to_vec())))
}

/// Gets a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_state_get_number(
    state: &State,
    name: *const c_char,
    value: &mut u64,
) -> c_int {
    match state.get(name) {
        Ok(Field::Number(number)) => {
            *value = *number;
            0
        }
        // SAFETY: the header: it is a C string, else nothing was found.
        Ok(Field::Bytes(_)) => unsafe { other_kind(name, "a number") },
        Err(error) => error,
    }
}

/// Gets bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_state_get_bytes(
    state: &State,
    name: *const c_char,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    match state.get(name) {
        Ok(Field::Bytes(Hex(bytes))) if bytes.len() == length => {
            if length > 0 {
                // SAFETY: the header: the caller's buffer has that many bytes, and is its own.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), length) }
            }
            0
        }
        // SAFETY: the header: it is a C string, else nothing was found.
        Ok(_) => unsafe { other_kind(name, &format!("{length} bytes")) },
        Err(error) => error,
    }
}
