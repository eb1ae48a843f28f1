//! A device of the user's own, as source: a crate's folder, or a single Rust file.
//!
//! Either is a program that takes the kit's usual options (`vfio_user_device::main`). A file needs no
//! more than itself: the lab writes a crate around it, with the device kit as its only dependency.
//! A crate names the kit by its version (`vfio-user-device = "0.1"`), wherever the checkout is, or by
//! a path of its own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{cargo_build, files, lock, paths};

/// What the checkout's own profile has for all crates, and a device for its dependencies: they are compiled
/// once. A debugger shows the device's own variables.
const PROFILE: &str = "profile.dev.package.\"*\".debug=\"line-tables-only\"";

/// The device kit's package.
const KIT: &str = "vfio-user-device";

/// The package that a crate around a file is based on: the versions of all dependencies are the
/// checkout's own, so that they are compiled once.
const MANIFEST: &str = r#"[package]
name = "NAME"
version = "0.0.0"
edition = "2024"
publish = false

[[bin]]
name = "NAME"
path = FILE

[dependencies]
vfio-user-device = { path = KIT, features = ["cli"] }

# A workspace of its own, wherever this folder is.
[workspace]
"#;

/// A device's source.
#[derive(Debug, Clone)]
pub struct DeviceCrate {
    source: PathBuf,
    manifest: PathBuf,
    /// The lab's folder for it, which no other source has.
    folder: PathBuf,
}

impl DeviceCrate {
    /// Finds out what there is at a path. A crate around a file is written to the lab's folder.
    pub fn open(path: &Path) -> Result<Self> {
        let source = path.canonicalize().with_context(|| {
            format!("no device at {}: name a Rust file or a crate's folder", path.display())
        })?;
        Self::open_in(&source, &folder_of(&source))
    }

    /// As [`DeviceCrate::open`], with another place for the crate around a file.
    pub fn open_in(source: &Path, folder: &Path) -> Result<Self> {
        let manifest = if source.is_dir() {
            source.join("Cargo.toml")
        } else if source.extension().is_some_and(|extension| extension == "rs") {
            write_crate(source, folder, &program_name(source))?
        } else {
            bail!("{} is neither a Rust file (.rs) nor a crate's folder", source.display());
        };
        if !manifest.is_file() {
            bail!("{} has no Cargo.toml, so it is no crate's folder", source.display());
        }
        Ok(Self { source: source.to_path_buf(), manifest, folder: folder.to_path_buf() })
    }

    /// What the author edits: the file, or the crate's folder.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Cargo's arguments to build it with the checkout's device kit.
    fn cargo_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["build", "--bins", "--config", PROFILE].map(Into::into).into();
        arguments.extend(cargo_build::OPTIMISED.iter().map(Into::into));
        arguments.extend(["--manifest-path".into(), self.manifest.clone().into_os_string()]);
        arguments.extend(kit_arguments(&self.manifest));
        arguments
    }

    /// Builds it and returns the program. What is wrong with the source, cargo tells the user.
    pub fn build(&self) -> Result<PathBuf> {
        let what = self.source.display().to_string();
        // Until it is copied: cargo puts programs of one name in one place.
        let _right = lock::preparing()?;
        let mut programs = cargo_build::programs(&what, &self.cargo_arguments())?;
        match (programs.pop(), programs.is_empty()) {
            (Some(program), true) => self.keep(&program),
            (None, _) => bail!("{what} has no program: give it a src/main.rs with a main function"),
            (Some(_), false) => bail!("{what} has several programs: leave one, the device"),
        }
    }

    /// Copies a program that was built to this source's own folder.
    fn keep(&self, program: &Path) -> Result<PathBuf> {
        let name = program.file_name().context("a program has a name")?;
        let bin = self.folder.join("bin");
        let (kept, partial) = (bin.join(name), bin.join("new.partial"));
        // Renamed into place: the old one may be running.
        fs::create_dir_all(&bin)
            .and_then(|()| fs::copy(program, &partial).map(drop))
            .and_then(|()| fs::rename(&partial, &kept))
            .with_context(|| format!("cannot copy {} to {}", program.display(), bin.display()))?;
        Ok(kept)
    }
}

/// Cargo's arguments that make the device kit of a crate with this manifest the checkout's, with
/// the feature that its `main` needs: a crate need not name it.
pub fn kit_arguments(manifest: &Path) -> Vec<OsString> {
    let kit = toml_string(&kit().to_string_lossy());
    let mut arguments: Vec<OsString> =
        vec!["--config".into(), format!("patch.crates-io.{KIT}.path={kit}").into()];
    let text = fs::read_to_string(manifest).unwrap_or_default();
    for name in kit_names(&text) {
        arguments.extend(["--features".into(), format!("{name}/cli").into()]);
    }
    arguments
}

/// The names that a manifest gives to the device kit.
fn kit_names(manifest: &str) -> Vec<String> {
    // What is wrong with a manifest, cargo tells.
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let is_kit = |(name, dependency): &(&String, &toml::Value)| {
        let package = dependency.get("package").and_then(toml::Value::as_str);
        package.unwrap_or(name) == KIT
    };
    dependencies.into_iter().flatten().filter(is_kit).map(|(name, _)| name.clone()).collect()
}

/// The device kit of this checkout.
fn kit() -> PathBuf {
    paths::checkout().join("crates/vfio-user-device")
}

/// Writes the crate around a file, and returns its manifest.
fn write_crate(file: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    files::create_folder(folder)?;
    let manifest = folder.join("Cargo.toml");
    let text = MANIFEST.replace("NAME", name);
    let text = text.replace("FILE", &toml_string(&file.to_string_lossy()));
    let text = text.replace("KIT", &toml_string(&kit().to_string_lossy()));
    // Not written again when it is the same: cargo would look at everything again.
    if fs::read_to_string(&manifest).ok().as_deref() != Some(&text) {
        files::write(&manifest, text)?;
    }
    let lock = folder.join("Cargo.lock");
    if !lock.is_file() {
        let ours = paths::checkout().join("Cargo.lock");
        files::copy(&ours, &lock)?;
    }
    Ok(manifest)
}

/// The lab's folder for what is made of a device's source.
pub(crate) fn folder_of(source: &Path) -> PathBuf {
    let name = format!("{}-{}", program_name(source), paths::key(source));
    paths::lab().join("devices").join(name)
}

/// Whether a device's build depends on a file.
pub(crate) fn is_source(path: &Path) -> bool {
    let ending = path.extension().is_some_and(|extension| extension == "rs" || extension == "toml");
    ending && !path.components().any(|part| part.as_os_str() == "target")
}

/// A package's name for a file or folder.
fn program_name(source: &Path) -> String {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let plain: String = stem
        .chars()
        .map(
            |letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' },
        )
        .collect();
    if plain.starts_with(|first: char| first.is_ascii_alphabetic()) {
        plain
    } else {
        format!("device-{plain}")
    }
}

/// A string in TOML. Control characters have no place in a path.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn names_of_packages_are_made_of_any_name() {
        assert_eq!(program_name(Path::new("/a/my_rng.rs")), "my-rng");
        assert_eq!(program_name(Path::new("/a/2 Geräte.rs")), "device-2-ger-te");
        assert_eq!(program_name(Path::new("/a/test")), "test");
    }

    #[test]
    fn a_file_gets_a_crate_around_it() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("my \"device\".rs");
        fs::write(&file, "fn main() {}").expect("writable");
        let made = DeviceCrate::open_in(&file, &folder.path().join("crate")).expect("it is one");
        let text = fs::read_to_string(folder.path().join("crate/Cargo.toml")).expect("it is there");
        assert!(text.contains("name = \"my--device-\""), "{text}");
        assert!(text.contains("my \\\"device\\\".rs\""), "{text}");
        assert!(folder.path().join("crate/Cargo.lock").is_file());
        assert_eq!(made.source(), file);
    }

    #[test]
    fn a_crate_need_not_name_the_kits_feature() {
        let names = |dependencies: &str| kit_names(&format!("[dependencies]\n{dependencies}"));
        assert_eq!(names("vfio-user-device = \"0.1\"\nlog = \"0.4\""), [KIT]);
        let renamed = "kit = { package = \"vfio-user-device\", version = \"0.1\" }";
        assert_eq!(names(renamed), ["kit"]);
        assert!(names("log = \"0.4\"").is_empty());
        assert!(kit_names("no manifest").is_empty());
    }

    #[test]
    fn devices_with_files_of_one_name_are_kept_apart() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let programs = ["first", "second"].map(|name| {
            let file = folder.path().join(name).join("my_device.rs");
            fs::create_dir(folder.path().join(name)).expect("writable");
            fs::write(&file, format!("fn main() {{ print!(\"{name}\"); }}")).expect("writable");
            DeviceCrate::open(&file).expect("it is one").build().expect("it compiles")
        });
        // The first was built before the second.
        let said = programs.map(|program| {
            process::output("a device", &mut process::tied(&program)).expect("it runs")
        });
        assert_eq!(said, [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let refused = |path: &Path| DeviceCrate::open(path).expect_err("no device").to_string();
        assert!(refused(folder.path()).contains("has no Cargo.toml"));
        assert!(refused(&folder.path().join("absent.rs")).starts_with("no device at"));
        let file = folder.path().join("device.c");
        fs::write(&file, "").expect("writable");
        assert!(refused(&file).contains("neither a Rust file"));
    }
}
