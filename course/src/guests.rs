//! The guest that checks run in. It is kept from one check to the next, as long as the same device
//! is wanted and nothing has gone wrong in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use checker::access_log::{self, Named};
use checker::kernel_log;
use checker::report::Failure;
use checker::stop::Stop;
use lab::agent::Output;
use lab::device_crate::DeviceCrate;
use lab::{Choice, Guest, RunDir, Server, paths, progress};

/// The slot of the device, as the guest's `/sys` names it.
pub const SLOT: &str = "/sys/bus/pci/devices/0000:00:04.0";
/// How long a command may take on a machine that is not busy, beyond the time it asks for.
const SLACK: Duration = Duration::from_secs(45);
/// With `preempt=full`, races show.
const KERNEL_ARGUMENTS: &str = "preempt=full no_timer_check";

/// The device that a check wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// The published one.
    Published,
    /// The one with an interrupt and DMA (`course/devices/my_rng_irq.rs`).
    Interrupting,
    /// The student's.
    Own(PathBuf),
}

/// The source of the device with an interrupt and DMA.
#[must_use]
pub fn interrupting() -> PathBuf {
    paths::checkout().join("course/devices/my_rng_irq.rs")
}

/// A place for one guest.
#[derive(Debug)]
pub struct Guests<'run> {
    run: &'run RunDir,
    live: Option<Live<'run>>,
    /// How many there were.
    count: u32,
}

/// A guest with its device.
#[derive(Debug)]
pub struct Live<'run> {
    run: &'run RunDir,
    device: Device,
    server: Server<'run>,
    guest: Guest<'run>,
    console: String,
    /// Whether it must not be used again.
    spoilt: bool,
}

impl<'run> Guests<'run> {
    /// Without a guest yet.
    #[must_use]
    pub fn new(run: &'run RunDir) -> Self {
        Self { run, live: None, count: 0 }
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// Ends the guest.
    pub fn end(&mut self) {
        self.live = None;
    }

    /// A guest with a device: the one that is there, or else a new one.
    pub fn with(&mut self, device: &Device) -> Result<&mut Live<'run>, Stop> {
        let fits = |live: &Live<'_>| !live.spoilt && live.device == *device;
        if !self.live.as_ref().is_some_and(fits) {
            self.live = None;
            self.live = Some(self.boot(device)?);
        }
        Ok(self.live.as_mut().context("there is a guest")?)
    }

    fn boot(&mut self, device: &Device) -> Result<Live<'run>> {
        self.count += 1;
        let name = format!("device-{}", self.count);
        let server = serve(self.run, &name, device)?;
        let wait = progress::Wait::new("booting a guest");
        let name = format!("guest-{}", self.count);
        let guest = Guest::builder(self.run)
            .name(&name)
            .kernel(Choice::default())
            .default_devices()
            .processors(2)
            .without_driver()
            .append(KERNEL_ARGUMENTS)
            .attach(&server)
            .boot()?;
        wait.done("the guest is up");
        let console = format!("{name}-console.log");
        let device = device.clone();
        let mut live = Live { run: self.run, device, server, guest, console, spoilt: false };
        live.guest.run("dmesg -n 8")?;
        Ok(live)
    }
}

/// Starts the program that serves a device.
fn serve<'run>(run: &'run RunDir, name: &str, device: &Device) -> Result<Server<'run>> {
    let program = match device {
        Device::Published => return Server::start(run, name, &["--generator", "glibc", "-vv"]),
        Device::Interrupting => &DeviceCrate::open(&interrupting())?.build()?,
        Device::Own(program) => program,
    };
    Server::start_program(run, name, program, &["-vv"])
}

impl Live<'_> {
    /// Runs a shell command that may take so long.
    pub fn run(&mut self, command: &str, time: Duration) -> Result<Output, Stop> {
        self.guest.try_run_for(command, time + SLACK).map_err(|error| self.lost(error))
    }

    /// Copies a file into the guest.
    pub fn copy_in(&mut self, file: &Path, in_guest: &str) -> Result<(), Stop> {
        Ok(self.guest.copy_in(file, in_guest)?)
    }

    /// Has the next check boot another guest.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// The guest does not answer: says why, as far as its kernel said so.
    fn lost(&mut self, error: anyhow::Error) -> Stop {
        self.spoilt = true;
        let log = self.run.read(&self.console);
        match kernel_log::worst(&log) {
            Some(found) => {
                let hint = format!("the guest stopped: {} ({})", found.meaning, found.line.trim());
                Failure::new(hint).with(kernel_log::excerpt(&log)).into()
            }
            None => Failure::new(
                "the guest does not answer any more: is there a loop that does not end, or a lock \
                 that is not given back?",
            )
            .with(format!("{error:#}"))
            .into(),
        }
    }

    /// What the kernel said since this was asked last.
    pub fn kernel_news(&mut self) -> Result<String, Stop> {
        Ok(self.run("dmesg -c", Duration::from_secs(5))?.text)
    }

    /// Where the device's log ends now, for [`Self::accesses_since`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.server.log().len()
    }

    /// The accesses to the device since a mark. Writes are posted: a read of the configuration
    /// space waits for them.
    pub fn accesses_since(&mut self, mark: usize) -> Result<Vec<Named>, Stop> {
        self.run(&format!("cat {SLOT}/config >/dev/null"), Duration::from_secs(5))?;
        let log = self.server.log();
        Ok(access_log::named(log.get(mark..).unwrap_or_default()).collect())
    }

    /// The device's log since a mark.
    #[must_use]
    pub fn log_since(&self, mark: usize) -> String {
        self.server.log().get(mark..).unwrap_or_default().to_owned()
    }
}
