//! `my-rng-server`: serves devices at sockets until it is told to stop, looks at one, or prepares a
//! libvirt domain for some.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod cli;
mod daemon;
mod libvirt;
mod plan;
mod probe;
mod status;

use std::process::ExitCode;

use my_rng_server::config::{Configuration, Transport};
use my_rng_server::vhost_user;
use vfio_user_kit::program::{Program, make_room_for};

use cli::{Arguments, Task};

fn main() -> ExitCode {
    let done = match Task::of_this_process() {
        Task::Serve(arguments) => serve(&arguments),
        Task::Probe(probe) => probe.run(),
        Task::Status(status) => status.run(),
        Task::Libvirt(libvirt) => libvirt.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.print_capabilities {
        println!("{}", vhost_user::CAPABILITIES);
        return Ok(());
    }
    if let Some(file) = arguments.config.as_ref().filter(|_| arguments.check_config) {
        let Configuration { guests, .. } = Configuration::load(file)?;
        println!("{}: {} guests, nothing is wrong", file.display(), guests.len());
        return Ok(());
    }
    let mut program = Program::start(&arguments.program)?;
    let start = plan::start(arguments, program.take_sockets())?;
    let guests = &start.configuration.guests;
    let vhost_user = guests.iter().filter(|guest| guest.transport == Transport::VhostUser).count();
    // One of those has the descriptors of three: rust-vmm's threads have some, and each memory file.
    make_room_for(guests.len() + 2 * vhost_user)?;
    daemon::run(program, start)
}
