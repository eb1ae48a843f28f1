//! `my-rng-server status`: asks a running daemon what its guests do.

mod prometheus;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::control_client;
use crate::daemon::snapshot::{Reply, Request, Snapshot};
use crate::stdout;

/// How long the daemon may take to answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
EXAMPLES
  my-rng-server --config /etc/my-rng-server.toml &      # control-socket = \"/run/rng/control.sock\"
  my-rng-server status --control-socket /run/rng/control.sock

  For node_exporter's textfile collector, from a timer:

    cd /var/lib/node_exporter
    my-rng-server status --format prometheus > my-rng-server.new
    mv my-rng-server.new my-rng-server.prom";

/// Show what a running daemon's guests do: connections, bytes, waiting requests, rates, classes.
///
/// The daemon is one with a control socket: --control-socket, or control-socket in its
/// configuration file. It answers lines of JSON there: {"command":"status"} with {"status":{...}}.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Status {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = "/run/my-rng-server/control.sock")]
    control_socket: PathBuf,

    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Tables for people.
    Table,
    /// One line, as the daemon says it.
    Json,
    /// The text format of Prometheus.
    Prometheus,
}

impl Status {
    /// Asks, and shows the answer.
    pub fn run(&self) -> Result<()> {
        let reply = control_client::ask(&self.control_socket, &Request::Status, REPLY_TIMEOUT);
        let snapshot = reply.and_then(snapshot).with_context(|| {
            format!(
                "no status from {}; does a daemon run with this control socket?",
                self.control_socket.display()
            )
        })?;
        let text = match self.format {
            Format::Table => table::of(&snapshot)?,
            Format::Json => serde_json::to_string(&snapshot)? + "\n",
            Format::Prometheus => prometheus::of(&snapshot)?,
        };
        stdout::print(text.as_bytes())
    }
}

fn snapshot(reply: Reply) -> Result<Snapshot> {
    match reply {
        Reply::Status(snapshot) => Ok(*snapshot),
        Reply::Error(error) => bail!("{error}"),
        Reply::Exchange { .. } => bail!("it answered something else"),
    }
}

#[cfg(test)]
fn example() -> Snapshot {
    use crate::daemon::snapshot::{ClassStatus, ClientStatus, GuestStatus};
    use entropy::health::HealthReport;
    use vfio_user_device::sandbox::{SandboxMode, SandboxStatus};

    let guest = GuestStatus {
        name: "web1".into(),
        socket: "/run/web1".into(),
        transport: "vfio-user".into(),
        device: "virtio-rng".into(),
        source: "hwrng".into(),
        client: Some(ClientStatus { process: Some(4711), seconds: 65 }),
        connections: 2,
        refused: 1,
        bytes: 4096,
        requests: 64,
        waiting: 1,
        bytes_per_second: 8192.0,
        health: None,
        class: Some(2),
    };
    let idle = GuestStatus {
        name: "a \"name\"\\".into(),
        client: None,
        class: None,
        waiting: 0,
        ..guest.clone()
    };
    let class = ClassStatus {
        name: "hwrng".into(),
        parent: None,
        class: 1,
        average: Some(65536),
        peak: None,
        floor: 65536,
        health: Some(HealthReport { bytes: 5000, repetition_alarms: 1, ..HealthReport::default() }),
        promised: 8192,
    };
    Snapshot {
        version: "1.2.3".into(),
        process: 42,
        sandbox: SandboxStatus { mode: SandboxMode::On, system_calls: true, files: true },
        uptime_seconds: 100,
        guests: vec![idle, guest],
        classes: vec![class],
    }
}
