//! Runs commands in the guest, through the agent on its second serial port
//! (`guest-files/agent`, where the format is described).

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lines::Lines;

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// What it printed, on standard output and standard error.
    pub text: String,
}

/// The agent, as seen from the host.
#[derive(Debug)]
pub struct Agent {
    lines: Lines,
    sent: u32,
}

impl Agent {
    /// Talks to the agent over a socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { lines: Lines::new("the guest", stream), sent: 0 }
    }

    /// Waits a while for the agent of a guest that boots; whether it is there.
    pub fn ready(&mut self, deadline: Instant) -> Result<()> {
        while self.lines.line(deadline)? != "ready" {}
        Ok(())
    }

    /// Runs a shell command.
    pub fn run(&mut self, command: &str, timeout: Duration) -> Result<Output> {
        // A command without a byte cannot be read.
        let bytes = format!("{command}\n");
        self.exchange("", bytes.as_bytes(), timeout, &|| format!("running in the guest: {command}"))
    }

    /// Writes a file that is not empty; its name has no line end.
    pub fn write(&mut self, file: &str, bytes: &[u8], timeout: Duration) -> Result<Output> {
        self.exchange(file, bytes, timeout, &|| format!("writing {file} in the guest"))
    }

    /// Sends bytes, for a file if one is named, and waits for the result.
    fn exchange(
        &mut self,
        file: &str,
        bytes: &[u8],
        timeout: Duration,
        told: &dyn Fn() -> String,
    ) -> Result<Output> {
        let deadline = Instant::now() + timeout;
        self.sent += 1;
        self.lines.send(&format!("{} {} {file}", self.sent, bytes.len()))?;
        self.lines.send_bytes(bytes)?;
        let (status, length) = loop {
            let line = self.lines.line(deadline).with_context(told)?;
            if line == "ready" {
                bail!("the guest restarted while {}", told());
            }
            if let Some(result) = result(&line, self.sent) {
                break result;
            }
        };
        let bytes = self.lines.bytes(length, deadline).with_context(told)?;
        Ok(Output { status, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

/// Status and length in the agent's answer to a command.
fn result(line: &str, number: u32) -> Option<(i32, usize)> {
    let mut words = line.strip_prefix("result ")?.split(' ');
    if words.next()?.parse::<u32>().ok()? != number {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_command_counts() {
        assert_eq!(result("result 7 1 20", 7), Some((1, 20)));
        assert_eq!(result("result 6 0 20", 7), None);
        assert_eq!(result("result 7", 7), None);
        assert_eq!(result("ready", 7), None);
    }
}
