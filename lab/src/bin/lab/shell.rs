//! `--shell`: the guest for a person, over its serial console.

use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{LiveGuest, RunDir, progress, variables};

use crate::changes::Changes;
use crate::own::Own;
use crate::{Options, debug, terminal};

/// The key that begins a command to the lab itself.
const CTRL_A: u8 = 0x01;
/// The key that ends a shell.
const CTRL_D: u8 = 0x04;
/// How the prompt of the guest's shell begins (`guest-files/interactive-shell`).
const PROMPT: &[u8] = b"guest:";

/// Boots the guest and connects its console to the terminal, until either side ends it.
pub fn run(options: &Options) -> Result<bool> {
    let own = Own::open(options)?;
    // From here on, so that no change is missed.
    let changes = options.watch.then(|| Changes::new(&own)).transpose()?;
    let run = RunDir::create("shell")?;
    let built = own.build(&run, options.watch)?;
    let mut live = own.boot(&built, &run)?;
    if let Err(error) = own.load(built, &mut live) {
        progress::say(&format!("{error:#}"));
    }
    if options.debug {
        debug::introduce(live.device_pid());
    }
    eprintln!("\nA root shell in the guest. Try:\n{}", advice(&own, variables::generator()?));
    eprintln!(
        "Every register access is logged in {}/device-*.log\n\
         Leave with exit, poweroff, or Ctrl-A x.\n",
        run.path().display()
    );
    let console = connect(&mut live)?;
    let live = Mutex::new(live);
    let raw = terminal::raw()?;
    let keys = Arc::new(Mutex::new(console.try_clone().context("cannot share the console")?));
    let typed = Arc::clone(&keys);
    // It ends with the program: a read from the terminal cannot be interrupted.
    std::thread::spawn(move || send_keys(&typed));
    let end = changes.as_ref().map(Changes::end);
    let shown = std::thread::scope(|scope| {
        if let Some(changes) = changes {
            let (run, live) = (&run, &live);
            scope.spawn(move || watch(&changes, run, live));
        }
        let shown = show(console, &live, &keys);
        if let Some(end) = end {
            end.now();
        }
        shown
    });
    drop(raw);
    drop(live);
    eprintln!("\nlab: the guest and the server are ended");
    shown.map(|()| true)
}

/// Connects to the console of the guest that there is now, and has it start a shell there. It waits for
/// the prompt: keys that come while the shell sets the terminal up may be lost.
fn connect(live: &mut LiveGuest<'_>) -> Result<UnixStream> {
    let console = live.guest().console()?;
    live.guest().run("interactive-shell >/dev/null 2>&1 &")?;
    let mut shown = Vec::new();
    screen(&console, |bytes| {
        shown.extend_from_slice(bytes);
        shown.windows(PROMPT.len()).any(|shown| shown == PROMPT)
    })?;
    Ok(console)
}

/// Shows what the guest prints. When the watch boots another guest, that of the new one.
fn show(
    mut console: UnixStream,
    live: &Mutex<LiveGuest<'_>>,
    keys: &Mutex<UnixStream>,
) -> Result<()> {
    let mut guests = lock(live).guests();
    loop {
        screen(&console, |_| false)?;
        // While another guest boots, this waits.
        let mut live = lock(live);
        if live.guests() == guests || !live.guest().running()? {
            return Ok(());
        }
        guests = live.guests();
        console = connect(&mut live)?;
        *lock(keys) = console.try_clone().context("cannot share the console")?;
    }
}

/// Exchanges what is saved, until the shell ends.
fn watch(changes: &Changes<'_>, run: &RunDir, live: &Mutex<LiveGuest<'_>>) {
    while let Ok(change) = changes.next() {
        progress::say(&change.what());
        let mut live = lock(live);
        match changes.own.exchange(&change, run, &mut live) {
            Ok(compiled) => change.took(compiled),
            Err(error) => progress::say(&format!("{error:#}\nthe guest goes on with what it has")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there is to try.
fn advice(own: &Own<'_>, generator: &str) -> String {
    let mut advice = String::from("  lspci -v -s 00:04.0\n");
    if own.device.is_none() {
        advice.push_str("  reg RANDOM                         # a new number every time\n");
        advice.push_str("  reg SEED 1\n");
    }
    advice.push_str("  devmem $BAR0 32                    # the same by address\n");
    if own.driver.is_none() && own.app.is_none() && own.device.is_none() {
        advice.push_str(&format!(
            "  insmod my_rng.ko                   # then: dmesg | tail -n 1; ls -l \
             /dev/my_rng_driver\n  my-rng-tester --generator {generator}\n"
        ));
    }
    if own.driver.is_some() {
        advice.push_str("  dmesg | tail                       # what your driver has said\n");
    }
    if let Some(name) = own.app_name() {
        advice.push_str(&format!("  ./{name:<33}# your program\n"));
    }
    advice
}

/// Sends the terminal's keys to the guest, until the user or the guest ends it.
fn send_keys(console: &Mutex<UnixStream>) {
    match keyboard(stdin(), Keys(console)) {
        // A shell takes the key only while it waits for one, so it is sent until that ended.
        End::Input => {
            while Keys(console).write_all(&[CTRL_D]).is_ok() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        // Ends the loop that shows what the guest prints, and with it everything.
        End::Asked | End::Guest => drop(lock(console).shutdown(Shutdown::Both)),
    }
}

/// The console of the guest that there is at the moment.
struct Keys<'a>(&'a Mutex<UnixStream>);

impl Write for Keys<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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

/// Shows what the guest prints until it ends, or until it was enough.
fn screen(mut console: &UnixStream, mut enough: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match console.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let mut out = stdout().lock();
                out.write_all(&buffer[..count])
                    .and_then(|()| out.flush())
                    .context("cannot write to standard output")?;
                if enough(&buffer[..count]) {
                    return Ok(());
                }
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
