//! Guests that one would not want to live beside, each in a process of its own.

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use vfio_user_client::message::{REGION_WRITE, VERSION, message};

use crate::guest::{Belongings, Guest, READ_REPLY, register_read};
use crate::host::keep_to;

/// Set in the environment of the process that misbehaves: socket and name of what it does.
const MISBEHAVE: &str = "MANY_GUESTS_MISBEHAVE";
/// Requests that a flooding guest has under way.
const FLOOD: usize = 64;

/// How a guest misbehaves: a name for people, and what it does until it is stopped.
pub struct Misbehaviour {
    pub name: &'static str,
    act: fn(&Path) -> Result<()>,
}

pub const ALL: &[Misbehaviour] = &[
    Misbehaviour { name: "floods with requests", act: flood },
    Misbehaviour { name: "sends and never reads", act: never_read },
    Misbehaviour { name: "sends garbage, reconnects", act: garbage },
    Misbehaviour { name: "goes within a message", act: cut_message },
    Misbehaviour { name: "connects without end", act: connect },
];

/// One that is no guest at all: what any busy process on the same machine costs.
pub const SPINNING: Misbehaviour = Misbehaviour { name: "(no guest, only spins)", act: spin };

/// A process that misbehaves when it is told to.
pub struct Neighbour {
    process: Child,
}

impl Neighbour {
    /// Starts one, which does nothing yet.
    pub fn start(misbehaviour: &Misbehaviour, socket: &Path) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env(MISBEHAVE, format!("{} {}", socket.display(), misbehaviour.name))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = process.stdout.take().context("standard output")?;
        ready.read_exact(&mut [0; 1]).context("the neighbour did not start")?;
        let neighbour = Neighbour { process };
        neighbour.hold()?;
        Ok(neighbour)
    }

    /// Lets it misbehave.
    pub fn let_go(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::CONT)?)
    }

    /// Lets it do nothing.
    pub fn hold(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::STOP)?)
    }

    /// Lets it run on one processor alone.
    pub fn keep_to(&self, processor: usize) -> Result<()> {
        keep_to(Some(Pid::from_child(&self.process)), processor)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // A process that has ended already is as good as one that is killed now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// If this process is to misbehave: does so until it is killed.
pub fn misbehave_if_told() -> Result<bool> {
    let Ok(order) = env::var(MISBEHAVE) else {
        return Ok(false);
    };
    let (path, name) = order.split_once(' ').context("how to misbehave")?;
    let path = PathBuf::from(path);
    let known = ALL.iter().chain([&SPINNING]).find(|known| known.name == name);
    let misbehaviour = known.context("no such misbehaviour")?;
    std::io::stdout().write_all(b"\n")?;
    loop {
        // What the server does about it is not this process's concern.
        let _ = (misbehaviour.act)(&path);
    }
}

/// As many requests as the server can answer.
fn flood(path: &Path) -> Result<()> {
    let mut socket = Guest::start(path, &Belongings::new()?)?.into_socket();
    let requests = register_read().repeat(FLOOD);
    let mut replies = vec![0; READ_REPLY * FLOOD];
    loop {
        socket.write_all(&requests)?;
        socket.read_exact(&mut replies)?;
    }
}

/// Requests, and the answers stay in the socket.
fn never_read(path: &Path) -> Result<()> {
    let mut socket = Guest::start(path, &Belongings::new()?)?.into_socket();
    loop {
        socket.write_all(&register_read())?;
    }
}

/// A connection that has agreed on a version, then bytes that are no message.
fn garbage(path: &Path) -> Result<()> {
    let mut socket = agreed(path)?;
    socket.write_all(&[0xff; 4096])?;
    Ok(())
}

/// Half a message, and gone.
fn cut_message(path: &Path) -> Result<()> {
    let mut socket = agreed(path)?;
    let write = message(1, REGION_WRITE, &[0; 1 << 16]);
    socket.write_all(&write[..write.len() / 2])?;
    Ok(())
}

fn connect(path: &Path) -> Result<()> {
    UnixStream::connect(path)?;
    Ok(())
}

fn spin(_path: &Path) -> Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

fn agreed(path: &Path) -> Result<UnixStream> {
    let mut socket = UnixStream::connect(path)?;
    socket.write_all(&message(1, VERSION, &[0, 0, 1, 0]))?;
    let mut head = [0; 16];
    socket.read_exact(&mut head)?;
    Ok(socket)
}
