//! A folder with QEMU's source, patched and configured, and its build.
//!
//! Everything runs inside the root with the tools ([`entry`]), where the folder is `/mnt`. A stamp says
//! what the source was prepared from; whether anything has to be compiled is ninja's business, so
//! that an interrupted build goes on where it was.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::arch::Arch;
use crate::entry::{self, Entry};
use crate::follow::follow;
use crate::progress::Wait;
use crate::qemu::Qemu;
use crate::{files, lock, patched_qemu, process, root};

/// The device's source in QEMU's.
pub const DEVICE_SOURCE: &str = "hw/misc/my_rng.c";
/// Where QEMU looks for the list of its devices, which is named in [`CONFIGURE`].
const DEVICES_FILE: &str = "source/configs/devices/x86_64-softmmu/lab.mak";
/// What is in that list.
const DEVICES: &str = include_str!("devices.mak");
/// The patch as it was applied, to take it back when another comes.
const APPLIED: &str = "applied.patch";
/// The file that says what the source was prepared from.
const STAMP: &str = "stamp";
/// How much of a command's words an error shows.
const SHOWN_LINES: usize = 20;

/// Apt has checked the files already. Two thirds of the source are firmware, which comes in packages
/// of its own.
const UNPACK: &str =
    "dpkg-source --no-check --extract /usr/src/qemu_*.dsc source; rm -rf source/roms";

/// One emulator with the devices of [`DEVICES`], compiled quickly: optimised a little, without what
/// debuggers need.
const CONFIGURE: &str = "
    mkdir -p build
    cd build
    ../source/configure --cc=gcc --target-list=x86_64-softmmu --enable-system --disable-user \
        --without-default-features --without-default-devices --with-devices-x86_64=lab \
        --enable-tcg --enable-kvm --enable-pixman \
        --disable-docs --disable-tools --disable-install-blobs --enable-trace-backends=nop \
        --disable-debug-info --disable-werror -Doptimization=1";

/// The folder.
#[derive(Debug)]
pub struct Tree {
    entry: &'static Entry,
    root: PathBuf,
    folder: PathBuf,
}

impl Tree {
    /// What is in a folder, or will be; with the root that has the tools.
    pub fn new(root: &Path, folder: &Path, right: &lock::Preparing) -> Result<Self> {
        let entry = entry::get(Some(right))?;
        Ok(Self { entry, root: root.to_owned(), folder: folder.to_owned() })
    }

    /// Makes the source be that of the root with this patch, configured.
    pub fn prepare(&self, patch: &Path) -> Result<()> {
        let patch = files::read(patch)?;
        let stamp = self.folder.join(STAMP);
        let wanted = self.wanted_stamp()?;
        let ready = fs::read_to_string(&stamp).is_ok_and(|before| before == wanted);
        let applied = fs::read(self.folder.join(APPLIED)).ok();
        if ready && applied.as_ref() == Some(&patch) {
            return Ok(());
        }
        // What is in the folder is not to be relied on until it has a stamp again.
        lock::remove(&stamp)?;
        if ready && applied.is_some() {
            self.run("taking the old patch back", &format!("patch -d source -Rp1 <{APPLIED}"))?;
            self.apply(&patch)?;
        } else {
            lock::remove(&self.folder)?;
            files::create_folder(&self.folder)?;
            self.run("unpacking QEMU's source", UNPACK)?;
            self.apply(&patch)?;
            self.write(DEVICES_FILE, DEVICES.as_bytes())?;
            self.run("configuring QEMU", CONFIGURE)?;
        }
        self.write(STAMP, wanted.as_bytes())
    }

    fn apply(&self, patch: &[u8]) -> Result<()> {
        self.write(APPLIED, patch)?;
        self.run("patching QEMU's source", &format!("patch -d source -p1 <{APPLIED}"))
    }

    /// Compiles and links what has changed, and returns how long that took.
    pub fn compile(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut wait: Option<Wait> = None;
        let command = format!("cd build; ninja {}", Arch::X86_64.qemu());
        self.follow(&command, |line| {
            match (line.and_then(ninja_step), &mut wait) {
                // What only makes sure that all is up to date is not worth a word.
                (Some((_, all)), None) if all > FEW_STEPS => {
                    wait = Some(Wait::new("compiling QEMU"));
                }
                (Some((step, all)), Some(wait)) => wait.state(&format!("{step} of {all}")),
                _ => {}
            }
            if let Some(wait) = &mut wait {
                wait.tick();
            }
        })
        .context("compiling QEMU")?;
        if let Some(wait) = wait {
            wait.done("compiled QEMU");
        }
        Ok(begun.elapsed())
    }

    /// The program.
    pub fn qemu(&self) -> Result<Qemu> {
        let program = program_in(&self.folder);
        Qemu::in_root(&self.root, &program, patched_qemu::DEVICE, "built with my_rng inside")
    }

    /// Replaces the device's source.
    pub fn replace_device(&self, source: &Path) -> Result<()> {
        let to = self.folder.join("source").join(DEVICE_SOURCE);
        files::copy(source, to)
    }

    /// Runs a command that the user is told of.
    fn run(&self, what: &str, command: &str) -> Result<()> {
        let mut wait = Wait::new(what);
        self.follow(command, |_| wait.tick()).with_context(|| what.to_owned())?;
        wait.done(what);
        Ok(())
    }

    fn follow(&self, command: &str, listener: impl FnMut(Option<&str>)) -> Result<()> {
        let mut enter = self.entry.shell(&self.root, &self.folder, command);
        enter.stdout(Stdio::piped());
        let (status, said) = follow(&mut enter, listener)?;
        if !status.success() {
            let end = root::last_lines(&said, SHOWN_LINES);
            bail!("`{}` ended with {}:\n{end}", command.trim(), process::describe(status));
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        files::write(&path, content)
    }

    /// What the source is prepared from, besides the patch.
    fn wanted_stamp(&self) -> Result<String> {
        let path = self.root.join(root::VERSIONS);
        let root = files::read(&path)?;
        let mut hasher = DefaultHasher::new();
        (root, source_files(&self.root)?, entry::IN_NAMESPACES, UNPACK, CONFIGURE, DEVICES)
            .hash(&mut hasher);
        Ok(format!("{:016x}\n", hasher.finish()))
    }
}

/// The program in a folder.
pub fn program_in(folder: &Path) -> PathBuf {
    folder.join("build").join(Arch::X86_64.qemu())
}

/// The steps of a build that has nothing to do, and of one that has one file to compile.
const FEW_STEPS: u32 = 5;

/// How far ninja is: `[12/1304] Compiling ...`.
fn ninja_step(line: &str) -> Option<(u32, u32)> {
    let (step, all) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    Some((step.parse().ok()?, all.parse().ok()?))
}

/// The names of the source package's files in a root.
pub fn source_files(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("usr/src");
    let entries = files::entries(&folder)?.into_iter();
    let names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ensure!(!names.is_empty(), "{} is empty", folder.display());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninjas_steps_are_told_from_other_words() {
        assert_eq!(ninja_step("[12/1304] Compiling C object a.o"), Some((12, 1304)));
        assert_eq!(ninja_step("[4/x] what"), None);
        assert_eq!(ninja_step("ninja: no work to do."), None);
    }
}
