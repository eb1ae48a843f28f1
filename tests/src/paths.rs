//! Where things are: the checkout and the lab's own folder in it.

use std::path::{Path, PathBuf};

/// The checkout this lab was built from.
#[must_use]
pub fn checkout() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// `target/lab`: everything the lab downloads, builds and logs.
#[must_use]
pub fn lab() -> PathBuf {
    checkout().join("target/lab")
}
