//! What QEMU and Linux do to a device, recorded, shown and done once more.

use std::process::Command;

use lab::{Guest, RunDir, Server, cargo_build};
use vfio_user_trace::{Access, Kind, Trace};

use crate::virtio::select;
use crate::{bases, devmem, devmem_write, say};

/// Has our program replay a recording in the run's folder.
fn replay(run: &RunDir, file: &str) -> String {
    let program = cargo_build::server().expect("our program is there");
    let output = Command::new(program).arg("replay").arg(run.path().join(file)).output();
    let output = output.expect("it can be run");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    said
}

/// The teaching device chooses its own seed; the entropy device has interrupts and guest memory.
#[test]
fn what_a_guest_did_is_in_the_recording_and_can_be_replayed() {
    let run = RunDir::create("recorded").expect("a run can be made");
    let ours = Server::start(&run, "my-rng", &["--record", "my-rng.rec"]).expect("it starts");
    let options =
        ["--device", "virtio-rng", "--source", "chacha20:7", "--record", "virtio-rng.rec"];
    let rng = Server::start(&run, "virtio-rng", &options).expect("it starts");
    say("booting a guest with two recorded devices");
    let guest = Guest::builder(&run).attach(&ours).attach(&rng);
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    let base = bases(&mut guest)[0];
    devmem_write(&mut guest, base + 4, 42);
    let number = devmem(&mut guest, base);
    select(&mut guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=64 count=16").expect("it gives bytes");
    drop(guest);
    ours.stop().expect("it ends");
    rng.stop().expect("it ends");

    let trace = Trace::read(&run.path().join("my-rng.rec")).expect("it is a recording");
    let accesses = trace.entries.iter().filter(|entry| entry.kind == Kind::Register);
    let accesses: Vec<String> = accesses.map(ToString::to_string).collect();
    let wanted = ["SEED write 4 <- 0x2a".to_owned(), format!("RANDOM read 4 -> {number:#x}")];
    assert!(accesses.ends_with(&wanted), "{accesses:#?}");
    say(&replay(&run, "my-rng.rec"));

    let trace = Trace::read(&run.path().join("virtio-rng.rec")).expect("it is a recording");
    let has = |kind| trace.entries.iter().any(|entry| entry.kind == kind);
    assert!(has(Kind::Interrupt) && has(Kind::Config) && has(Kind::Message));
    let written = trace.entries.iter().filter(|entry| {
        entry.kind == Kind::Dma && entry.access == Some(Access::Write) && entry.bytes == Some(64)
    });
    assert!(written.count() >= 16, "64 bytes at a time");
    say(&replay(&run, "virtio-rng.rec"));
}
