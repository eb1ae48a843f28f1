//! proot, which shows a program another root folder without any right: it traces the program and
//! its children (ptrace) and changes the paths in their system calls.
//!
//! It comes from Debian, with a setpriv that knows Landlock, and runs with their own libraries. It is
//! no protection by itself: [`crate::sandbox`] adds that.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::filter;
use crate::root::{self, Root, suites};
use crate::{files, lock, paths, process};

/// Where proot comes from.
pub fn root() -> Root {
    Root {
        name: "proot".to_owned(),
        purpose: "proot, to build with where namespaces are not allowed",
        size: "15 MB",
        suites: &[suites::RELEASE, suites::TESTING],
        packages: vec!["proot,util-linux".to_owned()],
        proof: ["usr/bin/proot", "usr/bin/setpriv"].map(str::to_owned).to_vec(),
        ..Root::default()
    }
}

/// The memory of the C library's `malloc`, in the C library's words. It asks the kernel for all of it
/// at the beginning: after vfork(2) proot takes the memory of a process for that of its child, and the
/// next such request would give it the wrong one.
const MEMORY: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.top_pad=15728640:glibc.malloc.trim_threshold=1073741824");
/// Joins the output and the errors.
const JOIN: &str = r#"exec "$@" 2>&1"#;
/// A clean environment, and a shell in it.
const SHELL: [&str; 5] = ["PATH=/usr/bin:/usr/sbin", "HOME=/tmp", "LC_ALL=C", "sh", "-euc"];
/// Says its number, and waits for the end of its input.
const WAIT: &str = "echo $$; read -r end || true";

/// How proot is called.
#[derive(Debug)]
pub struct Proot {
    root: PathBuf,
    /// For temporary files of builds.
    files: PathBuf,
    loader: PathBuf,
    filter: PathBuf,
}

impl Proot {
    /// What there is, or a new one.
    pub(super) fn find(right: Option<&lock::Preparing>) -> Result<Self> {
        let root = match right {
            Some(right) => root().ensure(right)?,
            None => root().get()?,
        };
        let files = paths::lab().join("tmp");
        files::create_folder(&files)?;
        let [loader, filter] = ["proot-loader", "proot-filter"].map(|name| files.join(name));
        let proot = Self { root, files, loader, filter };
        proot.keep_loader().context("cannot run proot, which needs ptrace(2)")?;
        proot.keep(&proot.filter, &filter::filter()?)?;
        Ok(proot)
    }

    /// Copies the loader, which every process that proot starts runs in.
    fn keep_loader(&self) -> Result<()> {
        let words = self.words(Path::new("/"));
        let mut command = process::tied_by("QUIT", &words[0]);
        command.args(&words[1..]).args(["sh", "-c", WAIT]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().context("cannot start setpriv of util-linux")?;
        let mut number = String::new();
        let said = running.stdout.take().context("its output is a pipe")?;
        BufReader::new(said).read_line(&mut number).context("cannot read from a pipe")?;
        let copied = self.copy_loader(number.trim());
        drop(running.stdin.take());
        let end = running.wait_with_output().context("cannot wait for it")?;
        copied.with_context(|| String::from_utf8_lossy(&end.stderr).trim().to_owned())
    }

    fn copy_loader(&self, number: &str) -> Result<()> {
        let loader = fs::read(Path::new("/proc").join(number).join("exe"))?;
        self.keep(&self.loader, &loader)
    }

    /// Writes a file that others may be using.
    fn keep(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.files)?;
            file.write_all(contents)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// A shell command in a root; see [`super::Entry::shell`].
    pub(super) fn shell(&self, root: &Path, folder: &Path, script: &str) -> Command {
        let mut command = process::tied_by("QUIT", "sh");
        command.args(["-c", JOIN, "sh"]).args(self.program("setpriv")).arg("--nnp");
        command.args(self.filter()).arg("--").args(self.words(root));
        self.set_variables(&mut command);
        for (path, inside) in [("/dev".as_ref(), "/dev"), ("/proc".as_ref(), "/proc")]
            .into_iter()
            .chain([(folder, "/mnt"), (&*self.files, "/tmp")])
        {
            command.arg("-b").arg(bind(path, inside.as_ref()));
        }
        let (name, value) = MEMORY;
        command.args(["-w", "/mnt", "/usr/bin/env", "-i"]).arg(format!("{name}={value}"));
        command.args(SHELL).arg(format!("cd /mnt; {script}"));
        command
    }

    /// The options of setpriv that set the filter of system calls.
    pub fn filter(&self) -> [OsString; 2] {
        ["--seccomp-filter".into(), self.filter.clone().into_os_string()]
    }

    /// The program that starts the others.
    pub fn loader(&self) -> &Path {
        &self.loader
    }

    /// The folder with its programs.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The words that start a program of proot's root with the root's own libraries.
    pub fn program(&self, name: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = root::loader(&self.root).map(OsString::from).to_vec();
        words.push(self.root.join("usr/bin").join(name).into_os_string());
        words
    }

    /// The words that start proot with a root folder; binds, a folder to start in and the program
    /// follow. The command needs the [variables](Self::set_variables).
    pub fn words(&self, root: &Path) -> Vec<OsString> {
        let mut words = self.program("proot");
        // Quiet, except for what is fatal.
        words.extend(["-v", "-1", "-r"].map(OsString::from));
        words.push(root.into());
        words
    }

    /// Sets what proot, and the programs in it, read from their environment.
    pub fn set_variables(&self, command: &mut Command) {
        command.env(process::PROOT_LOADER, &self.loader).env(MEMORY.0, MEMORY.1);
    }
}

/// A path and where it is to be seen, as proot takes them. That place may be a link, which is not
/// followed.
pub fn bind(path: &Path, inside: &Path) -> OsString {
    let mut words = path.as_os_str().to_owned();
    words.push(":");
    words.push(inside);
    words
}
