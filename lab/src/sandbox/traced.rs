//! The sandbox where there are no namespaces: proot shows the program its files, and the kernel
//! enforces what [`Protection`] says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::protection::Protection;
use super::{BUSYBOX, Place, Sandbox};
use crate::entry::{self, Proot};
use crate::paths;

/// What a program may use of `/dev`.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Links in `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];
/// Folders for temporary files, and their names on the stage.
const TEMPORARY: [(&str, &str); 2] = [("tmp", "/tmp"), ("shm", "/dev/shm")];
/// What Landlock allows, in setpriv's words.
const READ_FILE: &str = "execute,read-file";
const READ_FOLDER: &str = "execute,read-file,read-dir";
const WRITE_FILE: &str = "execute,read-file,write-file,truncate";
const WRITE_FOLDER: &str = "execute,read-file,read-dir,write-file,truncate,remove-dir,remove-file,\
                            make-dir,make-reg,make-sock,make-fifo,make-sym,refer";

/// A folder of a program's own, with the root folder that it sees; removed with the value.
#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    proot: &'static Proot,
}

impl Stage {
    pub fn new(proot: &'static Proot) -> Result<Self> {
        let above = paths::lab().join("tmp");
        let folder = tempfile::Builder::new().prefix("sandbox-").tempdir_in(&above);
        let folder = folder.with_context(|| format!("cannot write to {}", above.display()))?;
        // Another user, as whom the program may run, has to get to its own folders.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot change {}", folder.path().display()))?;
        Ok(Self { folder, proot })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The root folder that the program sees, with a place for each thing that is shown there.
    fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    /// Makes a place to show a file or folder at.
    fn place(&self, path: &Path, inside: &Path) -> Result<()> {
        self.make(inside, |place| {
            if path.is_dir() { fs::create_dir_all(place) } else { fs::write(place, "") }
        })
    }

    fn link(&self, target: &Path, inside: &Path) -> Result<()> {
        self.make(inside, |place| symlink(target, place).or_else(exists))
    }

    /// Makes what the program sees at a path, and the folders above it.
    fn make(&self, inside: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
        let place = self.root().join(inside.strip_prefix("/").unwrap_or(inside));
        fs::create_dir_all(place.parent().unwrap_or(&place))
            .and_then(|()| make(&place))
            .with_context(|| format!("cannot make {}", place.display()))
    }

    /// Makes a folder that the program may write to.
    fn writable(&self, name: &str, user: Option<u32>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(&path)
            .and_then(|()| user.map_or(Ok(()), |user| lchown(&path, Some(user), Some(user))))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

fn exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

impl Sandbox {
    /// The command up to the program that is run inside.
    pub(super) fn traced(&self, stage: &Stage) -> Result<Command> {
        let shown = self.shown(stage)?;
        let words = stage.proot.program("setpriv");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--pdeathsig", "QUIT", "--nnp"]).args(stage.proot.filter());
        let landlock = Protection::traced(stage.proot) == Protection::Landlock;
        self.become_user(&mut command, landlock);
        if landlock {
            command.args(["--landlock-access", "fs"]);
            let own = [(stage.proot.loader(), READ_FILE), (stage.proot.root(), READ_FOLDER)];
            let all = [(Path::new("/proc"), READ_FOLDER), (&stage.root(), READ_FOLDER)];
            let shown = shown.iter().map(|(path, _, access)| (path.as_path(), *access));
            for (path, access) in own.into_iter().chain(all).chain(shown) {
                command.arg("--landlock-rule").arg(rule(path, access));
            }
        }
        command.arg("--").args(stage.proot.words(&stage.root()));
        command.arg("-b").arg("/proc");
        for (path, inside, _) in &shown {
            command.arg("-b").arg(entry::bind(path, inside));
        }
        command.arg("-w").arg(&self.folder);
        command.env_clear().env("HOME", "/tmp").env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        stage.proot.set_variables(&mut command);
        command.current_dir(stage.path());
        Ok(command)
    }

    /// All that is shown, and what the program may do with it. Makes the places for it.
    fn shown(&self, stage: &Stage) -> Result<Vec<(PathBuf, PathBuf, &'static str)>> {
        let mut shown = Vec::new();
        for device in DEVICES {
            shown.push((device.into(), device.into(), "read-file,write-file"));
        }
        for (name, inside) in TEMPORARY {
            shown.push((stage.writable(name, self.user)?, inside.into(), WRITE_FOLDER));
        }
        let busybox = self.build_root.join("usr/bin/busybox");
        shown.push((busybox, BUSYBOX.into(), READ_FILE));
        for (target, inside) in DEVICE_LINKS {
            stage.link(target.as_ref(), inside.as_ref())?;
        }
        for place in &self.places {
            match place {
                Place::Link { target, inside } => stage.link(target, inside)?,
                Place::Bound { path, inside, writable } => {
                    shown.push((path.clone(), inside.clone(), access(path, *writable)));
                }
            }
        }
        for (path, inside, _) in &shown {
            stage.place(path, inside)?;
        }
        stage.place(Path::new("/proc"), Path::new("/proc"))?;
        Ok(shown)
    }

    /// Root becomes the program's user. With Landlock, which keeps it to its own files, it gets to
    /// them whatever folders they are in, as `/root` is closed to all others.
    fn become_user(&self, command: &mut Command, landlock: bool) {
        let Some(user) = self.user else { return };
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        if landlock && super::has_capability(super::CAP_DAC_OVERRIDE) {
            command.args(["--bounding-set", "-all,+dac_override"]);
            command.args(["--inh-caps", "-all,+dac_override"]);
            command.args(["--ambient-caps", "-all,+dac_override"]);
        } else {
            command.args(["--bounding-set", "-all", "--inh-caps", "-all"]);
        }
    }
}

fn access(path: &Path, writable: bool) -> &'static str {
    match (path.is_dir(), writable) {
        (true, true) => WRITE_FOLDER,
        (true, false) => READ_FOLDER,
        (false, true) => WRITE_FILE,
        (false, false) => READ_FILE,
    }
}

fn rule(path: &Path, access: &str) -> OsString {
    let mut rule = OsString::from(format!("path-beneath:{access}:"));
    rule.push::<&OsStr>(path.as_ref());
    rule
}
