//! What the guest's PCI bus says about the device.

use super::session::Session;
use crate::profile::{BarKind, Device};
use crate::report::Failure;
use crate::stop::Stop;

/// Prints a line for each function: its address, its ids, revision, and the first BAR.
const SCRIPT: &str = "cd /sys/bus/pci/devices; for d in *; do \
    echo $d $(cat $d/vendor $d/device $d/revision) $(head -n 1 $d/resource); done";
/// The kernel's flags of a BAR (`IORESOURCE_MEM` and its relatives): memory, prefetchable, of 64 bits.
const MEMORY: u64 = 0x200;
const PREFETCHABLE: u64 = 0x2000;
const WIDE: u64 = 0x10_0000;

/// A function on the bus.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    address: String,
    /// Vendor, device, revision.
    ids: [u64; 3],
    /// Start, end and flags of BAR 0.
    bar: [u64; 3],
}

/// What is wrong with a device on the bus.
#[derive(Debug)]
pub struct Fault {
    /// What to say.
    pub failure: Failure,
    /// Whether its registers can be tried all the same.
    pub usable: bool,
}

/// What is wrong with the device on the bus: it has to have the profile's identity, and a BAR of its
/// kind and size.
pub fn identity(session: &mut Session<'_>) -> Result<Option<Fault>, Stop> {
    let device = &session.profile().device;
    let listed = session.bench()?.shell(SCRIPT)?;
    let functions: Vec<Function> = listed.lines().filter_map(function).collect();
    Ok(match functions.iter().find(|function| is_it(function, device)) {
        Some(found) => faults_of(found, device),
        None => Some(Fault { failure: missing(&functions, device), usable: false }),
    })
}

fn is_it(function: &Function, device: &Device) -> bool {
    function.ids[..2] == [u64::from(device.vendor), u64::from(device.device)]
}

fn function(line: &str) -> Option<Function> {
    let mut words = line.split_whitespace();
    let address = words.next()?.to_owned();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let ids = [number()?, number()?, number()?];
    Some(Function { address, ids, bar: [number()?, number()?, number()?] })
}

fn missing(functions: &[Function], device: &Device) -> Failure {
    // QEMU's own are Intel's, Bochs' and Red Hat's.
    let own = [0x8086, 0x1b36, 0x1af4];
    let strange = functions.iter().filter(|function| {
        !own.contains(&function.ids[0]) && function.ids[..2] != [0x1234, 0x1111]
    });
    let strange: Vec<String> = strange
        .map(|function| format!("{:04x}:{:04x}", function.ids[0], function.ids[1]))
        .collect();
    let instead = match &strange[..] {
        [] => "no device of another identity either".to_owned(),
        some => format!("but {}", some.join(", ")),
    };
    Failure::new(format!(
        "the guest has no PCI device {:04x}:{:04x}, {instead}: Identity::new takes the vendor id \
         first",
        device.vendor, device.device
    ))
}

/// All that is wrong with a device that is there.
fn faults_of(found: &Function, device: &Device) -> Option<Fault> {
    let mut hints = Vec::new();
    let mut usable = true;
    if let Some(revision) = device.revision.filter(|one| found.ids[2] != u64::from(*one)) {
        let [_, _, is] = found.ids;
        hints.push(format!("its revision is {is:#04x} instead of {revision:#04x}"));
    }
    let [start, end, flags] = found.bar;
    if start == 0 || flags & MEMORY == 0 {
        hints.push(format!("its BAR 0 (flags {flags:#x}) is no memory: Bar::memory32 makes it"));
        usable = false;
    } else {
        if device.bar == BarKind::Memory32 && flags & (WIDE | PREFETCHABLE) != 0 {
            let wide = if flags & WIDE == 0 { "32 bits wide" } else { "64 bits wide" };
            let prefetchable = if flags & PREFETCHABLE == 0 { "" } else { " and prefetchable" };
            hints.push(format!(
                "its BAR 0 is {wide}{prefetchable}, and not 32 bits wide and non-prefetchable: \
                 Bar::memory32 makes it, in C PCI_BASE_ADDRESS_SPACE_MEMORY alone"
            ));
        }
        let size = usize::try_from(end.wrapping_sub(start).wrapping_add(1)).unwrap_or_default();
        if size != device.bar_size {
            hints.push(format!("its BAR 0 has {size} bytes instead of {}", device.bar_size));
            usable &= size > device.bar_size;
        }
    }
    (!hints.is_empty()).then(|| Fault { failure: Failure::new(hints.join("; ")), usable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    /// What is said of a device in a line of the script, and whether it is tried all the same.
    fn judged(line: &str) -> (String, bool) {
        let function = function(line).expect("a line of sysfs");
        let profile = Profile::published().expect("it is a profile");
        if !is_it(&function, &profile.device) {
            return (missing(&[function], &profile.device).hint, false);
        }
        let fault = faults_of(&function, &profile.device);
        fault.map_or((String::new(), true), |fault| (fault.failure.hint, fault.usable))
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_hint() {
        let bar = "0x00000000febf1000 0x00000000febf1fff 0x0000000000040200";
        let device = |ids: &str, bar: &str| judged(&format!("0000:00:04.0 {ids} {bar}"));
        let right = "0x1234 0xcafe 0x10";
        assert_eq!(device(right, bar), (String::new(), true));
        let (hint, usable) = device("0xcafe 0x1234 0x10", bar);
        assert!(hint.contains("no PCI device 1234:cafe, but cafe:1234") && !usable, "{hint}");
        let (hint, usable) = device(right, "0x0 0x0 0x0");
        assert!(hint.contains("no memory") && !usable, "{hint}");
        let (hint, usable) = device(right, &bar.replace("1fff", "10ff"));
        assert!(hint.contains("256 bytes instead of 4096") && !usable, "{hint}");
    }

    #[test]
    fn what_does_not_keep_registers_from_working_costs_the_identity_alone() {
        let bar = "0x00000000febf1000 0x00000000febf1fff 0x0000000000040200";
        let device = |ids: &str, bar: &str| judged(&format!("0000:00:04.0 {ids} {bar}"));
        let wide = bar.replace("0x0000000000040200", "0x0000000000142204");
        let (hint, usable) = device("0x1234 0xcafe 0x00", &wide);
        assert!(
            hint.contains(
                "revision is 0x00 instead of 0x10; its BAR 0 is 64 bits wide and prefetchable"
            ),
            "{hint}"
        );
        assert!(usable);
        let (hint, usable) = device("0x1234 0xcafe 0x10", &bar.replace("1fff", "2fff"));
        assert!(hint.contains("8192 bytes instead of 4096") && usable, "{hint}");
    }
}
