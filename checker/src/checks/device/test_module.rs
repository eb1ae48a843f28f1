//! The checker's kernel module in the guest, `checker/modules/irq_dma_test`: it counts a device's
//! interrupts and lends it memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::kernel::Kernel;
use lab::{module_build, paths};

use super::session::{Session, TEST_MODULE, get};
use crate::profile::{InterruptKind, Profile, Register};
use crate::stop::{Checked, Stop, ensure, nonsense};

const PARAMETERS: &str = "/sys/module/irq_dma_test/parameters";

/// Builds it, when a profile has something for it.
pub fn build(profile: &Profile, kernel: &Kernel) -> Result<Option<PathBuf>> {
    if profile.interrupts.is_empty() && profile.transfers.is_empty() {
        return Ok(None);
    }
    let source = paths::checkout().join("checker/modules/irq_dma_test");
    Ok(Some(module_build::build_folder(&source, kernel)?.module))
}

/// Loads it, with this kind of interrupt or none, and returns the kind that it was given.
pub fn load(
    session: &mut Session<'_>,
    kind: Option<InterruptKind>,
    vectors: u16,
) -> Result<String, Stop> {
    let device = &session.profile().device;
    let name = kind.map_or("none".to_owned(), |kind| kind.to_string());
    // One of an earlier check goes first.
    let command = format!(
        "rmmod irq_dma_test 2>/dev/null; insmod /{TEST_MODULE} vendor={:#x} device={:#x} kind={name} \
         vectors={vectors} && cat {PARAMETERS}/found",
        device.vendor, device.device
    );
    let found = session.bench()?.shell(&command)?.trim().to_owned();
    let asked = kind.filter(|kind| *kind != InterruptKind::Any).map(|kind| kind.to_string());
    let right = match found.as_str() {
        "none" => kind.is_none(),
        "intx" | "msi" | "msi-x" => asked.is_none_or(|asked| asked == found),
        "no interrupt" => false,
        _ => return Err(anyhow::anyhow!("the checker's module does not load: {found}").into()),
    };
    ensure(right, || missing(kind.unwrap_or_default(), vectors))?;
    Ok(found)
}

/// What to say of a device without an interrupt.
fn missing(kind: InterruptKind, vectors: u16) -> String {
    let (what, rust, c) = match kind {
        InterruptKind::Intx => ("interrupt pin", ".interrupt_pin()", "PCI_INTERRUPT_PIN"),
        InterruptKind::Msi => ("MSI", ".msi(...)", "msi_init"),
        InterruptKind::MsiX => ("MSI-X", ".msix(...)", "msix_init"),
        InterruptKind::Any => {
            ("interrupt", ".interrupt_pin(), .msi(...) or .msix(...)", "PCI_INTERRUPT_PIN")
        }
    };
    let vectors = if vectors > 1 { format!(" with {vectors} vectors") } else { String::new() };
    format!("the guest finds no {what}{vectors} in the device: {rust} makes it, in C {c}")
}

/// How many interrupts came by each vector.
pub fn counts(session: &mut Session<'_>) -> Result<Vec<u32>, Stop> {
    let text = session.bench()?.shell(&format!("cat {PARAMETERS}/interrupts"))?;
    let counts: Option<Vec<u32>> = text.trim().split(',').map(|word| word.parse().ok()).collect();
    counts.filter(|counts| !counts.is_empty()).ok_or_else(|| nonsense(&text))
}

/// How many interrupts came.
pub fn count(session: &mut Session<'_>) -> Result<u32, Stop> {
    Ok(counts(session)?.iter().sum())
}

/// Waits until so many interrupts came, or the time for that is over, and returns how many did. Reading
/// a register has QEMU look at the pin again.
pub fn wait_for(session: &mut Session<'_>, wanted: u32, register: &Register) -> Result<u32, Stop> {
    let usual = session.profile().seconds.call;
    let time = Duration::from_secs(session.bench()?.seconds(usual));
    let begun = Instant::now();
    loop {
        session.values(vec![get(register)])?;
        let count = count(session)?;
        if count >= wanted || begun.elapsed() > time {
            return Ok(count);
        }
    }
}

/// Lets the next interrupt of a pin come: the module masks it after each one.
pub fn rearm(session: &mut Session<'_>) -> Checked {
    session.bench()?.shell(&format!("echo 1 >{PARAMETERS}/rearm"))?;
    Ok(())
}

/// Where the device finds the module's memory.
pub fn address(session: &mut Session<'_>) -> Result<u64, Stop> {
    let text = session.bench()?.shell(&format!("cat {PARAMETERS}/address"))?;
    text.trim().parse().map_err(|_| nonsense(&text))
}

/// A part of the module's memory.
pub fn memory(session: &mut Session<'_>, from: usize, size: usize) -> Result<Vec<u8>, Stop> {
    let command = format!(r#"hexdump -v -s {from} -n {size} -e '1/1 "%02x"' /dev/irq_dma_test"#);
    let text = session.bench()?.shell(&command)?;
    let digits = text.trim().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes.filter(|bytes| bytes.len() == size).ok_or_else(|| nonsense(&text))
}

/// What the memory has at first, at a place.
#[expect(clippy::cast_possible_truncation, reason = "the low bytes are meant, as in the module")]
pub fn pattern(at: usize) -> u8 {
    (at * 167 + (at >> 8) * 13) as u8
}
