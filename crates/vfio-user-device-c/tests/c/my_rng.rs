//! The teaching device as it is inside of QEMU, and the skeleton of the exercise.

use std::path::PathBuf;

use crate::compiler::{checkout, compile, folder};
use crate::program::Program;

/// The device's file out of the patch for QEMU, unmodified.
pub fn source_in_patch() -> PathBuf {
    let patch =
        std::fs::read_to_string(checkout().join("qemu-patches/0001-hw-misc-add-my_rng.patch"))
            .unwrap();
    let (_, rest) = patch.split_once("diff --git a/hw/misc/my_rng.c").unwrap();
    let (_, lines) = rest.split_once("\n@@ -0,0 ").unwrap();
    // A new file: each of its lines is an added one.
    let lines = lines.lines().skip(1).map_while(|line| line.strip_prefix('+'));
    let source = folder().join("my_rng.c");
    std::fs::write(&source, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    source
}

#[test]
fn the_device_of_the_patch_compiles_unmodified_and_gives_the_published_numbers() {
    let program = Program::serve(&compile(&source_in_patch()), &["--property", "seed=0"]);
    let mut client = program.client();
    let numbers = [(); 5].map(|()| client.read_u32(0, 0));
    let published = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];
    assert_eq!(numbers, published);
    client.write_u32(0, 4, 1);
    // Eight bytes are two numbers, the low one first; a narrow read has the low bytes.
    let both = client.read(0, 0, 8);
    assert_eq!(both, [&published[0].to_le_bytes()[..], &[0; 4]].concat(), "SEED reads as 0");
    assert_eq!(client.read(0, 0, 1), published[1].to_le_bytes()[..1]);
    assert_eq!(client.read(0, 0, 2), published[2].to_le_bytes()[..2]);
    assert_eq!(client.read(7, 0, 12), [0x34, 0x12, 0xfe, 0xca, 0, 0, 0, 0, 0x10, 0, 0xff, 0]);
    assert_eq!(client.read(7, 0x2c, 4), [0xf4, 0x1a, 0x00, 0x11]);
}

#[test]
fn the_skeleton_of_the_exercise_reads_as_0_everywhere() {
    let skeleton = checkout().join("qemu-device/examples/my-rng.c");
    let program = Program::serve(&compile(&skeleton), &[]);
    let mut client = program.client();
    client.write_u32(0, 4, 42);
    assert_eq!(client.read(0, 0, 4096), [0; 4096]);
}

#[test]
fn the_next_client_finds_the_device_as_the_last_one_left_it() {
    let program = Program::serve(&compile(&source_in_patch()), &[]);
    program.client().write_u32(0, 4, 1);
    let mut client = program.client();
    assert_eq!(client.read_u32(0, 0), 1_804_289_383);
}
