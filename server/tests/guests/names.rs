//! Guests in the log: each has its name, and lines of its own.

use crate::common::*;
use crate::daemon::Daemon;
use crate::reload::guest;

/// BAR of the modern interface of a virtio-rng.
const BAR: u32 = 4;

/// Sets a queue up as no driver may: with 3 descriptors.
fn break_a_rule(client: &mut Client) {
    client.write(BAR, 0x14, &[0]);
    client.write(BAR, 0x14, &[3]);
    client.write_u32(BAR, 0x08, 1);
    client.write_u32(BAR, 0x0c, 1);
    client.write(BAR, 0x14, &[11]);
    client.write(BAR, 0x18, &3_u16.to_le_bytes());
    client.write(BAR, 0x1c, &[1, 0]);
    client.write(BAR, 0x14, &[15]);
}

#[test]
fn a_guest_that_fills_the_log_hides_no_line_of_another_one() {
    let keys = "device = \"virtio-rng\"";
    let daemon = Daemon::configured(&[guest("noisy", keys), guest("quiet", keys)].concat());
    let [mut noisy, mut quiet] =
        ["noisy", "quiet"].map(|name| Client::negotiated(&daemon.file(name)));
    for _ in 0..50 {
        break_a_rule(&mut noisy);
    }
    break_a_rule(&mut quiet);
    daemon.wait_for_log("quiet: virtio: the device has to be reset: ");
    let lines = daemon.log().matches("noisy: virtio: the device has to be reset: ").count();
    assert!((1..30).contains(&lines), "{lines} lines");
}
