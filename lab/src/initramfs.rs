//! The guest's files: a first program, busybox, lspci and its like, and what a run adds.
//!
//! There is no disk and no distribution in the guest. The kernel unpacks this archive to memory and
//! starts `/init`, a shell script that mounts the usual file systems and starts the agent.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::packages::Roots;
use crate::{files, paths, process, root};

/// What `/init` prints on the console first.
pub const FIRST_WORDS: &str = "lab: the guest is up";

/// The scripts that each guest runs, with their places. A guest that was saved with others cannot be
/// talked to.
pub const SCRIPTS: [(&str, &str); 4] = [
    ("init", include_str!("../guest-files/init")),
    ("sbin/agent", include_str!("../guest-files/agent")),
    ("sbin/interactive-shell", include_str!("../guest-files/interactive-shell")),
    ("bin/reg", include_str!("../guest-files/reg")),
];

/// The contents of an initramfs.
#[derive(Debug)]
#[must_use]
pub struct Initramfs {
    roots: Roots,
    files: Vec<(String, PathBuf)>,
    /// The kernel that is booted, when there are tools.
    tools: Option<Kernel>,
}

/// The programs that a guest with tools has, as they are named in the guest's root.
const TOOLS: [&str; 4] = ["usr/bin/lspci", "usr/bin/setpci", "usr/sbin/kexec", "usr/bin/rngtest"];

/// The guest's shell and its like, as it is named in the roots.
const BUSYBOX: &str = "usr/bin/busybox";

/// The kernel's own modules that every guest with tools has.
const MODULES: [&str; 1] = ["virtio-rng"];

impl Initramfs {
    /// Just enough to boot.
    pub fn minimal(roots: &Roots) -> Self {
        Self { roots: roots.clone(), files: Vec::new(), tools: None }
    }

    /// With lspci, setpci, kexec and rngtest, and with those of a kernel's own modules that are of use
    /// here, for `modprobe`.
    pub fn tools(mut self, kernel: &Kernel) -> Self {
        self.tools = Some(kernel.clone());
        self
    }

    /// With a file of the host.
    pub fn file(mut self, in_guest: &str, on_host: &Path) -> Self {
        self.files.push((in_guest.to_owned(), on_host.to_path_buf()));
        self
    }

    /// Writes it to `target/lab/initramfs` and returns its path.
    pub fn write(&self, name: &str) -> Result<PathBuf> {
        let folder = paths::lab().join("initramfs");
        files::create_folder(&folder)?;
        let path = folder.join(format!("{name}.cpio"));
        let stamp_path = folder.join(format!("{name}.stamp"));
        let contents = self.stamp()?;
        // With the file's own number: of two that are made at once, one has the other's stamp.
        let stamp =
            |file: &Path| Some(format!("{contents:016x} {}\n", fs::metadata(file).ok()?.ino()));
        if fs::read_to_string(&stamp_path).ok().is_some_and(|made| stamp(&path) == Some(made)) {
            return Ok(path);
        }
        // Others may be starting a guest from the one that is there. The thread's number keeps
        // two tests of one process apart.
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let partial = folder.join(format!("{name}-{thread}.partial"));
        self.write_to(&partial)?;
        let stamp = stamp(&partial).unwrap_or_default();
        fs::rename(&partial, &path)
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        files::write(&stamp_path, stamp)?;
        Ok(path)
    }

    /// What it is made of: one with the same stamp has the same contents.
    pub fn stamp(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        (SCRIPTS, &self.roots.guest, TOOLS, MODULES).hash(&mut hasher);
        self.tools.as_ref().map(|kernel| &kernel.release).hash(&mut hasher);
        let versions = (String::new(), self.roots.guest.join(root::VERSIONS));
        for (in_guest, on_host) in self.files.iter().chain([&versions]) {
            let read = || -> std::io::Result<_> {
                let metadata = fs::metadata(on_host)?;
                Ok((metadata.len(), metadata.permissions().mode(), metadata.modified()?))
            };
            let found = read().with_context(|| format!("cannot read {}", on_host.display()))?;
            (in_guest, on_host, found).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    /// Writes it to a file that nothing else uses.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        files::write(path, self.archive()?)
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "root"] {
            archive.folder(folder);
        }
        archive.character_device("dev/console", 5, 1);
        for (place, script) in SCRIPTS {
            archive.file(place, 0o755, script.as_bytes());
        }
        self.busybox(&mut archive)?;
        if let Some(kernel) = &self.tools {
            self.add_tools(&mut archive)?;
            self.modules(&mut archive, kernel)?;
        }
        for (in_guest, on_host) in &self.files {
            add(&mut archive, in_guest, on_host)?;
        }
        Ok(archive.finish())
    }

    fn busybox(&self, archive: &mut Archive) -> Result<()> {
        add(archive, "bin/busybox", &self.roots.guest.join(BUSYBOX))?;
        // Debian's has the same applets everywhere. It is linked statically, so this system can run it.
        let list = process::output("busybox", self.busybox_here().arg("--list"))?;
        for applet in String::from_utf8_lossy(&list).lines().filter(|name| *name != "busybox") {
            archive.link(&format!("bin/{applet}"), "busybox");
        }
        Ok(())
    }

    /// A command that runs busybox on this system.
    fn busybox_here(&self) -> Command {
        process::tied(self.roots.build.join(BUSYBOX))
    }

    /// Adds the tools, the libraries they need, and the names that lspci prints.
    fn add_tools(&self, archive: &mut Archive) -> Result<()> {
        let (arch, guest) = (self.roots.arch, &self.roots.guest);
        let mut unseen: Vec<PathBuf> = TOOLS.iter().map(|tool| guest.join(tool)).collect();
        for program in &unseen {
            // Where the guest's PATH leads.
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            add(archive, &format!("usr/bin/{name}"), program)?;
        }
        let loader = arch.loader();
        add(archive, loader, &guest.join("usr").join(loader))?;
        let mut seen = BTreeSet::new();
        while let Some(file) = unseen.pop() {
            let needed = self.libraries_of(&file)?;
            for library in needed.into_iter().filter(|library| !loader.ends_with(library)) {
                let path = format!("{}/{library}", arch.libraries());
                let file = guest.join("usr").join(&path);
                if seen.insert(library) {
                    add(archive, &path, &file)?;
                    unseen.push(file);
                }
            }
        }
        let ids = "usr/share/misc/pci.ids";
        add(archive, ids, &guest.join(ids))
    }

    /// The libraries that a program or a library names. Its own loader would know more, but runs on
    /// its own architecture only.
    fn libraries_of(&self, file: &Path) -> Result<Vec<String>> {
        let mut read = self.roots.command("usr/bin/readelf");
        let said = process::output("readelf", read.arg("--dynamic").arg(file))?;
        Ok(libraries_in(&String::from_utf8_lossy(&said)))
    }

    /// Adds the modules, and the indexes that modprobe and lspci look for.
    fn modules(&self, archive: &mut Archive, kernel: &Kernel) -> Result<()> {
        let stage = tempfile::tempdir().context("cannot make a temporary folder")?;
        let in_guest = format!("lib/modules/{}", kernel.release);
        let folder = stage.path().join(&in_guest);
        files::create_folder(&folder)?;
        for name in MODULES {
            let module = self.module(&kernel.modules, name)?;
            files::write(folder.join(format!("{name}.ko")), module)?;
        }
        for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            files::copy(kernel.modules.join(name), folder.join(name))?;
        }
        let mut index = self.roots.command("usr/sbin/depmod");
        process::output("depmod", index.arg("-b").arg(stage.path()).arg(&kernel.release))?;
        for entry in files::entries(&folder)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            add(archive, &format!("{in_guest}/{name}"), &entry.path())?;
        }
        Ok(())
    }

    /// A module of the kernel's own, uncompressed.
    fn module(&self, modules: &Path, name: &str) -> Result<Vec<u8>> {
        let order = modules.join("modules.order");
        let list = files::read_text(&order)?;
        let path = list
            .lines()
            .find(|line| line.rsplit('/').next() == Some(&format!("{name}.ko")))
            .with_context(|| format!("{} names no {name}.ko", order.display()))?;
        let plain = modules.join(path);
        if plain.is_file() {
            return files::read(&plain);
        }
        let compressed = modules.join(format!("{path}.xz"));
        let mut unpack = self.busybox_here();
        process::output("busybox", unpack.args(["unxz", "-c"]).arg(compressed))
    }
}

/// Adds a file of the host with its permissions.
fn add(archive: &mut Archive, in_guest: &str, on_host: &Path) -> Result<()> {
    let read = || -> std::io::Result<(u32, Vec<u8>)> {
        Ok((fs::metadata(on_host)?.permissions().mode(), fs::read(on_host)?))
    };
    let (mode, contents) = read().with_context(|| format!("cannot read {}", on_host.display()))?;
    archive.file(in_guest, mode, &contents);
    Ok(())
}

/// The libraries in readelf's list: lines like `0x1 (NEEDED)  Shared library: [libz.so.1]`.
fn libraries_in(list: &str) -> Vec<String> {
    list.lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_told_from_other_entries() {
        let list = " 0x0000000000000001 (NEEDED)             Shared library: [libz.so.1]\n \
                    0x000000000000000e (SONAME)             Library soname: [libpci.so.3]\n \
                    0x000000000000000c (INIT)               0x3000\n";
        assert_eq!(libraries_in(list), ["libz.so.1"]);
    }

    #[test]
    fn the_first_program_says_the_first_words() {
        assert!(SCRIPTS[0].1.contains(FIRST_WORDS));
    }
}
