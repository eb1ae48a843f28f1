//! Packs the checker for a grader: an archive with the project's sources and the grader's scripts.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use checker::handed_in::Part;
use checker::profile::Profile;
use lab::files;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What of the project the checker is built from.
const SOURCES: [&str; 14] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-BSD-3-Clause",
    "checker",
    "course",
    "crates",
    "guest-driver",
    "lab",
    "qemu-device",
    "qemu-patches",
    "scripts",
    "server",
    "tests",
];
/// What no grader needs: what was built, and solutions.
const LEFT_OUT: [&str; 3] = ["target", "solution", "checker/submissions"];
/// Where the project is in the archive.
const FOLDER: &str = "my-rng-server";
/// The scripts of Gradescope, in the project.
const SCRIPTS: &str = "course/graders/gradescope";
/// The project's profiles.
const PROFILES: &str = "checker/profiles";
/// Where a profile is in the archive, with what is beside it.
const PROFILE: &str = "profile";
/// The most bytes of a file beside a profile.
const MAX_LEN: u64 = 1 << 20;

/// What a grader is told about the exercise.
#[derive(Debug, Clone, Default)]
pub struct Exercise {
    /// The profile; the published device's if not said.
    pub profile: Option<PathBuf>,
    /// The parts that have to be there.
    pub require: Vec<Part>,
}

/// Writes Gradescope's `autograder.zip`.
pub fn gradescope(checkout: &Path, exercise: &Exercise, output: &Path) -> Result<()> {
    let file =
        File::create(output).with_context(|| format!("cannot create {}", output.display()))?;
    let mut archive = Archive { zip: ZipWriter::new(file) };
    for name in ["setup.sh", "run_autograder"] {
        archive.file(&checkout.join(SCRIPTS).join(name), name)?;
    }
    for name in SOURCES {
        let path = checkout.join(name);
        ensure!(path.exists(), "cannot pack {}: it is missing in the checkout", path.display());
        archive.tree(&path, name)?;
    }
    let options = archive.exercise(checkout, exercise)?;
    archive.entry("options", options.join("\n").as_bytes(), 0o644)?;
    archive.zip.finish().with_context(|| format!("cannot write {}", output.display()))?;
    Ok(())
}

struct Archive<W: Write + Seek> {
    zip: ZipWriter<W>,
}

impl<W: Write + Seek> Archive<W> {
    /// Adds a file or a folder of the project.
    fn tree(&mut self, path: &Path, name: &str) -> Result<()> {
        let last = name.rsplit('/').next().unwrap_or(name);
        if LEFT_OUT.iter().any(|left_out| *left_out == name || *left_out == last) {
            return Ok(());
        }
        if path.is_symlink() {
            return Ok(());
        }
        if !path.is_dir() {
            return self.file(path, &format!("{FOLDER}/{name}"));
        }
        for entry in files::entries(path)? {
            self.tree(&entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()))?;
        }
        Ok(())
    }

    /// Adds a file; one that can be run can be run there, too.
    fn file(&mut self, path: &Path, name: &str) -> Result<()> {
        let read = || -> std::io::Result<_> { Ok((fs::read(path)?, path.metadata()?)) };
        let (bytes, metadata) =
            read().with_context(|| format!("cannot read {}", path.display()))?;
        self.entry(name, &bytes, metadata.permissions().mode() & 0o777)
    }

    fn entry(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(mode);
        let context = || format!("cannot pack {name}");
        self.zip.start_file(name, options).with_context(context)?;
        self.zip.write_all(bytes).with_context(context)
    }

    /// Adds the exercise's files; the checker's options, one in each line.
    fn exercise(&mut self, checkout: &Path, exercise: &Exercise) -> Result<Vec<String>> {
        let mut options = Vec::new();
        if !exercise.require.is_empty() {
            let parts: Vec<&str> = exercise.require.iter().map(|part| part.id()).collect();
            options.push(format!("--require={}", parts.join(",")));
        }
        let Some(profile) = &exercise.profile else { return Ok(options) };
        // A mistake is told here, and not to the first student.
        let read = Profile::read(profile)?;
        let name = profile.file_name().context("a profile has a name")?.to_string_lossy();
        let folder = profile.canonicalize().context("it was read")?;
        let folder = folder.parent().context("a file is in a folder")?.to_owned();
        if folder == checkout.join(PROFILES).canonicalize().unwrap_or_default() {
            // Packed with the project, and so is what it names elsewhere.
            options.push(format!("--profile={FOLDER}/{PROFILES}/{name}"));
            return Ok(options);
        }
        for named in [&read.device.source, &read.app.driver].into_iter().flatten() {
            let parent = named.parent().and_then(|parent| parent.canonicalize().ok());
            ensure!(
                parent == Some(folder.clone()) && named.is_file(),
                "cannot pack {}, which {} names: put the file beside the profile",
                named.display(),
                profile.display()
            );
        }
        options.push(format!("--profile={PROFILE}/{name}"));
        for entry in files::entries(&folder)? {
            let small = entry.metadata().is_ok_and(|one| one.is_file() && one.len() <= MAX_LEN);
            if small {
                let name = entry.file_name();
                self.file(&entry.path(), &format!("{PROFILE}/{}", name.to_string_lossy()))?;
            }
        }
        Ok(options)
    }
}
