//! Talks to QEMU itself: QMP, one JSON document per line.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::lines::Lines;

/// How long QEMU may take to answer.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A QMP connection.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Greets QEMU over a socket.
    pub fn new(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { lines: Lines::new("QEMU", stream), events: VecDeque::new() };
        let greeting = qmp.message(Instant::now() + WAIT_TIMEOUT)?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU's greeting is no QMP: {greeting}");
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and returns its result.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let told = || format!("QMP {command} {arguments}");
        let request = json!({"execute": command, "arguments": arguments});
        self.lines.send(&request.to_string()).with_context(told)?;
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            let mut message = self.message(deadline).with_context(told)?;
            if let Some(error) = message.get("error") {
                bail!("{}: {}", told(), error["desc"].as_str().unwrap_or_default());
            }
            if let Some(result) = message.get_mut("return") {
                return Ok(result.take());
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event that has this name and, if asked for, is about this device.
    pub fn event(&mut self, name: &str, device: Option<&str>, timeout: Duration) -> Result<Value> {
        let wanted = |event: &Value| {
            event["event"] == name && device.is_none_or(|device| event["data"]["device"] == device)
        };
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(at) = self.events.iter().position(wanted) {
                return self.events.remove(at).context("the event was just found");
            }
            let message =
                self.message(deadline).with_context(|| format!("waiting for the event {name}"))?;
            self.events.push_back(message);
        }
    }

    fn message(&mut self, deadline: Instant) -> Result<Value> {
        let line = self.lines.line(deadline)?;
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}, which is no JSON"))
    }
}
