//! What C passes as a pointer and a length.

use std::ffi::c_void;
use std::slice;

/// The elements that a pointer and a count stand for; none for a null pointer.
///
/// # Safety
/// `first` is null or points to `count` elements.
pub unsafe fn slice_of<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(first, count) }
}

/// The same of bytes.
///
/// # Safety
/// `data` is null or points to that many.
pub unsafe fn bytes<'a>(data: *const c_void, length: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { slice_of(data.cast(), length) }
}
