//! A student's driver, loaded in a guest.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use checker::build;
use checker::kernel_log::{self, Trouble};
use checker::report::{Failure, Verdict};
use checker::stop::{Checked, Stop, ensure};
use lab::{Choice, environment};

use super::Bench;
use crate::guests::{Device, Live, SLOT};

/// The driver's device node.
pub const NODE: &str = "/dev/my_rng_driver";
/// How long loading and unloading may take.
const TIME: Duration = Duration::from_secs(10);

/// A driver that is loaded.
pub struct Loaded<'a, 'run> {
    /// Its guest.
    pub live: &'a mut Live<'run>,
    /// Its name, as `rmmod` takes it.
    pub name: String,
    /// Interrupt lines that there were before.
    before: BTreeMap<String, u64>,
}

/// Builds a driver, loads it in a guest with a device, tries something, and unloads it. What the
/// kernel complains about counts, too.
pub fn with_driver(
    file: &Path,
    device: &Device,
    bench: &mut Bench<'_>,
    attempt: impl FnOnce(&mut Loaded<'_, '_>) -> Checked,
) -> Checked {
    let work = bench.work()?;
    let booted = environment::get()?.kernel(Choice::default());
    let module = build::driver(file, work.path(), booted)?;
    let live = bench.guests.with(device)?;
    let in_guest = format!("/run/{}.ko", module.name);
    live.copy_in(&module.file, &in_guest)?;
    if *device == Device::Interrupting {
        // What the driver of an earlier check has left in STATUS.
        live.run("reg 0xc 7", TIME)?;
    }
    live.kernel_news()?;
    let before = interrupts(&live.run("cat /proc/interrupts", TIME)?.text);
    let insmod = live.run(&format!("insmod {in_guest}"), TIME)?;
    if insmod.status != 0 {
        let news = live.kernel_news()?;
        let hint = format!("the driver does not load: {}", insmod.text.trim());
        let failure: Stop = Failure::new(hint).with(kernel_log::condensed(&news)).into();
        return complained(live, &news).and(Err(failure));
    }
    let mut loaded = Loaded { live, name: module.name, before };
    let result = loaded.is_bound().and_then(|()| attempt(&mut loaded));
    loaded.end(result)
}

impl Loaded<'_, '_> {
    /// The driver has taken the device.
    fn is_bound(&mut self) -> Checked {
        let link = self.live.run(&format!("readlink {SLOT}/driver"), TIME)?;
        if link.status == 0 {
            return Ok(());
        }
        let news = self.live.kernel_news()?;
        complained(self.live, &news)?;
        Err(Failure::new(
            "the driver is loaded, but it has not taken the device: do vendor and device in its \
             id_table fit 1234:cafe, is the table in its struct pci_driver, and does probe \
             return 0?",
        )
        .with(kernel_log::condensed(&news))
        .into())
    }

    /// Runs a command; one that does not end in time has this said about it.
    pub fn run(&mut self, command: &str, what: &str) -> Result<String, Stop> {
        let seconds = TIME.as_secs();
        // As a file: `timeout` takes a program.
        let script = checker::guest::quoted(command);
        let output = self.live.run(&format!("timeout -s KILL {seconds} sh -c {script}"), TIME)?;
        // The signal reaches a process that waits in the driver only when the driver lets it.
        if output.status == 137 {
            self.live.spoil();
            return Err(Stop::failed(format!("{what} does not end within {seconds} s")));
        }
        Ok(output.text)
    }

    /// The interrupts that came to lines which the driver has taken.
    pub fn interrupts(&mut self) -> Result<u64, Stop> {
        let now = interrupts(&self.live.run("cat /proc/interrupts", TIME)?.text);
        let new = now.iter().filter(|(line, _)| !self.before.contains_key(*line));
        Ok(new.map(|(_, count)| count).sum())
    }

    /// The driver's node is there.
    pub fn has_node(&mut self) -> Checked {
        let test = self.live.run(&format!("test -c {NODE}"), TIME)?;
        if test.status == 0 {
            return Ok(());
        }
        Err(Stop::failed(format!("there is no {NODE}: misc_register makes it, in probe")))
    }

    /// Unloads the driver, unless something is wrong already, and hears what the kernel says.
    fn end(self, result: Checked) -> Checked {
        let Self { live, name, .. } = self;
        let news = live.kernel_news().unwrap_or_default();
        if let Err(complaint) = complained(live, &news) {
            live.spoil();
            // What the check itself found is the plainer one, unless the kernel has stopped.
            return Err(complaint);
        }
        let unloaded = unload(live, &name);
        let news = live.kernel_news().unwrap_or_default();
        let unloaded = unloaded.and_then(|()| complained(live, &news));
        if unloaded.is_err() {
            live.spoil();
        }
        result.and(unloaded)
    }
}

/// Unloads a driver, and its node with it.
fn unload(live: &mut Live<'_>, name: &str) -> Checked {
    let gone = live.run(&format!("! lsmod | grep -q '^{name} ' || rmmod {name}"), TIME)?;
    ensure(gone.status == 0, || format!("the driver does not unload: {}", gone.text.trim()))?;
    let node = live.run(&format!("test -e {NODE}"), TIME)?;
    ensure(node.status != 0, || {
        format!(
            "the driver is unloaded, and {NODE} is still there: misc_deregister is missing, in remove"
        )
    })
}

/// What the kernel complains about is a failure; after an oops the guest is of no use.
fn complained(live: &mut Live<'_>, news: &str) -> Checked {
    let Some(found) = kernel_log::worst(news) else { return Ok(()) };
    if found.trouble > Trouble::Warning {
        live.spoil();
    }
    let hint = format!("{} ({})", found.meaning, found.line.trim());
    Err(Stop::Verdict(Verdict::Failed(Failure::new(hint).with(kernel_log::excerpt(news)))))
}

/// The lines of `/proc/interrupts` with how many interrupts each has had.
fn interrupts(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim();
        name.parse::<u32>().ok()?;
        let counts = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        Some((name.to_owned(), counts.sum()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_summed_over_processors() {
        let text = "           CPU0       CPU1\n\
                    \x20  4:         10          5   IO-APIC   4-edge      ttyS0\n\
                    \x2024:          1          2  PCI-MSI-0000:00:04.0   0-edge      my_rng\n\
                    NMI:          7          7   Non-maskable interrupts\n";
        let found = interrupts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found["24"], 3);
    }
}
