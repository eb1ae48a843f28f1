//! Runs an untrusted program as the user `nobody`, with little of everything: the first process of a process
//! namespace does it, so that all of the program's family ends with it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use exerciser::End;
use rustix::process::{Resource, Rlimit, setrlimit};

/// The user `nobody`, and its group.
const NOBODY: u32 = 65534;
/// Where it may write: a small file system in memory.
const FOLDER: &str = "/run/program";
/// How large that is, in KiB.
const FOLDER_SIZE: u32 = 8 * 1024;
/// Processes and threads.
const PROCESSES: u64 = 32;
/// Bytes of memory per process.
const MEMORY: u64 = 64 << 20;
/// Bytes of a file.
const FILE: u64 = 8 << 20;
/// Open files per process.
const FILES: u64 = 64;

/// Makes the folder that confined programs may write to.
pub fn prepare() -> Result<()> {
    fs::create_dir_all(FOLDER).context(FOLDER)?;
    let options = format!("size={FOLDER_SIZE}k,mode=1777");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &options, "tmpfs", FOLDER]).stdout(Stdio::null());
    mount.status().context("cannot mount")?;
    Ok(())
}

/// Runs the program, and reports how it ended on standard error: standard output is its own.
pub fn run(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no program is named")?;
    let limits = [
        (Resource::Nproc, PROCESSES),
        (Resource::As, MEMORY),
        (Resource::Fsize, FILE),
        (Resource::Nofile, FILES),
        (Resource::Core, 0),
    ];
    // The kernel rather ends this one than the guest's own programs when memory is short.
    fs::write("/proc/self/oom_score_adj", "1000").context("oom_score_adj")?;
    let output = std::io::stdout().as_fd().try_clone_to_owned().context("standard output")?;
    let mut child = Command::new(program);
    child.args(arguments).env_clear().env("PATH", "/bin:/usr/bin").current_dir(FOLDER);
    child.uid(NOBODY).gid(NOBODY).stderr(output);
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .with_context(|| format!("cannot limit {resource:?}"))?;
    }
    let status = child.status().with_context(|| format!("cannot start {program}"))?;
    let end = End::from(status);
    eprintln!("{}", serde_json::to_string(&end).context("an end is plain data")?);
    Ok(())
}
