//! The files that a program may open, and the folders in which it may make some.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::SandboxError;

/// The newest Landlock whose rights are asked for; older kernels give what they have.
const NEWEST: ABI = ABI::V6;

/// Where programs and libraries are. A process that is started in an exchange needs them.
const SYSTEM_FOLDERS: [&str; 7] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store", "/gnu/store"];
/// What the C library reads, for a new process and to resolve names of hosts.
const SYSTEM_FILES: [&str; 12] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/run/systemd/resolve",
    "/proc",
    "/sys/devices/system/cpu",
];
/// Devices that give and take the same to and from every process.
const SYSTEM_DEVICES: [&str; 5] =
    ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/hwrng"];

/// What a program may do with paths. What is not there when the sandbox starts is left out.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    rules: Vec<(PathBuf, BitFlags<AccessFs>)>,
}

impl Paths {
    /// The program itself, the C library, and devices such as /dev/urandom.
    pub fn system() -> Self {
        let mut paths = Paths::default();
        let run = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(Path::parent).map(Path::to_owned);
        for folder in SYSTEM_FOLDERS.iter().map(PathBuf::from).chain(program) {
            paths.add(&folder, run);
        }
        for file in SYSTEM_FILES {
            paths.add(Path::new(file), AccessFs::ReadFile | AccessFs::ReadDir);
        }
        for device in SYSTEM_DEVICES {
            paths.add(Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile);
        }
        paths
    }

    /// A socket at this path: its folder, for sockets and locks beside them.
    #[must_use]
    pub fn socket(mut self, path: &Path) -> Self {
        let rights = AccessFs::MakeSock | AccessFs::MakeReg | AccessFs::RemoveFile;
        self.add(folder(path), rights | AccessFs::ReadFile);
        self
    }

    /// A file that is read, and may be replaced by another one: also its folder, unless that is one
    /// of devices.
    #[must_use]
    pub fn read(mut self, path: &Path) -> Self {
        let is_fifo = fs::metadata(path).is_ok_and(|status| status.file_type().is_fifo());
        // A reader of a FIFO keeps it open by a writing end.
        let write = if is_fifo { AccessFs::WriteFile.into() } else { BitFlags::EMPTY };
        self.add(path, write | AccessFs::ReadFile);
        let real = fs::canonicalize(path).ok();
        for folder in [Some(path), real.as_deref()].into_iter().flatten().map(folder) {
            if folder != Path::new("/dev") {
                self.add(folder, AccessFs::ReadFile.into());
            }
        }
        self
    }

    /// A file that is written anew, by way of another one beside it.
    #[must_use]
    pub fn write(mut self, path: &Path) -> Self {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
        self.add(folder(path), read | write | AccessFs::Truncate);
        self
    }

    /// A folder in which the program may do everything.
    #[must_use]
    pub fn folder(mut self, path: &Path) -> Self {
        self.add(path, AccessFs::from_all(NEWEST));
        self
    }

    fn add(&mut self, path: &Path, rights: BitFlags<AccessFs>) {
        match self.rules.iter_mut().find(|(known, _)| known == path) {
            Some((_, known)) => *known |= rights,
            None => self.rules.push((path.to_owned(), rights)),
        }
    }

    /// Lets this process open nothing else from now on. Returns whether the kernel can do that.
    pub(super) fn enforce(&self) -> Result<bool, SandboxError> {
        let failed = |error: landlock::RulesetError| SandboxError::new("Landlock", error);
        let mut rules: RulesetCreated = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|ruleset| ruleset.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        for (path, rights) in &self.rules {
            let Ok(status) = fs::metadata(path) else { continue };
            let of_files = AccessFs::from_file(NEWEST);
            let rights = if status.is_dir() { *rights } else { *rights & of_files };
            let opened = PathFd::new(path).map_err(|error| SandboxError::new("Landlock", error))?;
            rules = rules.add_rule(PathBeneath::new(opened, rights)).map_err(failed)?;
        }
        let status = rules.restrict_self().map_err(failed)?;
        let enforced = status.ruleset != RulesetStatus::NotEnforced;
        if !enforced {
            log::warn!(
                "the kernel has no Landlock: the sandbox does not keep the server from files"
            );
        }
        Ok(enforced)
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
