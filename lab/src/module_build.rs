//! Builds kernel modules for the guest, ours and others, with the compiler and headers of the
//! guest's root.
//!
//! The build runs inside the root ([`entry`]), because the headers' helper programs are linked
//! against that release's C library. The source is copied, so that the checkout stays clean.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::entry::{self, Entry};
use crate::kernel::Kernel;
use crate::{files, lock, paths, process, progress, root};

/// The folder of our own module, in the checkout.
const OURS: &str = "guest-driver";

/// A module that was built.
#[derive(Debug)]
pub struct Built {
    /// The module.
    pub module: PathBuf,
    /// What the compiler and its helpers said.
    pub said: String,
}

/// Builds our own module for a kernel, or takes what was built from the same source before.
pub fn build(kernel: &Kernel) -> Result<Built> {
    build_folder(&paths::checkout().join(OURS), kernel)
}

/// Builds the module whose sources and Kbuild are in a folder, likewise.
pub fn build_folder(source: &Path, kernel: &Kernel) -> Result<Built> {
    let right = lock::preparing()?;
    let source = &std::path::absolute(source).context("cannot find the current folder")?;
    let release = &kernel.release;
    let folder = paths::lab().join("modules").join(release).join(folder_name(source));
    let sources = files::paths(source, is_source)?;
    let stamp = stamp(kernel, source, &sources)?;
    let stamp_path = folder.join("stamp");
    let said_path = folder.join("said");
    if fs::read_to_string(&stamp_path).is_ok_and(|before| before == stamp) {
        let said = files::read_text(&said_path)?;
        return Ok(Built { module: module_in(&folder, source)?, said });
    }
    let entry = entry::get(Some(&right))?;
    progress::say(&format!("building the module of {} for {release}", source.display()));
    // What is in the folder is not complete until it has a stamp.
    lock::remove(&folder)?;
    files::create_folder(&folder)?;
    for path in &sources {
        let to = folder.join(path.file_name().context("a source file has a name")?);
        files::copy(path, &to)?;
    }
    let said = make(entry, &folder, kernel)
        .with_context(|| format!("building the module of {}", source.display()))?;
    let module = module_in(&folder, source)?;
    files::write(&said_path, &said)?;
    files::write(&stamp_path, stamp)?;
    Ok(Built { module, said })
}

/// A folder's name for a source: two of one name are kept apart.
fn folder_name(source: &Path) -> String {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}-{}", paths::key(source))
}

/// Builds in the root, where the folder is `/mnt`. Without debug information a module is a twentieth
/// as large.
fn script(kernel: &Kernel) -> String {
    let arch = Arch::guest();
    format!(
        "make -C /usr/lib/modules/{}/build M=/mnt W=1 {} modules && \
         find /mnt -name '*.ko' -exec {} --strip-debug {{}} +",
        kernel.release,
        arch.make_variables().join(" "),
        arch.tool("strip")
    )
}

fn make(entry: &Entry, folder: &Path, kernel: &Kernel) -> Result<String> {
    let mut command = entry.shell(&kernel.root, folder, &script(kernel));
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "make for {} ended with {}:\n{said}{errors}",
            kernel.release,
            process::describe(output.status)
        );
    }
    Ok(said)
}

/// The module that was built.
fn module_in(folder: &Path, source: &Path) -> Result<PathBuf> {
    let is_module = |path: &Path| path.extension().is_some_and(|end| end == "ko");
    let mut modules = files::paths(folder, is_module)?;
    match (modules.pop(), modules.is_empty()) {
        (Some(module), true) => Ok(module),
        (None, _) => bail!(
            "{} makes no module: its Kbuild or Makefile needs a line like `obj-m := NAME.o`",
            source.display()
        ),
        (Some(_), false) => bail!("{} makes several modules: leave one", source.display()),
    }
}

/// Whether a build needs it. Changes of these files are worth a new build.
pub fn is_source(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    // Kbuild makes this one.
    let generated = path.to_string_lossy().ends_with(".mod.c");
    path.is_file()
        && !generated
        && (path.ends_with("Kbuild")
            || path.ends_with("Makefile")
            || matches!(extension, Some("c" | "h")))
}

/// What a build was made of: the source, and the root with its headers and compiler.
fn stamp(kernel: &Kernel, source: &Path, sources: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for path in sources.iter().chain([&kernel.root.join(root::VERSIONS)]) {
        files::read(path)?.hash(&mut hasher);
        path.file_name().hash(&mut hasher);
    }
    (script(kernel), &kernel.root, source).hash(&mut hasher);
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// The lines of a build in which something is complained about. That the kernel was built by
/// another version of the compiler is not about our source.
pub fn complaints(said: &str) -> Vec<&str> {
    said.lines()
        .filter(|line| line.to_lowercase().contains("warning"))
        .filter(|line| !line.contains("the compiler differs from the one used to build the kernel"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_people_write() {
        let folder = paths::checkout().join("guest-driver");
        assert!(is_source(&folder.join("Kbuild")));
        assert!(is_source(&folder.join("my_rng.c")));
        assert!(!is_source(&folder.join("tester")));
        assert!(!is_source(&folder.join("COPYING")));
    }

    #[test]
    fn modules_of_one_folder_name_are_kept_apart() {
        let (first, second) = (Path::new("/first/driver"), Path::new("/second/driver"));
        assert_ne!(folder_name(first), folder_name(second));
        assert_eq!(folder_name(first), folder_name(first));
    }

    #[test]
    fn another_compiler_version_is_no_complaint() {
        let said = "warning: the compiler differs from the one used to build the kernel\n\
                    my_rng.c:1: warning: unused variable\n  CC [M] my_rng.o\n";
        assert_eq!(complaints(said), ["my_rng.c:1: warning: unused variable"]);
    }
}
