//! A guest in which a user tries a device and a driver of their own, and exchanges them while it
//! runs.
//!
//! The device sits in a slot of its own, so that its address on the bus stays the same. A new one is
//! started beside the old one, and takes its place only when it runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent::Output;
use crate::{Guest, RunDir, Server, c_device, oops, process, progress, qemu};

mod setup;

use setup::start;
pub use setup::{Files, Setup};

mod silence;

/// The slot of QEMU's default PC that is the first free one.
const SLOT: u8 = 4;
/// The same, as the guest's lspci names it.
const ADDRESS: &str = "00:04.0";
/// How many 32-bit words of BAR 0 are shown.
const WORDS: u64 = 4;
/// Where modules are put in the guest.
const MODULES: &str = "/run";
/// How long loading or unloading a module may take.
const MODULE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a device's program may take from a mistake to its end.
const END: Duration = Duration::from_secs(5);
/// How long a command of the user's may take, who can end it at any time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The guest with what is being tried on it.
#[derive(Debug)]
pub struct LiveGuest<'run> {
    run: &'run RunDir,
    guest: Guest<'run>,
    /// How many guests there were.
    guests: u32,
    device: Server<'run>,
    /// How many devices there were.
    devices: u32,
    /// The loaded module, as rmmod names it.
    driver: Option<String>,
    /// The file that it was loaded from.
    module: Option<PathBuf>,
    /// How long its console's log was when the guest had booted.
    booted: usize,
    /// Whether the guest does not answer, or its kernel has failed: the next exchange boots another.
    lost: bool,
    /// What each guest is to be like.
    setup: Setup,
    /// The devices beside that one.
    others: Vec<Server<'run>>,
}

impl<'run> LiveGuest<'run> {
    /// Boots a guest with its devices.
    pub fn boot(run: &'run RunDir, setup: Setup) -> Result<Self> {
        let record = setup.recording(1);
        let device = start(run, &device_name(1), setup.program.as_deref(), setup.debug, record)?;
        let name = |number: u16| format!("other-{number}");
        let other = |number| start(run, &name(number), setup.program.as_deref(), setup.debug, None);
        let others = (1..=setup.others).map(other).collect::<Result<Vec<Server<'run>>>>()?;
        let guest = boot(run, 1, &setup, &device, &others)?;
        let booted = guest.console_log().len();
        Ok(Self {
            run,
            guest,
            booted,
            guests: 1,
            device,
            devices: 1,
            driver: None,
            module: None,
            lost: false,
            setup,
            others,
        })
    }

    /// How many guests there were so far.
    pub fn guests(&self) -> u32 {
        self.guests
    }

    /// Loads the checkout's own driver.
    pub fn load_ours(&mut self) -> Result<()> {
        self.guest.run("grep -q '^my_rng ' /proc/modules || insmod /root/my_rng.ko").map(drop)
    }

    /// Puts a program into the guest's /root, in the place of an older one.
    pub fn exchange_app(&mut self, program: &Path, name: &str) -> Result<()> {
        self.recover()?;
        // What runs cannot be written to.
        self.guest.run(&format!("rm -f /root/{name}"))?;
        self.guest.copy_in(program, &format!("/root/{name}"))?;
        self.guest.run(&format!("chmod +x /root/{name}")).map(drop)
    }

    /// The guest.
    pub fn guest(&mut self) -> &mut Guest<'run> {
        &mut self.guest
    }

    /// The process id of the device's program.
    pub fn device_pid(&self) -> u32 {
        self.device.pid()
    }

    /// What the device's program has said of its end, if that was a mistake of its own.
    pub fn device_failure(&mut self) -> Result<Option<String>> {
        if c_device::mistake_in(&self.device.own_log()).is_empty() {
            return Ok(None);
        }
        // The report of a mistake takes a moment, and the end comes after it.
        process::wait_for(END, || Ok((!self.device.running()?).then_some(())))?;
        Ok(Some(c_device::mistake_in(&self.device.own_log())))
    }

    /// Unplugs the device and plugs that of another program in. When that does not start, the old
    /// one stays.
    pub fn exchange_device(&mut self, program: &Path) -> Result<()> {
        if !self.device.running()? {
            progress::say("the device's program had ended; starting the new one");
        } else if !self.setup.debug && !self.lost {
            // The file of the running device is the new one's by now.
            let begun = Instant::now();
            match self.device.exchange() {
                Ok(()) => {
                    let took = begun.elapsed().as_millis();
                    progress::say(&format!(
                        "the device was exchanged in place; its driver stays loaded ({took} ms)"
                    ));
                    return Ok(());
                }
                Err(error) => progress::say(&format!("not exchanged in place: {error:#}")),
            }
        }
        self.devices += 1;
        let record = self.setup.recording(self.devices);
        let name = device_name(self.devices);
        let next = start(self.run, &name, Some(program), self.setup.debug, record)?;
        let mut before = std::mem::replace(&mut self.device, next);
        if self.lost {
            return self.recover();
        }
        if self.has_msix()? {
            // QEMU up to 11.1 ends when a vfio-user device with MSI-X is unplugged.
            progress::say("the device has MSI-X, which QEMU cannot unplug: booting another guest");
            return self.boot_again();
        }
        if let Err(error) = self.guest.unplug(before.name()) {
            progress::say(&format!("the guest did not let the old device go: {error:#}"));
            return self.boot_again();
        }
        // It may have ended by a mistake.
        if before.running()? {
            before.stop()?;
        }
        self.guest.qmp().execute("device_add", &in_slot(&self.device, SLOT))?;
        self.guest.run_until(&format!("test -e /sys/bus/pci/devices/0000:{ADDRESS}/vendor"))?;
        // As the machine's firmware has done with the first one: its BARs answer without a driver.
        self.guest.run(&format!("setpci -s {ADDRESS} COMMAND=3:3"))?;
        Ok(())
    }

    /// Takes the module out that was loaded last, and loads this one with its parameters.
    pub fn exchange_driver(&mut self, module: &Path, parameters: &[String]) -> Result<()> {
        self.recover()?;
        if let Some(loaded) = self.driver.take() {
            match self.command(&format!("rmmod {loaded}"), MODULE_TIMEOUT) {
                _ if self.lost => self.recover()?,
                Ok(removed) if removed.status != 0 => {
                    progress::say(&format!(
                        "the old module cannot be unloaded, booting another guest: {}",
                        removed.text.trim()
                    ));
                    self.boot_again()?;
                }
                _ => {}
            }
        }
        let stem = module.file_stem().context("a module has a name")?.to_string_lossy();
        let in_guest = format!("{MODULES}/{stem}.ko");
        self.guest.copy_in(module, &in_guest)?;
        self.guest.run("dmesg -c >/dev/null")?;
        self.module = Some(module.to_owned());
        let quoted = |word: &String| format!(" '{}'", word.replace('\'', r"'\''"));
        let parameters: String = parameters.iter().map(quoted).collect();
        let loaded = self.command(&format!("insmod {in_guest}{parameters}"), MODULE_TIMEOUT)?;
        anyhow::ensure!(loaded.status == 0, "the module does not load: {}", loaded.text.trim());
        // As the kernel writes names.
        self.driver = Some(stem.replace('-', "_"));
        Ok(())
    }

    /// Runs a command that may take so long. When it does not end, or the kernel fails in it, the guest
    /// is lost.
    fn command(&mut self, command: &str, time: Duration) -> Result<Output> {
        let output = self.guest.try_run_for(command, time);
        let console = self.guest.console_log();
        let failed = oops::first(console.get(self.booted..).unwrap_or_default());
        self.lost = output.is_err() || failed.is_some();
        let Some(failed) = failed else {
            return output.with_context(|| {
                format!(
                    "the guest does not answer after {} s; is there a loop that does not end? The \
                     next save boots another guest",
                    time.as_secs()
                )
            });
        };
        let printed = output.map(|output| output.text).unwrap_or_default();
        let told = failed.told(self.module.as_deref());
        bail!("{printed}{told}\nthe next save boots another guest")
    }

    /// Whether the next exchange boots another guest.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Boots another guest when this one is lost.
    fn recover(&mut self) -> Result<()> {
        if self.lost {
            progress::say("booting another guest");
            self.boot_again()?;
        }
        Ok(())
    }

    /// Whether no module of the user's is loaded: not yet, or the guest is another one since.
    pub fn driver_is_gone(&self) -> bool {
        self.driver.is_none()
    }

    /// What there is to see, or what a command of the user's prints, with its exit status.
    pub fn show(&mut self, command: Option<&str>) -> Result<Output> {
        if let Some(command) = command {
            let timeout = if self.setup.debug { qemu::DEBUG_TIMEOUT } else { COMMAND_TIMEOUT };
            return self.command(command, timeout);
        }
        let mut shown = self.guest.try_run(&format!("lspci -v -s {ADDRESS}"))?.text;
        let words = self.words()?;
        shown.push_str(&words);
        shown.push_str(&self.device_trouble(&words)?);
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

    /// Why the device does not answer, and what it has printed beside its log.
    fn device_trouble(&mut self, words: &str) -> Result<String> {
        let log = self.device.own_log();
        let mut trouble = String::new();
        // It is told by `device_failure`.
        if !c_device::mistake_in(&log).is_empty() {
            return Ok(trouble);
        }
        if let Some(panic) = panic_in(&log) {
            trouble.push_str(&format!("the device panicked at {panic}\n"));
        } else if !self.device.running()? {
            trouble.push_str("the device's program has ended\n");
        } else if let Some(said) =
            silence::told(words.split_once('\n').map_or("", |(_, rest)| rest))
        {
            trouble.push_str(&said);
        }
        // A line of its log begins with the time, and behind a panic comes a long trace.
        let before = log.lines().take_while(|line| !line.contains(" panicked at "));
        let printed: Vec<&str> = before.filter(|line| !line.starts_with('[')).collect();
        if !printed.is_empty() {
            let last = &printed[printed.len().saturating_sub(PRINTED_LINES)..];
            trouble.push_str(&format!("the device printed:\n  {}\n", last.join("\n  ")));
        }
        Ok(trouble)
    }

    fn has_msix(&mut self) -> Result<bool> {
        Ok(self.guest.try_run(&format!("lspci -vv -s {ADDRESS}"))?.text.contains("MSI-X"))
    }

    fn boot_again(&mut self) -> Result<()> {
        self.guests += 1;
        self.driver = None;
        self.lost = false;
        // A device has one client at a time.
        self.guest.end()?;
        self.guest = boot(self.run, self.guests, &self.setup, &self.device, &self.others)?;
        self.booted = self.guest.console_log().len();
        Ok(())
    }
}

/// How much of what a device prints is shown.
const PRINTED_LINES: usize = 10;

/// Where a program panicked and what it said, as its log has it.
pub fn panic_in(log: &str) -> Option<String> {
    let mut lines = log.lines();
    let place = lines.find_map(|line| line.split_once(" panicked at ").map(|(_, place)| place))?;
    Some(format!("{place} {}", lines.next().unwrap_or_default()))
}

/// A resource in memory, in `/sys/bus/pci/devices/*/resource` (linux/ioport.h).
const IORESOURCE_MEM: u64 = 0x200;

fn device_name(number: u32) -> String {
    format!("device-{number}")
}

fn boot<'run>(
    run: &'run RunDir,
    number: u32,
    setup: &Setup,
    device: &Server<'run>,
    others: &[Server<'run>],
) -> Result<Guest<'run>> {
    let wait = progress::Wait::new("booting the guest");
    let mut guest = Guest::builder(run)
        .name(&format!("guest-{number}"))
        .kernel(setup.kernel)
        .default_devices()
        .device(&in_slot(device, SLOT));
    if setup.console {
        guest = guest.console();
    }
    let others = others.iter().zip(SLOT + 1..);
    guest = others.fold(guest, |guest, (other, slot)| guest.device(&in_slot(other, slot)));
    for (in_guest, on_host) in &setup.files {
        guest = guest.file(in_guest, on_host);
    }
    let guest = guest.boot()?;
    wait.done("the guest is up");
    Ok(guest)
}

/// A device in a slot, as QEMU is told.
fn in_slot(server: &Server, slot: u8) -> serde_json::Value {
    let mut device = server.device();
    device["addr"] = format!("{slot:#x}").into();
    device
}
