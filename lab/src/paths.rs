//! Where things are: the checkout, the packages, and what this user's lab makes.
//!
//! The packages are in `target/lab` of the checkout or in the folder that [`VARIABLE`] names. That
//! folder can belong to another user, as on a shared server: then its packages are only read, and
//! everything that this user's lab makes goes to `target/lab` of the checkout, or to the user's
//! cache when the checkout belongs to another user as well.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::variables;

/// The checkout this lab was built from.
pub fn checkout() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The environment variable that names another folder for the packages.
pub const VARIABLE: &str = "LAB_DIR";
/// The file that tells a folder of this user's from another user's: a user who may write to it may
/// change what is in the folder.
pub const LOCK: &str = "lock";

/// The folder with the packages: `target/lab`, or what the user named. It can be read-only.
pub fn packages() -> PathBuf {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES
        .get_or_init(|| {
            // It only fails without a current folder.
            let named = variables::get(VARIABLE).and_then(|path| std::path::absolute(path).ok());
            named.unwrap_or_else(|| checkout().join("target/lab"))
        })
        .clone()
}

/// This user's folder: everything the lab builds and logs, and packages that [`packages`] lacks.
pub fn lab() -> PathBuf {
    static LAB: OnceLock<PathBuf> = OnceLock::new();
    LAB.get_or_init(|| own(&[packages(), checkout().join("target/lab"), cache()])).clone()
}

/// The first of some folders that this user may write to, or the last.
fn own(folders: &[PathBuf]) -> PathBuf {
    let own = folders.iter().find(|folder| is_ours(folder)).or(folders.last());
    own.cloned().unwrap_or_default()
}

/// Whether this user may change what is in a folder, which is made if it is not there.
fn is_ours(folder: &Path) -> bool {
    let lock = folder.join(LOCK);
    fs::create_dir_all(folder).is_ok()
        && OpenOptions::new().create(true).truncate(false).write(true).open(lock).is_ok()
}

/// The folder of this checkout in the user's cache.
fn cache() -> PathBuf {
    let cache = variables::get("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variables::get("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    cache.join("my-rng-lab").join(key(&checkout()))
}

/// A short name for a path that no other path has.
pub fn key(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{:08x}", hasher.finish() >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_writable_folder_is_ours() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (file, own_folder) = (folder.path().join("file"), folder.path().join("own"));
        fs::write(&file, "").expect("writable");
        // Below a file there can be no folder, for root as well.
        let folders = [file.join("shared"), own_folder.clone(), folder.path().join("other")];
        assert_eq!(own(&folders), own_folder);
        assert_eq!(own(&folders[..1]), folders[0]);
    }

    #[test]
    fn lock_of_another_user_makes_a_folder_theirs() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        // A folder in the lock's place: for root, permissions would say nothing.
        fs::create_dir(folder.path().join(LOCK)).expect("writable");
        assert!(!is_ours(folder.path()));
    }

    #[test]
    fn paths_of_one_file_name_have_different_keys() {
        assert_ne!(key(Path::new("/a/my_rng.rs")), key(Path::new("/b/my_rng.rs")));
    }
}
