//! `--debug`: a device that a debugger may stop, and how to attach one.

use std::fs;
use std::io::{BufRead, stdin};

use anyhow::{Context, Result};
use lab::{process, progress};

/// Whether only root may attach to a process that it has not started, where that can be chosen.
const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Says how to attach a debugger to the device.
pub fn introduce(pid: u32) {
    progress::say(&format!(
        "the device is process {pid}; QEMU waits a day for its answers. In another terminal:\n  \
         {}\nthen, in the debugger: break FILE.rs:LINE, continue",
        attach(pid)
    ));
}

/// Leaves time to do so, before anything happens with the device.
pub fn wait_for_enter() -> Result<()> {
    progress::say("press Enter to go on");
    // The end of the input counts as Enter.
    stdin().lock().read_line(&mut String::new()).context("cannot read from the terminal")?;
    Ok(())
}

/// The command that attaches the best debugger there is.
fn attach(pid: u32) -> String {
    // rust-gdb is a script of the compiler's around gdb, and comes without it.
    let usable = |name: &&str| process::in_path(name) && process::in_path("gdb");
    let Some(debugger) = ["rust-gdb", "gdb"].into_iter().find(usable) else {
        return format!("sudo apt install gdb; gdb -p {pid}");
    };
    let restricted = fs::read_to_string(PTRACE_SCOPE).is_ok_and(|scope| scope.trim() != "0");
    let sudo = if restricted && !process::is_root() { "sudo " } else { "" };
    format!("{sudo}{debugger} -p {pid}")
}
