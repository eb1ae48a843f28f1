//! A `my_rng` for a guest: that of our server, or the one inside the patched QEMU (`lab::patched_qemu`).
//!
//! `MY_RNG=qemu` runs the tests that begin with [`MyRng::start`] with the device inside QEMU,
//! without a server. They have to pass with it too: then what they ask of our device is what a
//! device that is a part of QEMU does. What is about the server begins with `Server::start`, or says
//! why it is left out.

use anyhow::Result;
use lab::guest::Builder;
use lab::{Guest, RunDir, Server, patched_qemu, variables};
use serde_json::Value;

use crate::say;

/// The environment variable that chooses.
const VARIABLE: &str = "MY_RNG";

/// The only generator that the device inside QEMU has.
pub const GLIBC: &str = "glibc";

/// Whether the tests are to run with the device inside QEMU.
pub fn inside_qemu() -> bool {
    let chosen =
        variables::one_of(VARIABLE, &["server", "qemu"]).expect("MY_RNG is server or qemu");
    chosen == Some("qemu")
}

/// Whether a test has to be left out with the device inside QEMU, for this reason.
pub fn left_out(reason: &str) -> bool {
    if inside_qemu() {
        say(&format!("left out with {VARIABLE}=qemu: {reason}"));
    }
    inside_qemu()
}

/// What a device is to be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The server's generator; its default one if there is none.
    pub generator: Option<&'static str>,
    /// Where the numbers begin; where the operating system says if there is none.
    pub seed: Option<u32>,
    /// With each register access in the server's log.
    pub every_access: bool,
}

/// A device; when it is our server's, the server ends when the value goes.
#[derive(Debug)]
pub struct MyRng<'run> {
    id: String,
    server: Option<Server<'run>>,
    /// QEMU's description of the device.
    device: Value,
}

impl<'run> MyRng<'run> {
    /// Makes the device the user chose; the name is the server's and QEMU's id.
    pub fn start(run: &'run RunDir, name: &str, options: Options) -> Result<Self> {
        if inside_qemu() {
            Ok(Self::inside_qemu(name, options.seed))
        } else {
            Self::of_our_server(run, name, options)
        }
    }

    /// Our server's, whatever was chosen.
    pub fn of_our_server(run: &'run RunDir, name: &str, options: Options) -> Result<Self> {
        let mut words = vec![if options.every_access { "-vv" } else { "-v" }];
        words.extend(options.generator.iter().flat_map(|generator| ["--generator", generator]));
        let seed = options.seed.map(|seed| seed.to_string());
        words.extend(seed.iter().flat_map(|seed| ["--seed", seed]));
        let server = Server::start(run, name, &words)?;
        let device = server.device();
        Ok(Self { id: name.to_owned(), server: Some(server), device })
    }

    /// The patched QEMU's, whatever was chosen.
    pub fn inside_qemu(name: &str, seed: Option<u32>) -> Self {
        Self { id: name.to_owned(), server: None, device: patched_qemu::device(name, seed) }
    }

    /// Its name: QEMU's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Our server, if the device is its.
    pub fn server(&self) -> Option<&Server<'run>> {
        self.server.as_ref()
    }

    /// A guest that has it from the start.
    pub fn attach<'guest>(&self, guest: Builder<'guest>) -> Builder<'guest> {
        self.announce(guest).device(&self.device)
    }

    /// A guest into which it can be plugged.
    pub fn announce<'guest>(&self, guest: Builder<'guest>) -> Builder<'guest> {
        match self.server {
            Some(_) => guest,
            None => guest.qemu(patched_qemu::get().expect("the patched QEMU can be built")),
        }
    }

    /// Plugs it into a guest that runs.
    pub fn plug(&self, guest: &mut Guest) -> Result<()> {
        guest.plug_device(&self.device)
    }
}
