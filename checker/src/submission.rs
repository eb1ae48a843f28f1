//! What somebody handed in: a driver, an application, a device, or several of them.
//!
//! They are named one by one, or found in the submission's folder:
//!
//! | part | where it is |
//! | --- | --- |
//! | driver | the folder `driver`; else the folder itself, when a `.c` file in it has `module_init` or `MODULE_` in it (`module_pci_driver` and its like count) |
//! | application | the folder `app`; else `app.c`; else the only `.c` file with a `main` function |
//! | device | the folder `device`; else `device.rs`; else the folder itself, when it has a `Cargo.toml` |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::report::plain_line;

/// The parts of a submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// Its name, in reports.
    pub name: String,
    /// A folder or a `.c` file.
    pub driver: Option<PathBuf>,
    /// A `.c` file, or a folder with one.
    pub app: Option<PathBuf>,
    /// A crate's folder or a `.rs` file.
    pub device: Option<PathBuf>,
}

/// How much of a source is looked at.
const MOST_SOURCE: u64 = 4 << 20;

impl Submission {
    /// With parts that were named.
    pub fn named(
        driver: Option<PathBuf>,
        app: Option<PathBuf>,
        device: Option<PathBuf>,
    ) -> Result<Self> {
        let absolute = |part: Option<PathBuf>| -> Result<Option<PathBuf>> {
            part.map(|path| {
                path.canonicalize().with_context(|| format!("there is no {}", path.display()))
            })
            .transpose()
        };
        let parts = (absolute(driver)?, absolute(app)?, absolute(device)?);
        let first = parts.0.as_ref().or(parts.1.as_ref()).or(parts.2.as_ref());
        let name = first.and_then(|path| path.file_stem()).unwrap_or_default();
        let name = plain_line(&name.to_string_lossy());
        Ok(Self { name, driver: parts.0, app: parts.1, device: parts.2 })
    }

    /// Finds the parts in a folder.
    pub fn find(folder: &Path) -> Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("there is no folder {}", folder.display()))?;
        let name = plain_line(&folder.file_name().unwrap_or_default().to_string_lossy());
        // A link could lead to another submission, and a pipe would be waited for.
        let is_plain = |path: &PathBuf| {
            path.symlink_metadata().is_ok_and(|data| data.is_dir() || data.is_file())
        };
        let inside = |name: &str| Some(folder.join(name)).filter(is_plain);
        let sources = sources(&folder)?;
        let is_driver = sources.iter().any(|(_, text)| is_module(text));
        let programs: Vec<&PathBuf> = sources
            .iter()
            .filter(|(_, text)| has_main(text) && !is_module(text))
            .map(|(path, _)| path)
            .collect();
        let only_program = || (programs.len() == 1).then(|| programs[0].clone());
        let crate_itself = || inside("Cargo.toml").map(|_| folder.clone());
        let found = Self {
            name,
            driver: inside("driver").or_else(|| is_driver.then(|| folder.clone())),
            app: inside("app").or_else(|| inside("app.c")).or_else(only_program),
            device: inside("device").or_else(|| inside("device.rs")).or_else(crate_itself),
        };
        if found.is_empty() {
            bail!(
                "nothing to check in {}: put the driver into a folder `driver`, the application \
                 into `app.c` and the device into `device.rs` or a folder `device`",
                folder.display()
            );
        }
        Ok(found)
    }

    /// Whether it has no part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.driver.is_none() && self.app.is_none() && self.device.is_none()
    }
}

/// All submissions of a folder, one in each folder of it, by name.
pub fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let visible = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.is_dir() && !name.starts_with('.')
    };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(visible).collect();
    folders.sort();
    if folders.is_empty() {
        bail!("{} has no folders: each submission is one", folder.display());
    }
    Ok(folders)
}

/// The C files of a folder with their text.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "c")
            && path.symlink_metadata().is_ok_and(|data| data.is_file() && data.len() <= MOST_SOURCE)
    };
    let paths = paths.into_iter().filter(is_source);
    let text = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(paths.map(|path| (path.clone(), text(&path))).collect())
}

/// Whether a C file is a kernel module's.
fn is_module(text: &str) -> bool {
    let signs = ["module_init", "MODULE_", "module_pci_driver", "module_misc_device"];
    signs.iter().any(|sign| text.contains(sign))
}

/// Whether a C file has a main function.
fn has_main(text: &str) -> bool {
    text.match_indices("main").any(|(at, word)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].trim_start();
        after.starts_with('(') && before.is_some_and(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = "#include <linux/module.h>\nmodule_init(f);\n";
    const APP: &str = "int\nmain (void)\n{\n}\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in files {
            let path = folder.path().join(name);
            let parent = path.parent().expect("it is in the folder");
            fs::create_dir_all(parent).expect("writable");
            fs::write(path, text).expect("writable");
        }
        folder
    }

    fn find(folder: &tempfile::TempDir) -> Submission {
        Submission::find(folder.path()).expect("there is something")
    }

    #[test]
    fn parts_are_known_by_their_names() {
        let folder = folder(&[("driver/a.c", DRIVER), ("app.c", APP), ("device.rs", "")]);
        let found = find(&folder);
        assert!(found.driver.is_some_and(|path| path.ends_with("driver")));
        assert!(found.app.is_some_and(|path| path.ends_with("app.c")));
        assert!(found.device.is_some_and(|path| path.ends_with("device.rs")));
    }

    #[test]
    fn or_by_what_is_in_them() {
        let folder = folder(&[("rng.c", DRIVER), ("try.c", APP)]);
        let found = find(&folder);
        assert_eq!(found.driver, folder.path().canonicalize().ok());
        assert!(found.app.is_some_and(|path| path.ends_with("try.c")));
        assert_eq!(found.device, None);
    }

    #[test]
    fn a_crate_is_a_device_and_an_empty_folder_is_nothing() {
        let crate_folder = folder(&[("Cargo.toml", "[package]"), ("src/main.rs", "")]);
        assert_eq!(find(&crate_folder).device, crate_folder.path().canonicalize().ok());
        let empty = folder(&[("notes.txt", "I have been ill")]);
        let error = Submission::find(empty.path()).expect_err("nothing");
        assert!(error.to_string().starts_with("nothing to check in "), "{error}");
    }

    #[test]
    fn links_to_somebody_elses_parts_are_not_followed() {
        let theirs = folder(&[("driver/a.c", DRIVER), ("app.c", APP), ("device.rs", "")]);
        let links = folder(&[]);
        for name in ["driver", "app.c", "device.rs"] {
            let target = theirs.path().join(name);
            std::os::unix::fs::symlink(target, links.path().join(name)).expect("writable");
        }
        let error = Submission::find(links.path()).expect_err("nothing of its own");
        assert!(error.to_string().starts_with("nothing to check in "), "{error}");
    }

    #[test]
    fn main_is_a_function_and_no_part_of_a_word() {
        assert!(has_main("int main(int argc, char **argv) {"));
        assert!(!has_main("void domain(void); int remains;"));
    }
}
