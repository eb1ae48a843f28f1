//! The guest's files: a first program, busybox, lspci and its like, and what a run adds.
//!
//! There is no disk and no distribution in the guest. The kernel unpacks this archive to memory and
//! starts `/init`, a shell script that mounts the usual file systems and starts the agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::{paths, process};

/// What `/init` prints on the console first.
pub const FIRST_WORDS: &str = "lab: the guest is up";

const INIT: &str = include_str!("../guest-files/init");
const AGENT: &str = include_str!("../guest-files/agent");
const SHELL: &str = include_str!("../guest-files/interactive-shell");

/// Where the C library's loader looks first.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// The contents of an initramfs.
#[derive(Debug)]
pub struct Initramfs {
    guest_root: PathBuf,
    files: Vec<(String, PathBuf)>,
    tools: bool,
    kernel: Option<Kernel>,
}

/// The programs that a guest with tools has, as they are named in the guest's root.
const TOOLS: [&str; 4] = ["usr/bin/lspci", "usr/bin/setpci", "usr/sbin/kexec", "usr/bin/rngtest"];

/// The kernel's own modules that every guest with tools has.
const MODULES: [&str; 1] = ["virtio-rng"];

impl Initramfs {
    /// Just enough to boot.
    #[must_use]
    pub fn minimal(guest_root: &Path) -> Self {
        Self { guest_root: guest_root.to_path_buf(), files: Vec::new(), tools: false, kernel: None }
    }

    /// With lspci, setpci, kexec and rngtest.
    #[must_use]
    pub fn tools(mut self) -> Self {
        self.tools = true;
        self
    }

    /// With a file of the host.
    #[must_use]
    pub fn file(mut self, in_guest: &str, on_host: &Path) -> Self {
        self.files.push((in_guest.to_owned(), on_host.to_path_buf()));
        self
    }

    /// With those of a kernel's own modules that are of use here, for `modprobe`.
    #[must_use]
    pub fn modules_of(mut self, kernel: &Kernel) -> Self {
        self.kernel = Some(kernel.clone());
        self
    }

    /// Writes it to `target/lab/initramfs` and returns its path.
    pub fn write(&self, name: &str) -> Result<PathBuf> {
        let folder = paths::lab().join("initramfs");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{name}.cpio"));
        // Others may be starting a guest from the one that is there. The thread's number keeps
        // two tests of one process apart.
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let partial = folder.join(format!("{name}-{thread}.partial"));
        self.write_to(&partial)?;
        fs::rename(&partial, &path)
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        Ok(path)
    }

    /// Writes it to a file that nobody else uses.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        fs::write(path, self.archive()?).with_context(|| format!("cannot write {}", path.display()))
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "root"] {
            archive.folder(folder);
        }
        archive.character_device("dev/console", 5, 1);
        archive.file("init", 0o755, INIT.as_bytes());
        archive.file("sbin/agent", 0o755, AGENT.as_bytes());
        archive.file("sbin/interactive-shell", 0o755, SHELL.as_bytes());
        self.busybox(&mut archive)?;
        if self.tools {
            self.add_tools(&mut archive)?;
        }
        if let Some(kernel) = &self.kernel {
            self.modules(&mut archive, kernel)?;
        }
        for (in_guest, on_host) in &self.files {
            add(&mut archive, in_guest, on_host)?;
        }
        Ok(archive.finish())
    }

    fn busybox(&self, archive: &mut Archive) -> Result<()> {
        let busybox = self.busybox_path();
        add(archive, "bin/busybox", &busybox)?;
        // It is linked statically, so this system can run it.
        let list = process::output("busybox", process::tied(&busybox).arg("--list"))?;
        for applet in String::from_utf8_lossy(&list).lines().filter(|name| *name != "busybox") {
            archive.link(&format!("bin/{applet}"), "busybox");
        }
        Ok(())
    }

    fn busybox_path(&self) -> PathBuf {
        self.guest_root.join("usr/bin/busybox")
    }

    /// Adds the tools, the libraries they need, and the names that lspci prints.
    fn add_tools(&self, archive: &mut Archive) -> Result<()> {
        let loader = self.guest_root.join("usr/lib64/ld-linux-x86-64.so.2");
        let libraries = self.guest_root.join("usr/lib/x86_64-linux-gnu");
        let mut needed = BTreeSet::new();
        for tool in TOOLS {
            let program = self.guest_root.join(tool);
            // Where the guest's PATH leads.
            let name = tool.rsplit('/').next().unwrap_or(tool);
            add(archive, &format!("usr/bin/{name}"), &program)?;
            let mut ask = process::tied(&loader);
            ask.arg("--library-path").arg(&libraries).arg("--list").arg(&program);
            let answer = process::output("the dynamic loader of the lab's guest", &mut ask)?;
            needed.extend(libraries_in(&String::from_utf8_lossy(&answer)));
        }
        add(archive, "lib64/ld-linux-x86-64.so.2", &loader)?;
        for library in needed {
            add(archive, &format!("{LIBRARIES}/{library}"), &libraries.join(&library))?;
        }
        let ids = "usr/share/misc/pci.ids";
        add(archive, ids, &self.guest_root.join(ids))
    }

    /// Adds the modules, and the indexes that modprobe and lspci look for.
    fn modules(&self, archive: &mut Archive, kernel: &Kernel) -> Result<()> {
        let stage = tempfile::tempdir().context("cannot make a temporary folder")?;
        let in_guest = format!("lib/modules/{}", kernel.release);
        let folder = stage.path().join(&in_guest);
        let write = |name: &str, contents: &[u8]| {
            fs::write(folder.join(name), contents)
                .with_context(|| format!("cannot write to {}", folder.display()))
        };
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        for name in MODULES {
            write(&format!("{name}.ko"), &self.module(&kernel.modules, name)?)?;
        }
        for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            let from = kernel.modules.join(name);
            let list =
                fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            write(name, &list)?;
        }
        let mut index = self.in_root("usr/sbin/depmod");
        process::output("depmod", index.arg("-b").arg(stage.path()).arg(&kernel.release))?;
        for entry in fs::read_dir(&folder).context("cannot read a temporary folder")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            add(archive, &format!("{in_guest}/{name}"), &entry.path())?;
        }
        Ok(())
    }

    /// A command that runs a program of the guest's root on this system.
    fn in_root(&self, program: &str) -> Command {
        let mut command = process::tied(self.guest_root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.guest_root.join("usr/lib/x86_64-linux-gnu"));
        command.arg(self.guest_root.join(program));
        command
    }

    /// A module of the kernel's own, uncompressed.
    fn module(&self, modules: &Path, name: &str) -> Result<Vec<u8>> {
        let order = modules.join("modules.order");
        let list = fs::read_to_string(&order)
            .with_context(|| format!("cannot read {}", order.display()))?;
        let path = list
            .lines()
            .find(|line| line.rsplit('/').next() == Some(&format!("{name}.ko")))
            .with_context(|| format!("{} names no {name}.ko", order.display()))?;
        let plain = modules.join(path);
        if plain.is_file() {
            return fs::read(&plain).with_context(|| format!("cannot read {}", plain.display()));
        }
        let compressed = modules.join(format!("{path}.xz"));
        let mut unpack = process::tied(self.busybox_path());
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

/// The libraries in a dynamic loader's list: lines like `libz.so.1 => /path/libz.so.1 (0x7f..)`.
fn libraries_in(list: &str) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.contains('/'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_the_loader_itself() {
        let list = "\tlinux-vdso.so.1 (0x00007ff9)\n\
                    \tlibz.so.1 => /root/libz.so.1 (0x0000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /root/ld.so (0x0000)\n";
        assert_eq!(libraries_in(list), ["libz.so.1"]);
    }

    #[test]
    fn the_first_program_says_the_first_words() {
        assert!(INIT.contains(FIRST_WORDS));
    }
}
