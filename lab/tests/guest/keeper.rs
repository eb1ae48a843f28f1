//! A server that is killed under a running guest, and started again by its keeper.

use lab::{Guest, RunDir, Server};

use crate::exchange::{assert_nothing_is_missing, guest_with_readers};
use crate::say;
use crate::server_process::crash;

/// Two servers are killed so often, while a guest reads from my_rng and twice from virtio-rng.
fn a_guest_notices_nothing(name: &str, kills: usize, vectors: &str, shared: bool) {
    let run = RunDir::create(name).expect("a run can be made");
    let options = ["-v", "--keeper", "--generator", "glibc", "--seed", "1"];
    let my_rng = Server::start(&run, "my-rng", &options).expect("the server starts");
    let options = ["-v", "--keeper", "--device", "virtio-rng", "--vectors", vectors];
    let virtio_rng = Server::start(&run, "rng", &options).expect("the server starts");
    say("booting a guest");
    let mut builder = Guest::builder(&run).attach(&my_rng).attach(&virtio_rng);
    if !shared {
        builder = builder.private_memory();
    }
    let mut guest = guest_with_readers(builder.boot().expect("the guest boots"));
    say("killing the servers");
    for _ in 0..kills {
        crash(&my_rng).expect("it is started again");
        crash(&virtio_rng).expect("it is started again");
        // Else the next kill would be under no load.
        let before = guest.run("wc -l < /tmp/read1").expect("readable");
        let before: usize = before.trim().parse().expect("a number");
        guest.run_until(&format!("test $(wc -l < /tmp/read1) -gt {before}")).expect("it reads on");
    }
    assert_nothing_is_missing(&mut guest);
    assert_eq!(guest.qemu_log(), "", "QEMU has nothing to say");
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
}

#[test]
fn a_guest_notices_nothing_of_five_kills() {
    a_guest_notices_nothing("keeper", 5, "2", true);
}

#[test]
#[ignore = "a hundred kills under load take long: scripts/soak.sh"]
fn a_guest_notices_nothing_of_a_hundred_kills() {
    a_guest_notices_nothing("keeper-soak", 100, "2", true);
}

#[test]
#[ignore = "the other way to interrupt, and to reach memory: scripts/soak.sh"]
fn a_guest_with_intx_and_messages_notices_nothing_of_kills() {
    a_guest_notices_nothing("keeper-intx", 20, "0", false);
}
