//! `my-rng-server exchange`: has a running daemon start another process, which takes its place.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::control_client;
use crate::daemon::snapshot::{Reply, Request};
use crate::stdout;

/// How long an exchange may take: the new process may take 10 s to start, sessions 6 s to come to rest, and
/// guests wait for 3 s at most.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
EXAMPLES
  my-rng-server exchange --control-socket /run/rng/control.sock
  my-rng-server exchange --control-socket /run/rng/control.sock --binary /opt/new/my-rng-server
  my-rng-server exchange --pid 4711";

/// Replace a running server by a new process, while its guests run on.
///
/// The new process is started with the options of the old one. It takes over the sockets, the
/// connected guests and the state of their devices; then the old process ends. If the new one is not
/// ready, the old one goes on, and says why.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Exchange {
    /// The daemon's control socket.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/my-rng-server/control.sock",
        conflicts_with = "pid"
    )]
    control_socket: PathBuf,

    /// The process, for a server without a control socket. Its log says why, if there is no
    /// exchange.
    #[arg(long, value_name = "N")]
    pid: Option<u32>,

    /// The program to start. Without it, the file that the running process was started from, which
    /// may have been replaced.
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    binary: Option<PathBuf>,
}

impl Exchange {
    /// Asks for it, and waits for its end.
    ///
    /// # Errors
    /// There is no exchange, and why.
    pub fn run(&self) -> Result<()> {
        let said = match self.pid {
            Some(process) => signal(process)?,
            None => self.ask()?,
        };
        stdout::print(format!("{said}\n").as_bytes())
    }

    fn ask(&self) -> Result<String> {
        let binary = self.binary.as_deref().map(std::path::absolute).transpose()?;
        let path = &self.control_socket;
        let reply = control_client::ask(path, &Request::Exchange { binary }, EXCHANGE_TIMEOUT)
            .with_context(|| {
                format!("no daemon answers at {}; has it a control socket?", path.display())
            })?;
        match reply {
            Reply::Exchange { process } => Ok(format!("process {process} serves now")),
            Reply::Error(error) => bail!("no exchange, the running daemon goes on: {error}"),
            Reply::Status(_) => bail!("the daemon answered with its status"),
        }
    }
}

/// Sends the signal that asks for an exchange, and waits for the end of the process.
fn signal(process: u32) -> Result<String> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("invalid process number {process}"))?;
    let process_fd = pidfd_open(pid, PidfdFlags::empty())
        .with_context(|| format!("no process {process}, or it is another user's"))?;
    // The signal ends a process that does not know it. One that is hidden is systemd's main process:
    // ProtectProc= and PrivateUsers= of our units hide it from what a reload starts.
    match fs::read_to_string(format!("/proc/{process}/status")) {
        Ok(status) => ensure!(
            catches_exchange_signal(&status),
            "process {process} is no server that can be exchanged"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => bail!("cannot read /proc/{process}/status: {error}"),
    }
    pidfd_send_signal(&process_fd, Signal::USR2)
        .with_context(|| format!("cannot signal process {process}"))?;
    let mut fds = [PollFd::new(&process_fd, PollFlags::IN)];
    let ended = poll(&mut fds, Some(&Timespec::try_from(EXCHANGE_TIMEOUT)?))?;
    ensure!(ended > 0, "no exchange, process {process} goes on; its log says why");
    Ok(format!("process {process} has ended; the one that it has started serves now"))
}

/// Whether /proc/PID/status says that SIGUSR2 has a handler.
fn catches_exchange_signal(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (Signal::USR2.as_raw() - 1) & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_the_signal_is_found_in_the_mask() {
        assert!(catches_exchange_signal("Name:\tx\nSigCgt:\t0000000000000800\n"));
        assert!(!catches_exchange_signal("Name:\tx\nSigCgt:\t0000000000000400\n"));
        assert!(!catches_exchange_signal(""));
    }
}
