//! The virtio-rng device, driven by the driver that every Linux guest has.

mod driver;
mod firmware;
mod hostile;
mod hotplug;
mod identity;
mod iommu;
mod legacy;
mod limits;
mod port;
mod quality;
mod restarts;
mod rng;
mod several;
mod sharing;
mod uneven;
mod vhost_user;
mod waiting;

use lab::guest::Builder;
use lab::{Guest, RunDir};

use crate::say;
pub use rng::{Options, Rng};

/// A guest whose kernel's own driver is all that is needed.
fn guest(run: &RunDir) -> Builder<'_> {
    Guest::builder(run).without_driver()
}

/// A device, and a guest with it on the smallest machine.
fn usual<'run>(run: &'run RunDir, options: &Options) -> (Rng<'run>, Guest<'run>) {
    let rng = Rng::start(run, "rng", options).expect("the device can be made");
    say("booting a guest with a virtio-rng");
    let guest = rng.attach(guest(run)).boot_from_saved().expect("the guest boots");
    (rng, guest)
}

/// What the kernel's hwrng core says in one of its files.
fn hwrng(guest: &mut Guest, file: &str) -> String {
    let path = format!("/sys/class/misc/hw_random/{file}");
    guest.run(&format!("cat {path}")).expect("the hwrng core is there").trim().to_owned()
}

/// Makes a device the one behind `/dev/hwrng`.
pub fn select(guest: &mut Guest, name: &str) {
    guest
        .run(&format!("echo {name} >/sys/class/misc/hw_random/rng_current"))
        .expect("the hwrng core takes it");
}

/// Checks that `/dev/hwrng` is this device and gives bytes, other ones each time.
pub fn assert_delivers(guest: &mut Guest, name: &str) {
    assert_eq!(hwrng(guest, "rng_current"), name);
    let first = read(guest, 64);
    assert_eq!(first.len(), 64);
    assert_ne!(first, read(guest, 64));
}

/// What the hwrng core takes from a device at once. It hands out smaller pieces last one first.
const BLOCK: usize = 64;

/// Reads whole blocks from `/dev/hwrng`.
fn read(guest: &mut Guest, bytes: usize) -> Vec<u8> {
    let blocks = bytes / BLOCK;
    let text = guest
        .run(&format!("dd if=/dev/hwrng bs={BLOCK} count={blocks} 2>/dev/null | od -v -An -tx1"))
        .expect("the device gives bytes");
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("od said {text:?}")))
        .collect()
}

/// Starts a program in the guest that reads again and again, also when there is no device.
fn start_reader(guest: &mut Guest) {
    guest
        .run(
            "(while true; do
                dd if=/dev/hwrng bs=512 count=8 of=/run/reader 2>/dev/null || sleep 0.1
                test $(wc -c </run/reader) != 4096 || echo >>/run/reads
            done) >/dev/null 2>&1 &",
        )
        .expect("the guest starts a reader");
}

/// Checks that the reader still gets bytes.
fn assert_reader_goes_on(guest: &mut Guest) {
    guest.run_until("wc -l </run/reads >/run/before").expect("it has read before");
    guest
        .run_until("test $(wc -l </run/reads) -gt $(cat /run/before)")
        .expect("the reader gets bytes");
}

/// How many interrupts there were so far under this name.
fn interrupts(guest: &mut Guest, name: &str) -> u64 {
    let table = guest.run("cat /proc/interrupts").expect("readable");
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next_back() == Some(name))
        .unwrap_or_else(|| panic!("no {name} in\n{table}"));
    line.split_whitespace().skip(1).map_while(|count| count.parse::<u64>().ok()).sum()
}

/// Whether the driver of the only virtio device took a feature.
fn feature(guest: &mut Guest, bit: usize) -> bool {
    let bits = guest.run("cat /sys/bus/virtio/devices/virtio0/features").expect("readable");
    bits.as_bytes()[bit] == b'1'
}
