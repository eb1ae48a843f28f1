//! A device's own functions for configuration space, and what its `config` has of the guest's writes.

use crate::common::{CONFIG, DEVICE_RESET};
use crate::compiler::{compile, test_device};
use crate::program::Program;

/// A register of the device's own.
const OWN: u64 = 0xf0;
const COMMAND: u64 = 0x04;
const INTERRUPT_LINE: u64 = 0x3c;

#[test]
fn a_devices_own_functions_answer_for_configuration_space() {
    let program = Program::serve(&compile(&test_device("config_space.c")), &[]);
    let client = &mut program.client();
    client.write(CONFIG, OWN, &0x1122_3344_u32.to_le_bytes());
    assert_eq!(client.read_u32(CONFIG, OWN), !0x1122_3344);
    assert_eq!(client.read_u32(0, 4), 1, "it was asked once");
    // What it passes on is as without it: identity, and what a driver may write.
    assert_eq!(client.read_u32(CONFIG, 0), 0xbeef_1234);
    client.write(CONFIG, 0, &[0xff; 4]);
    assert_eq!(client.read_u32(CONFIG, 0), 0xbeef_1234);
    // It does not take one value of the interrupt line.
    for (value, expected) in [(0x0b, 0x0b), (0x99, 0x0b), (0x98, 0x98)] {
        client.write(CONFIG, INTERRUPT_LINE, &[value]);
        assert_eq!(client.read(CONFIG, INTERRUPT_LINE, 1), [expected]);
    }
    // A long access comes in pieces of a word.
    let long = client.read(CONFIG, OWN - 4, 8);
    assert_eq!(long[4..], (!0x1122_3344_u32).to_le_bytes());
}

#[test]
fn the_command_register_is_where_a_device_looks_for_it() {
    let program = Program::serve(&compile(&test_device("config_space.c")), &[]);
    let client = &mut program.client();
    assert_eq!(client.read_u32(0, 0), 0);
    client.write(CONFIG, COMMAND, &[0x06, 0]);
    assert_eq!(client.read_u32(0, 0), 0x06);
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read_u32(0, 0), 0);
    client.write(CONFIG, COMMAND, &[0x07, 0]);
    let client = &mut {
        rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Both).unwrap();
        program.client()
    };
    assert_eq!(client.read_u32(0, 0), 0, "the next client finds it as after a reset");
}
