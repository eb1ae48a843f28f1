//! A server that is replaced by a new process under a running guest, while programs of the guest read
//! from its devices.

use std::fs::{self, File};
use std::process::Command;

use lab::{Guest, RunDir, Server};
use my_rng_model::generator::{Generator, Glibc};

use crate::server_process::{descriptors, memory};
use crate::{assert_kernel_is_content, load_module, say};

/// How often each server is exchanged while the guest reads.
const EXCHANGES: usize = 20;
/// The same where there is time.
const MANY_EXCHANGES: usize = 100;
/// How often an exchange is tried. Without shared memory QEMU has to answer messages before, which it may
/// not do in time on a busy machine: then the old process goes on, and the guest must not notice that
/// either.
const ATTEMPTS: usize = 20;
/// Most descriptors that a process of the last exchange has more than one of the first: accesses are
/// under way.
const MORE_DESCRIPTORS: usize = 4;
/// Most KiB of memory that it has more.
const MORE_MEMORY: usize = 2048;

/// Readers that go on until /tmp/stop is there. What they find is in /tmp. dd(1) asks for exactly as
/// many bytes as it prints, so that no number is lost between two of them.
const READERS: &str = "mkfifo /tmp/count
    (wc -c </tmp/count >/tmp/numbers) 2>/dev/null &
    (while test ! -e /tmp/stop; do
        dd if=/dev/my_rng_driver bs=4096 count=1 2>/dev/null || echo my_rng >>/tmp/failed
    done | tee /tmp/count | sha256sum >/tmp/sum; echo >/tmp/done0) >/dev/null 2>&1 &
    for reader in 1 2; do
        (while test ! -e /tmp/stop; do
            dd if=/dev/hwrng bs=64 count=16 2>/dev/null | wc -c
        done >/tmp/read$reader; echo >/tmp/done$reader) >/dev/null 2>&1 &
    done";

/// The sum that sha256sum(1) prints of the first numbers of seed 1.
fn sum(numbers: usize) -> String {
    let mut generator = Glibc::from_seed(1);
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let bytes: Vec<u8> = (0..numbers).flat_map(|_| generator.next_u32().to_le_bytes()).collect();
    fs::write(file.path(), bytes).expect("writable");
    let input = File::open(file.path()).expect("it is there");
    let output = Command::new("sha256sum").stdin(input).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The longest time in milliseconds that clients have waited, as the server's log says.
fn longest_stall(server: &Server<'_>) -> u64 {
    let log = server.log();
    let waited =
        log.lines().filter_map(|line| line.rsplit_once("clients waited ")?.1.split(' ').next());
    waited.filter_map(|time| time.parse().ok()).max().expect("the log says how long")
}

/// Exchanges a server, again as long as its session does not come to rest. Returns how often it did not.
fn exchange_one(server: &mut Server<'_>) -> usize {
    for refused in 0..ATTEMPTS {
        match server.exchange() {
            Ok(()) => return refused,
            Err(error) if error.to_string().contains("does not come to rest") => {}
            Err(error) => panic!("{}: {error:#}", server.name()),
        }
    }
    panic!("{}: its session does not come to rest in {ATTEMPTS} attempts", server.name());
}

/// Exchanges the servers in turn, and checks that nothing piles up in their processes.
fn exchange(servers: &mut [Server<'_>], exchanges: usize) {
    let held = |servers: &[Server<'_>]| -> Vec<(usize, usize)> {
        let count = |server: &Server<'_>| {
            let descriptors = descriptors(server).expect("it runs");
            (descriptors, memory(server).expect("it runs"))
        };
        servers.iter().map(count).collect()
    };
    let (mut first, mut refused) = (Vec::new(), 0);
    for round in 0..exchanges {
        refused += servers.iter_mut().map(exchange_one).sum::<usize>();
        if round == 0 {
            first = held(servers);
        }
    }
    say(&format!("{refused} exchanges were refused and tried again"));
    let last = held(servers);
    for ((name, first), last) in servers.iter().map(Server::name).zip(first).zip(last) {
        say(&format!(
            "{name}: descriptors and KiB after the first exchange {first:?}, the last {last:?}"
        ));
        assert!(last.0 <= first.0 + MORE_DESCRIPTORS, "descriptors of {name}");
        assert!(last.1 <= first.1 + MORE_MEMORY, "memory of {name}");
    }
}

/// Exchanges the servers of both devices under four processors and three readers.
fn readers_miss_nothing(name: &str, vectors: &str, shared: bool, exchanges: usize) {
    let run = RunDir::create(name).expect("a run can be made");
    let my_rng = ["-v", "--generator", "glibc", "--seed", "1"];
    let virtio = ["-v", "--device", "virtio-rng", "--vectors", vectors];
    let start = |name, options: &[&str]| Server::start(&run, name, options).expect("it starts");
    let mut servers = [start("my-rng", &my_rng), start("rng", &virtio)];
    say("booting a guest with four processors");
    let mut builder = Guest::builder(&run).processors(4);
    if !shared {
        builder = builder.private_memory();
    }
    let builder = servers.iter().fold(builder, |builder, server| builder.attach(server));
    let mut guest = guest_with_readers(builder.boot().expect("the guest boots"));
    say("exchanging the servers");
    exchange(&mut servers, exchanges);
    assert_nothing_is_missing(&mut guest);
    for server in &servers {
        let stall = longest_stall(server);
        say(&format!("{}: clients waited for {stall} ms at most", server.name()));
    }
    assert_eq!(guest.qemu_log(), "", "QEMU has nothing to say");
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    load_module(&mut guest);
    guest.run("head -c 16 /dev/my_rng_driver >/dev/null").expect("it gives bytes");
}

/// Loads the drivers and starts the readers.
pub fn guest_with_readers(mut guest: Guest<'_>) -> Guest<'_> {
    load_module(&mut guest);
    guest
        .run("echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current")
        .expect("the driver has the device");
    guest.run(READERS).expect("the readers start");
    guest.run_until("test -s /tmp/read1 -a -s /tmp/read2").expect("they read");
    guest
}

/// Ends the readers, and checks what they have read.
pub fn assert_nothing_is_missing(guest: &mut Guest<'_>) {
    guest.run("echo >/tmp/stop").expect("writable");
    guest
        .run_until("test -e /tmp/done0 -a -e /tmp/done1 -a -e /tmp/done2 -a -s /tmp/numbers")
        .expect("no reader hangs");
    let failed = guest.run("cat /tmp/failed 2>/dev/null || true").expect("readable");
    assert_eq!(failed, "", "reads of my_rng fail");
    let numbers = guest.run("cat /tmp/numbers").expect("readable");
    let numbers: usize = numbers.trim().parse().expect("wc prints a number");
    assert_eq!(guest.run("cat /tmp/sum").expect("it is there").trim(), sum(numbers / 4));
    let short = guest.run("cat /tmp/read1 /tmp/read2 | grep -vx 1024 | wc -l").expect("readable");
    assert_eq!(short.trim(), "0", "every read of /dev/hwrng has all its bytes");
    let reads = guest.run("cat /tmp/read1 /tmp/read2 | wc -l").expect("readable");
    say(&format!("{} numbers, {} reads of 1024 bytes", numbers / 4, reads.trim()));
    let bound = "ls -d /sys/bus/pci/drivers/virtio-pci/0* /sys/bus/pci/drivers/my_rng/0* | wc -l";
    assert_eq!(guest.run(bound).expect("sysfs can be read").trim(), "2", "drivers are bound");
    assert_kernel_is_content(guest);
}

#[test]
fn readers_miss_nothing_with_msix_and_shared_memory() {
    readers_miss_nothing("exchange-msix", "2", true, EXCHANGES);
}

#[test]
fn readers_miss_nothing_with_msix_and_messages() {
    readers_miss_nothing("exchange-msix-messages", "2", false, EXCHANGES);
}

#[test]
fn readers_miss_nothing_with_intx_and_shared_memory() {
    readers_miss_nothing("exchange-intx", "0", true, EXCHANGES);
}

#[test]
fn readers_miss_nothing_with_intx_and_messages() {
    readers_miss_nothing("exchange-intx-messages", "0", false, EXCHANGES);
}

#[test]
#[ignore = "takes long; scripts/soak.sh runs it"]
fn readers_miss_nothing_in_a_hundred_exchanges() {
    for (vectors, shared) in [("2", true), ("0", true), ("2", false), ("0", false)] {
        let memory = if shared { "shared" } else { "messages" };
        say(&format!("--vectors {vectors}, {memory}"));
        let name = format!("exchange-hundred-{vectors}-{memory}");
        readers_miss_nothing(&name, vectors, shared, MANY_EXCHANGES);
    }
}
