//! The end of a tracer's children, such as those of proot: they do not die with it.

use std::collections::HashSet;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::status;

/// The variable that names proot's loader, the program that starts every other. By itself proot
/// writes it to the system's `/tmp`, which what it runs may not see. Every command that starts proot
/// sets it, so that a process is known as proot by it.
pub const PROOT_LOADER: &str = "PROOT_LOADER";

/// Whether a command starts proot.
pub fn is_proot(command: &Command) -> bool {
    command.get_envs().any(|(name, value)| name == PROOT_LOADER && value.is_some())
}

/// Kills what a process traces. It is stopped before: what its children still start then begins
/// stopped, and is found. It stays stopped; the killed ones wait for its end with theirs.
pub fn kill_children(tracer: u32) {
    signal(tracer, Signal::STOP);
    let mut killed = HashSet::new();
    loop {
        let traced = status::all().filter(|(_, status)| has_tracer(status, tracer));
        let mut new: Vec<u32> = traced.map(|(process, _)| process).collect();
        new.retain(|process| killed.insert(*process));
        if new.is_empty() {
            return;
        }
        for process in new {
            signal(process, Signal::KILL);
        }
    }
}

/// Whether a status file is of a process with this tracer.
fn has_tracer(status: &str, tracer: u32) -> bool {
    status::number(status, "TracerPid:") == Some(tracer)
}

fn signal(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // It may be gone by now.
    let _ = pid.map(|pid| kill_process(pid, signal));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_the_tracer_are_found_by_its_number() {
        let status = "Name:\tsh\nState:\tt (tracing stop)\nPPid:\t1\nTracerPid:\t17\n";
        assert!(has_tracer(status, 17));
        assert!(!has_tracer(status, 1));
        assert!(!has_tracer(status, 7));
        assert!(!has_tracer("", 0));
    }
}
