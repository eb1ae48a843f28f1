//! The last step: a device of the student's that interrupts by MSI-X.

use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::build;
use checker::report::Failure;
use checker::stop::{Checked, ensure};
use lab::{Choice, environment, module_build, paths};

use super::Bench;
use crate::guests::Device;

/// How long the counting module may take.
const TIME: Duration = Duration::from_secs(20);
/// How many numbers it has made.
const NUMBERS: u32 = 5;

/// The source of the module that has numbers made and counts interrupts.
pub fn counter() -> PathBuf {
    paths::checkout().join("course/modules/msix_count")
}

/// The device interrupts by MSI-X when a number is ready, once for each.
pub fn interrupts_by_msix(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let work = bench.work()?;
    let program = build::device(file, work.path())?.program;
    let module =
        module_build::build_folder(&counter(), environment::get()?.kernel(Choice::default()))?;
    let live = bench.guests.with(&Device::Own(program))?;
    live.copy_in(&module.module, "/run/msix_count.ko")?;
    live.kernel_news()?;
    let loaded = live.run("insmod /run/msix_count.ko", TIME);
    let log = live.log_since(0);
    let news = live.kernel_news().unwrap_or_default();
    // QEMU cannot unplug a device with MSI-X, so that the guest is of no use to another one.
    live.spoil();
    let loaded = loaded?;
    let said =
        |what: &str| news.lines().find_map(|line| line.split_once(what).map(|(_, n)| n.trim()));
    if let Some(panic) = log.lines().find(|line| line.contains("panicked")) {
        return Err(Failure::new("the device panicked").with(panic).into());
    }
    ensure(!news.contains("no MSI-X"), || {
        "the guest finds no MSI-X in the device: DeviceConfig has a call for it, .msix(...)"
            .to_owned()
    })?;
    let result = said("msix_count: numbers ").unwrap_or_default().to_owned();
    let words: Vec<u32> = result.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [made, ready, interrupts, zeros] = words[..] else {
        let hint = format!("the counting module does not load: {}", loaded.text.trim());
        return Err(Failure::new(hint).with(news).into());
    };
    let seen = format!("for {made} numbers the guest saw {ready} with READY in STATUS");
    ensure(made == NUMBERS && ready == made, || {
        format!("{seen}: STATUS gets bit 0 when a number is ready, and loses it when 1 is written")
    })?;
    ensure(zeros == 0, || format!("{seen}, and NUMBER was 0 {zeros} times"))?;
    ensure(interrupts == made, || {
        format!("{seen} and {interrupts} interrupts by MSI-X: signal_vector(0) once for each")
    })
}
