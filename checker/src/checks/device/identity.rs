//! What the guest's PCI bus says about the device.

use super::session::Session;
use crate::checks::stop::{Checked, Stop, ensure};
use crate::profile::Device;

/// Prints a line for each function: its address, its ids, revision, and the first BAR.
const SCRIPT: &str = "cd /sys/bus/pci/devices; for d in *; do \
    echo $d $(cat $d/vendor $d/device $d/revision) $(head -n 1 $d/resource); done";
/// A BAR's flag for memory.
const MEMORY: u64 = 0x200;

/// A function on the bus.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    address: String,
    /// Vendor, device, revision.
    ids: [u64; 3],
    /// Start, end and flags of BAR 0.
    bar: [u64; 3],
}

/// The device is on the bus, with the profile's identity and a BAR of its size.
pub fn identity(session: &mut Session<'_>) -> Checked {
    let device = &session.profile().device;
    let listed = session.bench()?.shell(SCRIPT)?;
    let functions: Vec<Function> = listed.lines().filter_map(function).collect();
    judge(&functions, device)
}

fn function(line: &str) -> Option<Function> {
    let mut words = line.split_whitespace();
    let address = words.next()?.to_owned();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let ids = [number()?, number()?, number()?];
    Some(Function { address, ids, bar: [number()?, number()?, number()?] })
}

fn judge(functions: &[Function], device: &Device) -> Checked {
    let wanted = [u64::from(device.vendor), u64::from(device.device)];
    let Some(found) = functions.iter().find(|function| function.ids[..2] == wanted) else {
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
        return Err(Stop::failed(format!(
            "the guest has no PCI device {:04x}:{:04x}, {instead}: Identity::new takes the vendor \
             id first",
            device.vendor, device.device
        )));
    };
    if let Some(revision) = device.revision {
        ensure(found.ids[2] == u64::from(revision), || {
            format!("its revision is {:#04x} instead of {revision:#04x}", found.ids[2])
        })?;
    }
    let [start, end, flags] = found.bar;
    ensure(start != 0 && flags & MEMORY != 0, || {
        format!("its BAR 0 (flags {flags:#x}) is no memory: Bar::memory32 makes it")
    })?;
    let size = end - start + 1;
    ensure(usize::try_from(size) == Ok(device.bar_size), || {
        format!("its BAR 0 has {size} bytes instead of {}", device.bar_size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn hint(line: &str) -> String {
        let functions = [function(line).expect("a line of sysfs")];
        let profile = Profile::published().expect("it is a profile");
        match judge(&functions, &profile.device) {
            Ok(()) => String::new(),
            Err(stop) => stop.verdict().expect("it is the student's").message(),
        }
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_hint() {
        let bar = "0x00000000febf1000 0x00000000febf1fff 0x0000000000040200";
        let device = |ids: &str, bar: &str| hint(&format!("0000:00:04.0 {ids} {bar}"));
        assert_eq!(device("0x1234 0xcafe 0x10", bar), "");
        assert!(
            device("0xcafe 0x1234 0x10", bar).contains("no PCI device 1234:cafe, but cafe:1234")
        );
        assert!(device("0x1234 0xcafe 0x00", bar).contains("revision is 0x00 instead of 0x10"));
        assert!(device("0x1234 0xcafe 0x10", "0x0 0x0 0x0").contains("no memory"));
        let short = bar.replace("1fff", "10ff");
        assert!(device("0x1234 0xcafe 0x10", &short).contains("256 bytes instead of 4096"));
    }
}
