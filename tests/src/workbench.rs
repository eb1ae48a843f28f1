//! A guest on which somebody tries a device and a driver of their own, and exchanges them while it
//! runs.
//!
//! The device sits in a slot of its own, so that its address on the bus stays the same. A new one is
//! started beside the old one, and takes its place only when it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::Output;
use crate::{Choice, Guest, RunDir, Server, cargo_build, progress, qemu};

/// The slot of QEMU's default machine that is the first free one.
const SLOT: &str = "0x4";
/// The same, as the guest's lspci names it.
const ADDRESS: &str = "00:04.0";
/// How many 32-bit words of BAR 0 are shown.
const WORDS: u64 = 4;
/// Where modules are put in the guest.
const MODULES: &str = "/run";
/// How long a command of the user's may take, who can end it at any time.
const LONGEST_COMMAND: Duration = Duration::from_secs(24 * 60 * 60);

/// The guest with what is being tried on it.
#[derive(Debug)]
pub struct Workbench<'run> {
    run: &'run RunDir,
    kernel: Choice,
    guest: Guest<'run>,
    /// How many guests there were.
    guests: u32,
    device: Server<'run>,
    /// How many devices there were.
    devices: u32,
    /// Whether a debugger may stop the device.
    debug: bool,
    /// The loaded module, as rmmod names it.
    driver: Option<String>,
    /// What each guest gets from the host.
    files: Files,
}

/// Paths in the guest, and whose files of the host they are.
pub type Files = Vec<(String, PathBuf)>;

impl<'run> Workbench<'run> {
    /// Boots a guest with the device of a program, or with the teaching device, and with files.
    /// With `debug`, everything waits for a device that a debugger has stopped.
    pub fn boot(
        run: &'run RunDir,
        kernel: Choice,
        program: Option<&Path>,
        debug: bool,
        files: Files,
    ) -> Result<Self> {
        let device = match program {
            Some(program) => start(run, 1, program, debug)?,
            None => {
                let program = cargo_build::server()?;
                let device = Server::start_program(run, &device_name(1), &program, &TEACHING)?;
                if debug { device.debugged() } else { device }
            }
        };
        let guest = boot(run, kernel, 1, &device, &files)?;
        Ok(Self { run, kernel, guest, guests: 1, device, devices: 1, debug, driver: None, files })
    }

    /// The guest.
    pub fn guest(&mut self) -> &mut Guest<'run> {
        &mut self.guest
    }

    /// The process id of the device's program.
    #[must_use]
    pub fn device_pid(&self) -> u32 {
        self.device.pid()
    }

    /// Whether a debugger may stop the device.
    #[must_use]
    pub fn debugged(&self) -> bool {
        self.debug
    }

    /// The log of the device's program.
    #[must_use]
    pub fn device_log(&self) -> String {
        self.device.log()
    }

    /// Unplugs the device and plugs that of another program in. When that does not start, the old
    /// one stays.
    pub fn exchange_device(&mut self, program: &Path) -> Result<()> {
        self.devices += 1;
        let next = start(self.run, self.devices, program, self.debug)?;
        let before = std::mem::replace(&mut self.device, next);
        if self.has_msix()? {
            // QEMU up to 11.1 ends when a vfio-user device with MSI-X is unplugged.
            progress::say("the device has MSI-X, which QEMU cannot unplug: booting another guest");
            return self.boot_again();
        }
        if let Err(error) = self.guest.unplug(before.name()) {
            progress::say(&format!("the guest did not let the old device go: {error:#}"));
            return self.boot_again();
        }
        before.stop()?;
        self.guest.qmp().execute("device_add", &in_slot(&self.device))?;
        self.guest.run_until(&format!("test -e /sys/bus/pci/devices/0000:{ADDRESS}/vendor"))?;
        // As the machine's firmware has done with the first one: its BARs answer without a driver.
        self.guest.run(&format!("setpci -s {ADDRESS} COMMAND=3:3"))?;
        Ok(())
    }

    /// Takes the module out that was loaded last, and loads this one with its parameters.
    pub fn exchange_driver(&mut self, module: &Path, parameters: &[String]) -> Result<()> {
        if let Some(loaded) = self.driver.take() {
            let removed = self.guest.try_run(&format!("rmmod {loaded}"))?;
            if removed.status != 0 {
                progress::say(&format!(
                    "the old module cannot be unloaded, booting another guest: {}",
                    removed.text.trim()
                ));
                self.boot_again()?;
            }
        }
        let stem = module.file_stem().context("a module has a name")?.to_string_lossy();
        let in_guest = format!("{MODULES}/{stem}.ko");
        self.guest.copy_in(module, &in_guest)?;
        self.guest.run("dmesg -c >/dev/null")?;
        let quoted = |word: &String| format!(" '{}'", word.replace('\'', r"'\''"));
        let parameters: String = parameters.iter().map(quoted).collect();
        self.guest.run(&format!("insmod {in_guest}{parameters}"))?;
        // As the kernel writes names.
        self.driver = Some(stem.replace('-', "_"));
        Ok(())
    }

    /// Whether no module of the user's is loaded: not yet, or the guest is another one since.
    #[must_use]
    pub fn driver_is_gone(&self) -> bool {
        self.driver.is_none()
    }

    /// What there is to see, or what a command of the user's prints, with its exit status.
    pub fn show(&mut self, command: Option<&str>) -> Result<Output> {
        if let Some(command) = command {
            let timeout = if self.debug { qemu::DEBUG_TIMEOUT } else { LONGEST_COMMAND };
            return self.guest.try_run_for(command, timeout);
        }
        let mut shown = self.guest.try_run(&format!("lspci -v -s {ADDRESS}"))?.text;
        shown.push_str(&self.words()?);
        if self.driver.is_some() {
            shown.push_str(&self.guest.try_run("dmesg | tail -n 5")?.text);
        }
        Ok(Output { status: 0, text: shown })
    }

    /// The first words of BAR 0, if it is memory.
    fn words(&mut self) -> Result<String> {
        let resource = format!("/sys/bus/pci/devices/0000:{ADDRESS}/resource");
        let first = self.guest.run(&format!("head -n 1 {resource}"))?;
        let mut fields = first.split_whitespace().map(|field| {
            u64::from_str_radix(field.trim_start_matches("0x"), 16).unwrap_or_default()
        });
        let (start, flags) = (fields.next().unwrap_or(0), fields.nth(1).unwrap_or(0));
        if start == 0 || flags & IORESOURCE_MEM == 0 {
            return Ok(String::new());
        }
        let commands: Vec<String> = (0..WORDS)
            .map(|word| format!("printf '{:#05x} '; devmem {:#x} 32", word * 4, start + word * 4))
            .collect();
        let words = self.guest.try_run(&commands.join("; "))?.text;
        Ok(format!("BAR 0 at {start:#x}:\n{words}"))
    }

    fn has_msix(&mut self) -> Result<bool> {
        Ok(self.guest.try_run(&format!("lspci -vv -s {ADDRESS}"))?.text.contains("MSI-X"))
    }

    fn boot_again(&mut self) -> Result<()> {
        self.guests += 1;
        self.driver = None;
        self.guest = boot(self.run, self.kernel, self.guests, &self.device, &self.files)?;
        Ok(())
    }
}

/// A resource in memory, in `/sys/bus/pci/devices/*/resource` (linux/ioport.h).
const IORESOURCE_MEM: u64 = 0x200;

/// How the teaching device is started.
const TEACHING: [&str; 3] = ["--generator", "glibc", "-vv"];

fn device_name(number: u32) -> String {
    format!("device-{number}")
}

fn start<'run>(
    run: &'run RunDir,
    number: u32,
    program: &Path,
    debug: bool,
) -> Result<Server<'run>> {
    let device = Server::start_program(run, &device_name(number), program, &["-vv"])?;
    Ok(if debug { device.debugged() } else { device })
}

fn boot<'run>(
    run: &'run RunDir,
    kernel: Choice,
    number: u32,
    device: &Server<'run>,
    files: &Files,
) -> Result<Guest<'run>> {
    let wait = progress::Wait::new("booting the guest");
    let guest = Guest::builder(run)
        .name(&format!("guest-{number}"))
        .kernel(kernel)
        .default_devices()
        .arguments(&["-device", &in_slot(device).to_string()]);
    let files = files.iter();
    let guest = files.fold(guest, |guest, (in_guest, on_host)| guest.file(in_guest, on_host));
    let guest = guest.boot()?;
    wait.done("the guest is up");
    Ok(guest)
}

/// A device in its slot, as QEMU is told.
fn in_slot(server: &Server) -> serde_json::Value {
    let mut device = server.device();
    device["addr"] = SLOT.into();
    device
}
