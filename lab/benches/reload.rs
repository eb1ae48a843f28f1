//! How long a person waits from saving a change until the guest sees it: with the device in a
//! process of its own, and with the device inside QEMU.
//!
//! Both change the number that a read of RANDOM returns. Ours is compiled, and a process with it takes
//! the running one's place under the guest (docs/exchange.md); the other one is compiled into QEMU, and a
//! guest booted on that. The kernel module is changed in the running guest, too.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lab::device_crate::DeviceCrate;
use lab::live_guest::Setup;
use lab::patched_qemu::workshop::Workshop;
use lab::{Choice, Guest, LiveGuest, RunDir, environment, module_build, patched_qemu, paths};

/// Changes of each kind.
const ROUNDS: u32 = 3;

/// Reads RANDOM of our device in the guest.
const READ_RANDOM: &str =
    "devmem $(head -c 18 /sys/bus/pci/devices/0000:00:04.0/resource) 32 | tr A-F a-f";

/// Where the device's BAR is after the machine's firmware has run.
const BASE_AT_BOOT: &str = "0xfebf1000";

#[derive(Debug, Parser)]
struct Options {
    /// Fail when a change of our device takes more than this share of one inside QEMU.
    #[arg(long, value_name = "RATIO")]
    check: Option<f64>,

    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let run = RunDir::create("reload")?;
    let (ours, module) = ours(&run)?;
    let inside = inside_qemu(&run)?;
    println!("from saving a change until the guest sees it, median of {ROUNDS}");
    let head = ["", "compile", "guest", "together"];
    println!("  {:<34} {:>9} {:>9} {:>9}", head[0], head[1], head[2], head[3]);
    for (name, loops) in [
        ("device in a process of its own", &ours),
        ("device inside QEMU, guest rebooted", &inside),
        ("kernel module", &module),
    ] {
        println!(
            "  {name:<34} {:>7.1} s {:>7.1} s {:>7.1} s",
            median(loops, |change| change.compile),
            median(loops, |change| change.guest),
            median(loops, Change::together),
        );
    }
    let ratio = median(&ours, Change::together) / median(&inside, Change::together);
    println!("  ours takes {ratio:.2} of the time of the one inside QEMU");
    if let Some(most) = options.check {
        ensure!(ratio <= most, "{ratio:.2} is more than {most}");
    }
    Ok(())
}

/// How long one change took.
struct Change {
    compile: Duration,
    /// Until the guest had seen it.
    guest: Duration,
}

impl Change {
    fn together(&self) -> Duration {
        self.compile + self.guest
    }
}

/// The median in seconds.
fn median(changes: &[Change], what: impl Fn(&Change) -> Duration) -> f64 {
    let mut times: Vec<Duration> = changes.iter().map(what).collect();
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Times a build and what comes after it.
fn time<T>(
    build: impl FnOnce() -> Result<T>,
    show: impl FnOnce(T) -> Result<()>,
) -> Result<Change> {
    let begun = Instant::now();
    let built = build()?;
    let compile = begun.elapsed();
    show(built)?;
    Ok(Change { compile, guest: begun.elapsed() - compile })
}

/// Saves a file with one piece of its text replaced.
fn save(from: &str, before: &str, after: &str, file: &Path) -> Result<()> {
    ensure!(from.contains(before), "no {before:?} in what becomes {}", file.display());
    let text = from.replacen(before, after, 1);
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The number of a round, which RANDOM then returns.
fn number(round: u32) -> u32 {
    0x1000 + round
}

/// Changes our device and the kernel module in a running guest.
fn ours(run: &RunDir) -> Result<(Vec<Change>, Vec<Change>)> {
    let source = read(&paths::checkout().join("crates/vfio-user-device/examples/skeleton.rs"))?;
    let file = run.path().join("my_device.rs");
    fs::write(&file, &source).context("cannot write the device")?;
    let device = DeviceCrate::open(&file)?;
    let program = device.build()?;
    let mut live = LiveGuest::boot(run, Setup { program: Some(program), ..Setup::default() })?;
    let mut devices = Vec::new();
    for round in 0..ROUNDS {
        let changed = format!("u64::from(self.random()) + {}", number(round));
        save(&source, "self.random().into()", &changed, &file)?;
        devices.push(time(
            || device.build(),
            |program| {
                live.exchange_device(&program)?;
                let shown = live.show(Some(READ_RANDOM))?.text;
                ensure!(shown.trim() == format!("{:#010x}", number(round)), "{shown}");
                Ok(())
            },
        )?);
    }

    let folder = run.path().join("guest-driver");
    let ours = paths::checkout().join("guest-driver");
    fs::create_dir_all(&folder).context("cannot make a folder for the module")?;
    for name in ["Kbuild", "my_rng.h"] {
        fs::copy(ours.join(name), folder.join(name)).context("cannot copy the module")?;
    }
    let source = read(&ours.join("my_rng.c"))?;
    let environment = environment::get()?;
    let kernel = environment.kernel(Choice::default());
    let mut modules = Vec::new();
    for round in 0..ROUNDS {
        let changed = format!("/dev/%s ready, {}", number(round));
        save(&source, "/dev/%s ready", &changed, &folder.join("my_rng.c"))?;
        modules.push(time(
            || module_build::build_folder(&folder, kernel),
            |built| {
                live.exchange_driver(&built.module, &[])?;
                let shown = live.show(Some("dmesg"))?.text;
                ensure!(shown.contains(&format!("ready, {}", number(round))), "{shown}");
                Ok(())
            },
        )?);
    }
    Ok((devices, modules))
}

/// Changes the device inside QEMU, and boots a guest on it.
fn inside_qemu(run: &RunDir) -> Result<Vec<Change>> {
    let workshop = Workshop::open(run)?;
    let source = read(&workshop.device_source())?;
    let file = run.path().join("my_rng.c");
    let mut changes = Vec::new();
    for round in 0..ROUNDS {
        save(&source, "return number;", &format!("return {};", number(round)), &file)?;
        changes.push(time(
            || workshop.rebuild(&file),
            |built| {
                let mut guest = Guest::builder(run)
                    .qemu(&built.qemu)
                    .without_driver()
                    .default_devices()
                    .arguments(&["-device", &patched_qemu::device("inside", None).to_string()])
                    .boot()?;
                let shown = guest.run(&format!("devmem {BASE_AT_BOOT} 32"))?;
                let seen = format!("{:#010X}", number(round)).replace('X', "x");
                ensure!(shown.trim() == seen, "RANDOM is {shown}");
                Ok(())
            },
        )?);
    }
    Ok(changes)
}
