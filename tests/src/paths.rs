//! Where things are: the checkout and the lab's own folder, usually in it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The checkout this lab was built from.
#[must_use]
pub fn checkout() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The environment variable that names another folder for the lab.
pub const VARIABLE: &str = "LAB_DIR";

/// `target/lab`, or what the user named: everything the lab downloads, builds and logs.
#[must_use]
pub fn lab() -> PathBuf {
    static LAB: OnceLock<PathBuf> = OnceLock::new();
    LAB.get_or_init(|| {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        // It only fails without a current folder.
        named
            .and_then(|path| std::path::absolute(path).ok())
            .unwrap_or_else(|| checkout().join("target/lab"))
    })
    .clone()
}
