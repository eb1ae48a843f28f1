//! Reads lines, and counted bytes, from a socket, with a time limit.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long the other end may take until there is room for more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Both directions of a conversation in lines.
#[derive(Debug)]
pub struct Lines {
    /// Who is at the other end, for error messages.
    peer: String,
    stream: UnixStream,
    /// What was read and not yet handed out.
    pending: Vec<u8>,
}

impl Lines {
    /// Talks over a socket.
    pub fn new(peer: &str, stream: UnixStream) -> Self {
        Self { peer: peer.to_owned(), stream, pending: Vec::new() }
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        // A peer that reads nothing any more would hold it up for ever.
        self.stream
            .set_write_timeout(Some(WRITE_TIMEOUT))
            .context("cannot set a socket's timeout")?;
        self.stream.write_all(bytes).with_context(|| format!("cannot send to {}", self.peer))
    }

    /// The next line, without its end.
    pub fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.read_more(deadline)?;
        }
    }

    /// The next so many bytes.
    pub fn bytes(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>> {
        while self.pending.len() < count {
            self.read_more(deadline)?;
        }
        Ok(self.pending.drain(..count).collect())
    }

    fn read_more(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Looked at here, too: a peer that never stops talking never lets a read time out.
        if left.is_zero() {
            bail!("{} did not answer in time", self.peer);
        }
        self.stream.set_read_timeout(Some(left)).context("cannot set a socket's timeout")?;
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("{} hung up", self.peer),
            Ok(count) => self.pending.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() >= deadline {
                    bail!("{} did not answer in time", self.peer);
                }
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read from {}", self.peer));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_come_in_their_order() {
        let (near, mut far) = UnixStream::pair().expect("sockets");
        far.write_all(b"first\r\nsecond\nabcd").expect("room");
        let mut lines = Lines::new("the test", near);
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(lines.line(soon).expect("there"), "first");
        assert_eq!(lines.line(soon).expect("there"), "second");
        assert_eq!(lines.bytes(4, soon).expect("there"), b"abcd");
        let error = lines.line(Instant::now()).expect_err("nothing more");
        assert_eq!(error.to_string(), "the test did not answer in time");
        drop(far);
        let error = lines.line(soon).expect_err("no other end");
        assert_eq!(error.to_string(), "the test hung up");
    }

    #[test]
    fn a_peer_that_never_stops_talking_does_not_go_on_for_ever() {
        let (near, mut far) = UnixStream::pair().expect("sockets");
        let limit = Instant::now() + Duration::from_secs(2);
        std::thread::spawn(
            move || {
                while Instant::now() < limit && far.write_all(b"and so on ").is_ok() {}
            },
        );
        let mut lines = Lines::new("the test", near);
        let soon = Instant::now() + Duration::from_millis(100);
        let error = lines.line(soon).expect_err("no line ends");
        assert_eq!(error.to_string(), "the test did not answer in time");
    }
}
