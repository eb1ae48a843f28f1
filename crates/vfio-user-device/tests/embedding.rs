//! A program that has a logger of its own before it starts the kit's program. There is one logger in
//! a process, so this test is alone in its program.

#[path = "common/kept_log.rs"]
mod kept_log;

use clap::Parser;
use vfio_user_device::cli::{Arguments, Program};
use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity};

struct Nothing;

impl Device for Nothing {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0xc0de)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, _: &mut Bus, _: Access) -> u64 {
        0
    }

    fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    program: Arguments,
}

#[test]
fn a_logger_of_the_program_stays_and_keeps_its_level() {
    let log = kept_log::Kept::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let line = ["program", "--socket-path", path.to_str().unwrap()];
    let mut program = Program::start(&CommandLine::parse_from(line).program).unwrap();
    drop(program.server(Nothing).unwrap());
    // The kit's own logger would have no line of this level without -v.
    assert_eq!(log.take(), [format!("listening at {}", path.display())]);
}
