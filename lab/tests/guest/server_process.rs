//! What a server's process uses, and what a keeper does when it is killed.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::process::{self, status};
use lab::{Server, files};
use rustix::process::{Pid, Signal, kill_process};

/// How long a keeper may take to start the server again.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// How many descriptors it has open.
pub fn descriptors(server: &Server) -> Result<usize> {
    Ok(files::entries(format!("/proc/{}/fd", server.pid()))?.len())
}

/// How much guest memory it has mapped, as the names of the mappings say.
pub fn guest_memory_maps(server: &Server) -> Result<usize> {
    let maps = files::read_text(format!("/proc/{}/maps", server.pid()))?;
    Ok(maps.lines().filter(|line| line.contains("memfd:")).count())
}

/// How much memory it has in use, in KiB.
pub fn memory(server: &Server) -> Result<usize> {
    let path = format!("/proc/{}/status", server.pid());
    let memory = status::number(&files::read_text(&path)?, "VmRSS:");
    memory.with_context(|| format!("{path} says nothing about memory"))
}

/// Kills the process that the keeper has started (`--keeper`), and waits until it has started
/// another one.
pub fn crash(keeper: &Server) -> Result<()> {
    let killed = kept(keeper)?.context("the keeper has started no process")?;
    kill_process(killed, Signal::KILL).context("cannot kill the server")?;
    let next = || Ok(kept(keeper)?.filter(|process| *process != killed));
    process::wait_for(WAIT_TIMEOUT, next)?.map(drop).with_context(|| {
        format!("the keeper does not start the server within {} s", WAIT_TIMEOUT.as_secs())
    })
}

/// The process that the keeper has started.
fn kept(keeper: &Server) -> Result<Option<Pid>> {
    let keeper = keeper.pid();
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = files::read_text(&path)?;
    let child = children.split_whitespace().next().map(str::parse).transpose();
    Ok(child.with_context(|| format!("{path} says {children:?}"))?.and_then(Pid::from_raw))
}
