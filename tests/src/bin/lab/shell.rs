//! `--shell`: the guest for a person, over its serial console.

use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::device_crate::DeviceCrate;
use lab::{Guest, RunDir, Server, progress};

use crate::arguments::GuestFile;
use crate::{debug, terminal};

/// The key that begins a command to the lab itself.
const CTRL_A: u8 = 0x01;
/// The key that ends a shell.
const CTRL_D: u8 = 0x04;

/// Boots the guest and connects its console to the terminal, until either side ends it.
pub fn run(device: Option<&Path>, files: &[GuestFile], debug: bool) -> Result<bool> {
    let kernel = crate::prepare()?;
    let own = device.map(|path| DeviceCrate::open(path)?.build()).transpose()?;
    let run = RunDir::create("shell")?;
    let generator = crate::generator()?;
    let server = match &own {
        Some(program) => Server::start_program(&run, "device", program, &["-vv"])?,
        None => Server::start(&run, "my-rng", &["--generator", generator, "-vv"])?,
    };
    let server = if debug { server.debugged() } else { server };
    let wait = progress::Wait::new("booting the guest");
    let guest = Guest::builder(&run).kernel(kernel).default_devices().console().attach(&server);
    let guest = files.iter().fold(guest, |guest, file| guest.file(&file.in_guest, &file.on_host));
    let mut guest = guest.boot()?;
    wait.done("the guest is up");
    let advice = match own {
        Some(_) => "  lspci -vv -s 00:04.0               # your device\n".to_owned(),
        None => advice(&mut guest, generator)?,
    };
    if debug {
        debug::introduce(server.pid());
    }
    let log = run.path().join(format!("{}.log", server.name()));
    eprintln!(
        "\nA root shell in the guest. Try:\n{advice}Every register access is logged in {}\n\
         Leave with exit, poweroff, or Ctrl-A x.\n",
        log.display()
    );
    let console = guest.console()?;
    guest.run("interactive-shell >/dev/null 2>&1 &")?;
    let raw = terminal::raw()?;
    let keys = console.try_clone().context("cannot share the console's socket")?;
    // It ends with the program: a read from the terminal cannot be interrupted.
    std::thread::spawn(move || {
        match keyboard(stdin(), &keys) {
            // A shell takes the key only while it waits for one, so it is sent until that ended.
            End::Input => {
                while (&keys).write_all(&[CTRL_D]).is_ok() {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            // Ends the loop below, and with it everything.
            End::Asked | End::Guest => drop(keys.shutdown(Shutdown::Both)),
        }
    });
    let shown = screen(&console);
    drop(raw);
    drop(guest);
    drop(server);
    eprintln!("\nlab: the guest and the server are ended");
    shown.map(|()| true)
}

/// What there is to try with the teaching device.
fn advice(guest: &mut Guest, generator: &str) -> Result<String> {
    let address = crate::demonstration::address(guest)?;
    let base = crate::demonstration::base(guest, &address)?;
    Ok(format!(
        "  lspci -v -s {address}
  devmem {base:#x} 32                # RANDOM: a new number every time
  devmem {seed:#x} 32 1              # SEED
  insmod my_rng.ko                   # then: dmesg | tail -n 1; ls -l /dev/my_rng_driver
  my-rng-tester --generator {generator}
",
        seed = base + 4,
    ))
}

/// Why there are no more keys to send.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The input ended.
    Input,
    /// The user asked to leave by Ctrl-A x.
    Asked,
    /// The guest takes no more.
    Guest,
}

/// Sends keys to the guest.
fn keyboard(mut input: impl Read, mut guest: impl Write) -> End {
    let mut buffer = [0; 256];
    let mut command = false;
    loop {
        let count = match input.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return End::Input,
            Ok(count) => count,
        };
        let mut keys = Vec::with_capacity(count);
        for key in &buffer[..count] {
            match (command, *key) {
                (false, CTRL_A) => command = true,
                (true, b'x') => return End::Asked,
                (_, key) => {
                    command = false;
                    keys.push(key);
                }
            }
        }
        if guest.write_all(&keys).is_err() {
            return End::Guest;
        }
    }
}

/// Shows what the guest prints until it ends.
fn screen(mut console: &UnixStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match console.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let mut out = stdout().lock();
                out.write_all(&buffer[..count])
                    .and_then(|()| out.flush())
                    .context("cannot write to standard output")?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // QEMU ended without saying goodbye.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("cannot read the guest's console"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (End, Vec<u8>) {
        let mut guest = Vec::new();
        let end = keyboard(keys, &mut guest);
        (end, guest)
    }

    #[test]
    fn keys_go_to_the_guest_until_the_input_ends() {
        assert_eq!(typed(b"ls\n"), (End::Input, b"ls\n".to_vec()));
    }

    #[test]
    fn ctrl_a_x_leaves_and_ctrl_a_twice_is_itself() {
        assert_eq!(typed(b"\x01x").0, End::Asked);
        assert_eq!(typed(b"\x01\x01x").1, b"\x01x");
    }
}
