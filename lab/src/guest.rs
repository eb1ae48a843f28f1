//! A guest: QEMU with a kernel, our files, and devices.

use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::agent::{Agent, Output};
use crate::process::{self, Child};
use crate::qmp::Qmp;
use crate::run_dir::RunDir;
use crate::server::Server;
use crate::slots::Slot;
use crate::{files, progress};

mod builder;
mod ports;

pub use builder::{Builder, saved};
use ports::Ports;

/// How long a guest may take to boot. Emulated on a loaded machine it can take many times the
/// usual five seconds.
const BOOT: Duration = Duration::from_secs(180);
/// How often a boot that takes long is reported.
const BOOT_REPORT: Duration = Duration::from_secs(10);
/// How long a command may take, unless the test says otherwise.
const COMMAND: Duration = Duration::from_secs(60);
/// How long QEMU may take to connect to us, and to end.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a file may take into the guest: 25 microseconds a byte on an idle machine.
const COPY: Duration = Duration::from_secs(600);

/// How the files of a guest begin: those of a run's only guest have plain names.
fn prefix(name: &str) -> String {
    if name == ONLY { String::new() } else { format!("{name}-") }
}

/// The name of a guest that is alone in its run.
const ONLY: &str = "guest";

/// Accepts QEMU's connection.
fn accept(listener: &UnixListener, qemu: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true).context("cannot set up a socket")?;
    let stream = process::wait_for(WAIT_TIMEOUT, || match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            ensure!(qemu.ended()?.is_none(), "QEMU ended");
            Ok(None)
        }
        Err(error) => Err(error).context("cannot accept QEMU's connection"),
    })?;
    let seconds = WAIT_TIMEOUT.as_secs();
    let stream =
        stream.with_context(|| format!("QEMU did not connect to the lab in {seconds} s"))?;
    stream.set_nonblocking(false).context("cannot set up a socket")?;
    Ok(stream)
}

/// A running guest; it ends when the value goes.
#[derive(Debug)]
pub struct Guest<'run> {
    run: &'run RunDir,
    name: String,
    child: Child,
    /// Its console, if that is for a person.
    console: Option<UnixStream>,
    agent: Agent,
    qmp: Qmp,
    /// Where devices are plugged in, unless they go onto the root bus.
    ports: Option<Ports>,
    /// Given back when QEMU is gone: fields go in their order.
    _slot: Arc<Slot>,
}

impl<'run> Guest<'run> {
    /// Describes a guest: on the usual machine of its architecture without default devices, with shared memory.
    pub fn builder(run: &'run RunDir) -> Builder<'run> {
        Builder::new(run)
    }

    /// Waits until the guest takes commands, after its start or a restart.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        let deadline = begun + BOOT;
        loop {
            let report = Instant::now() + BOOT_REPORT;
            match self.agent.ready(report.min(deadline)) {
                Err(_) if (report..deadline).contains(&Instant::now()) => {
                    let seconds = begun.elapsed().as_secs();
                    progress::say(&format!("the guest has been booting for {seconds} s"));
                }
                result => return result.with_context(|| self.did_not_boot()),
            }
        }
    }

    fn did_not_boot(&self) -> String {
        format!(
            "the guest did not boot; {}\n{}",
            self.run.tail(&format!("{}console.log", prefix(&self.name))),
            self.run.tail(&format!("{}qemu.log", prefix(&self.name)))
        )
    }

    /// Runs a shell command in the guest, whatever its exit status.
    pub fn try_run(&mut self, command: &str) -> Result<Output> {
        self.try_run_for(command, COMMAND)
    }

    /// Runs a shell command in the guest that may take so long.
    pub fn try_run_for(&mut self, command: &str, timeout: Duration) -> Result<Output> {
        let console = format!("{}console.log", prefix(&self.name));
        self.agent.run(command, timeout).with_context(|| self.run.tail(&console))
    }

    /// Runs a shell command in the guest that has to succeed, and returns what it printed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let output = self.try_run(command)?;
        if output.status != 0 {
            bail!("in the guest, `{command}` ended with {}:\n{}", output.status, output.text);
        }
        Ok(output.text)
    }

    /// Runs a shell command in the guest until it succeeds, and returns what it printed then.
    pub fn run_until(&mut self, command: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let output = self.try_run(command)?;
            if output.status == 0 {
                return Ok(output.text);
            }
            if begun.elapsed() > COMMAND {
                bail!(
                    "in the guest, `{command}` still ends with {} after {} s:\n{}",
                    output.status,
                    COMMAND.as_secs(),
                    output.text
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Copies a file of the host into the guest.
    pub fn copy_in(&mut self, file: &Path, in_guest: &str) -> Result<()> {
        let bytes = files::read(file)?;
        if bytes.is_empty() {
            // The agent reads one byte at least.
            return self.run(&format!(": >'{in_guest}'")).map(drop);
        }
        let output = self.agent.write(in_guest, &bytes, COPY)?;
        if output.status != 0 {
            bail!("cannot write {in_guest} in the guest: {}", output.text);
        }
        Ok(())
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The QMP connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Plugs a server's device in.
    pub fn plug(&mut self, server: &Server) -> Result<()> {
        self.plug_device(&server.device())
    }

    /// Plugs a device in, as QEMU is told of it.
    pub fn plug_device(&mut self, device: &Value) -> Result<()> {
        let mut device = device.clone();
        if let Some(ports) = &mut self.ports {
            device["bus"] = ports.take(device["id"].as_str().unwrap_or_default())?.into();
        }
        self.qmp.execute("device_add", &device)?;
        Ok(())
    }

    /// Unplugs a device and waits until the guest has let it go.
    pub fn unplug(&mut self, device: &str) -> Result<Value> {
        self.qmp.execute("device_del", &json!({"id": device}))?;
        let deleted = self.qmp.event("DEVICE_DELETED", Some(device), WAIT_TIMEOUT)?;
        if let Some(ports) = &mut self.ports {
            ports.give_back(device);
        }
        Ok(deleted)
    }

    /// Presses the reset button and waits until the guest has booted again.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp.execute("system_reset", &json!({}))?;
        self.wait_until_ready()
    }

    /// The console, from what it shows next.
    pub fn console(&self) -> Result<UnixStream> {
        let console = self.console.as_ref().context("this guest has no console for a person")?;
        let mut console = console.try_clone().context("cannot share the console")?;
        console.set_nonblocking(true).context("cannot set up the console")?;
        let mut shown = [0; 4096];
        while console.read(&mut shown).is_ok_and(|count| count > 0) {}
        console.set_nonblocking(false).context("cannot set up the console")?;
        Ok(console)
    }

    /// What the console has shown so far.
    pub fn console_log(&self) -> String {
        self.run.read(&format!("{}console.log", prefix(&self.name)))
    }

    /// What QEMU itself complained about.
    pub fn qemu_log(&self) -> String {
        self.run.read(&format!("{}qemu.log", prefix(&self.name)))
    }

    /// Whether QEMU still runs.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    /// Waits until QEMU has ended.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        self.child.wait(WAIT_TIMEOUT)
    }

    /// Ends QEMU at once, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// The same, for a guest that another one is to replace: its devices are free then.
    pub fn end(&mut self) -> Result<()> {
        self.child.kill()
    }
}
