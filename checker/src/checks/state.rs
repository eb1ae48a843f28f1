//! What a driver has taken in the guest: majors, nodes, addresses, memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::guest::Bench;
use crate::profile::Profile;
use crate::stop::Stop;

/// Prints what a driver makes for programs, one part after the other. Each byte costs: it comes over
/// an emulated serial port.
const NAMES: &str = "\
cat /proc/devices; echo ==; \
find /dev -type c; echo ==; \
cat /proc/modules";

/// Prints what else it takes.
const RESOURCES: &str = "\
cat /proc/iomem; echo ==; \
grep phys= /proc/vmallocinfo; echo ==; \
grep -E '^(SUnreclaim|VmallocUsed)' /proc/meminfo; echo ==; \
cd /sys/bus/pci/devices; for d in *; do \
echo $d $(cat $d/vendor $d/device) $(head -n 1 $d/resource); done; echo ==; \
grep '^kmalloc-' /proc/slabinfo";

/// The state of a guest's kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Character devices' major numbers with their names.
    pub majors: BTreeMap<u32, String>,
    /// Character device nodes.
    pub nodes: BTreeSet<String>,
    /// The claimed addresses of BAR 0, with the names of the claims.
    pub regions: BTreeSet<String>,
    /// The kernel's mappings of BAR 0.
    pub mappings: Vec<String>,
    /// The loaded modules.
    pub modules: BTreeSet<String>,
    /// Memory that the kernel has taken for itself, in KiB.
    pub memory: u64,
    /// Objects in use of each kmalloc size.
    pub objects: BTreeMap<String, Objects>,
    /// Address of BAR 0.
    pub bar: u64,
}

/// Objects that kmalloc gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// In use, give or take a slab.
    pub used: u64,
    /// How many there are in a slab.
    pub per_slab: u64,
}

impl State {
    /// Takes it.
    pub fn take(bench: &mut Bench<'_>, profile: &Profile) -> Result<Self, Stop> {
        let script = format!("{NAMES}; echo ==; {RESOURCES}");
        Ok(Self::parse(&bench.shell(&script)?, profile))
    }

    /// Takes its majors, nodes and modules only.
    pub fn take_names(bench: &mut Bench<'_>, profile: &Profile) -> Result<Self, Stop> {
        Ok(Self::parse(&bench.shell(NAMES)?, profile))
    }

    fn parse(text: &str, profile: &Profile) -> Self {
        let parts: Vec<&str> = text.split("==\n").collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        let bar = bar(part(6), profile).unwrap_or_default();
        let end = bar + u64::try_from(profile.device.bar_size).unwrap_or_default();
        // The list's last word on memory is "Block devices:".
        let characters = part(0).split("Block devices").next().unwrap_or_default();
        Self {
            majors: pairs(characters).collect(),
            nodes: part(1).lines().map(str::to_owned).collect(),
            regions: part(3).lines().filter_map(|line| region(line, bar..end)).collect(),
            mappings: part(4)
                .lines()
                .filter(|line| physical(line).is_some_and(|at| (bar..end).contains(&at)))
                .map(str::to_owned)
                .collect(),
            modules: part(2)
                .lines()
                .filter_map(|line| line.split(' ').next())
                .map(str::to_owned)
                .collect(),
            memory: ["SUnreclaim:", "VmallocUsed:"].iter().map(|name| kib(part(5), name)).sum(),
            objects: part(7).lines().filter_map(objects).collect(),
            bar,
        }
    }

    /// The majors that are here and not there.
    #[must_use]
    pub fn majors_beyond(&self, other: &Self) -> Vec<(u32, &str)> {
        let new = self.majors.iter().filter(|(major, _)| !other.majors.contains_key(major));
        new.map(|(major, name)| (*major, name.as_str())).collect()
    }

    /// The nodes that are here and not there.
    #[must_use]
    pub fn nodes_beyond<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        self.nodes.difference(&other.nodes).map(String::as_str).collect()
    }

    /// The claimed addresses that are here and not there.
    #[must_use]
    pub fn regions_beyond<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        self.regions.difference(&other.regions).map(String::as_str).collect()
    }
}

/// Lines of a number and a name.
fn pairs(text: &str) -> impl Iterator<Item = (u32, String)> {
    text.lines().filter_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        Some((number.parse().ok()?, name.trim().to_owned()))
    })
}

/// `  febf1000-febf1fff : my_rng` when it is of the BAR; the bus's own entry is named by address.
fn region(line: &str, bar: std::ops::Range<u64>) -> Option<String> {
    let (range, name) = line.trim().split_once(" : ")?;
    let (start, _) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let of_the_bus = name.starts_with("0000:");
    (bar.contains(&start) && !of_the_bus).then(|| format!("{range} : {name}"))
}

/// The physical address in a line of /proc/vmallocinfo.
fn physical(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("phys=0x")?;
    u64::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// A line of /proc/meminfo.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or_default()
}

/// A line of /proc/slabinfo: name, objects in use, objects, size, objects in a slab.
fn objects(line: &str) -> Option<(String, Objects)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| words.get(index)?.parse().ok();
    Some((words.first()?.to_string(), Objects { used: number(1)?, per_slab: number(4)? }))
}

/// `0000:00:04.0 0x1234 0xcafe 0x00000000febf1000 ...` of the profile's device.
fn bar(text: &str, profile: &Profile) -> Option<u64> {
    let id = format!(" {:#06x} {:#06x} ", profile.device.vendor, profile.device.device);
    let line = text.lines().find(|line| line.contains(&id))?;
    let (_, resource) = line.split_once(&id)?;
    u64::from_str_radix(resource.split(' ').next()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Character devices:
  1 mem
250 my_rng

Block devices:
259 blkext
==
/dev/my_rng_driver
/dev/a name
==
my_rng 12288 0 - Live 0xffffffffc0000000 (OE)
==
  febc0000-febdffff : 0000:00:03.0
  febf1000-febf1fff : 0000:00:04.0
    febf1000-febf1fff : my_rng
==
0xffffc90000000000-0xffffc90000002000    8192 hpet_enable+0x3a/0x2d0 phys=0x00000000fed00000 ioremap
0xffffc90000010000-0xffffc90000012000    8192 my_init+0x3a/0x2d0 phys=0x00000000febf1000 ioremap
==
SUnreclaim:         7652 kB
VmallocUsed:        5000 kB
==
0000:00:03.0 0x8086 0x100e 0x00000000febc0000 0x00000000febdffff 0x0000000000040200
0000:00:04.0 0x1234 0xcafe 0x00000000febf1000 0x00000000febf1fff 0x0000000000040200
==
kmalloc-64   1216   1280     64   64    1 : tunables    0    0    0 : slabdata  20  20  0
";

    #[test]
    fn everything_a_driver_takes_is_found() {
        let profile = Profile::published().expect("it is a profile");
        let state = State::parse(TEXT, &profile);
        assert_eq!(state.bar, 0xfebf_1000);
        assert_eq!(state.majors.get(&250).map(String::as_str), Some("my_rng"));
        assert!(!state.majors.contains_key(&259), "a block device's");
        assert_eq!(state.nodes_beyond(&State::default()), ["/dev/a name", "/dev/my_rng_driver"]);
        assert_eq!(state.regions_beyond(&State::default()), ["febf1000-febf1fff : my_rng"]);
        assert_eq!(state.mappings.len(), 1);
        assert!(state.modules.contains("my_rng"));
        assert_eq!(state.memory, 12_652);
        assert_eq!(state.objects["kmalloc-64"], Objects { used: 1216, per_slab: 64 });
    }

    #[test]
    fn what_was_there_before_is_not_counted() {
        let profile = Profile::published().expect("it is a profile");
        let after = State::parse(TEXT, &profile);
        let before = State::parse(&TEXT.replace("250 my_rng\n", ""), &profile);
        assert_eq!(after.majors_beyond(&before), [(250, "my_rng")]);
        assert!(after.majors_beyond(&after).is_empty());
    }
}
