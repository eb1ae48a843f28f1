//! What is made on first use, and once in a process, even if that fails.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

/// What was made. An error is text: anyhow's cannot be had twice.
pub type OnceResult<T> = OnceLock<Result<T, String>>;

/// What was made before, or is made now; other threads wait for it.
pub fn once<T>(cell: &OnceResult<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    let made = cell.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow!("{error}"))
}
