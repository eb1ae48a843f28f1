//! Limits and sources that do not come out even with the 64 bytes that Linux asks for.
//!
//! Linux's driver loses count of some completions of less, and then its reader sleeps for ever: that
//! of QEMU's own device as well, so that these tests have nothing to ask of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use lab::guest::Builder;
use lab::{Guest, RunDir};
use rustix::io::ioctl_fionread;

use super::rng::{Limit, Source};
use super::waiting::mkfifo;
use super::{BLOCK, Options, Rng, guest, select};
use crate::{assert_kernel_is_content, say};

/// One of each kind: less than a half of 64, more than that, a little less and more than a multiple.
const LIMITS: [u32; 20] =
    [1, 7, 10, 31, 33, 40, 48, 56, 63, 65, 96, 97, 100, 127, 129, 160, 191, 200, 1000, 1001];
/// Their period: so short that the guest waits for many of them.
const PERIOD: u32 = 10;
/// What the pipe gives at once. With just 40 bytes each time Linux goes on: it takes 24 of the second
/// 40 and throws the others away.
const PIECES: [usize; 3] = [40, 64, 17];
/// What the daemon sends at once.
const PIECE: usize = 40;
/// Blocks that are read of each device.
const BLOCKS: usize = 6;

/// A reader has ended when the guest has started that many programs, each of which sleeps for a
/// moment: on a busy machine they take as much longer as the reader does.
const MAX_TICKS: usize = 600;
/// How long those may take at the very most.
const MAX_TIME: Duration = Duration::from_secs(600);

#[test]
fn linux_goes_on_whatever_the_limit_and_the_pieces_of_the_source() {
    let run = RunDir::create("virtio-uneven").expect("a run can be made");
    let pipe = run.path().join("pipe");
    mkfifo(&pipe);
    feed(&pipe);
    serve_daemon(run.listen("daemon").expect("a socket can be made"));
    let limited = LIMITS.map(|bytes| Options {
        limit: Some(Limit { bytes, period: PERIOD }),
        ..Options::default()
    });
    let of = |source| Options { source, ..Options::default() };
    let pieces = [of(Source::File("pipe".to_owned())), of(Source::Daemon("daemon".to_owned()))];
    let all: Vec<Options> = pieces.into_iter().chain(limited).collect();
    let rngs: Vec<Rng> =
        (0..).zip(&all).map(|(number, options)| device(&run, number, options)).collect();
    say("booting a guest with a device for each limit and source");
    let with_rngs = rngs.iter().fold(guest(&run), |guest: Builder<'_>, rng| rng.attach(guest));
    let mut guest = with_rngs.boot_from_saved().expect("the guest boots");
    for (number, options) in all.iter().enumerate() {
        select(&mut guest, &format!("virtio_rng.{number}"));
        assert_goes_on(&mut guest, options);
    }
    assert_kernel_is_content(&mut guest);
}

/// A device of our server's; each fourth has a split queue, a packed one, the legacy interface or
/// vhost-user.
fn device<'run>(run: &'run RunDir, number: usize, options: &Options) -> Rng<'run> {
    let name = format!("rng{number}");
    let options = options.clone();
    let device = match number % 4 {
        0 => Rng::of_our_server(run, &name, &options),
        1 => Rng::of_our_server(run, &name, &Options { packed: true, ..options }),
        2 => Rng::of_our_server(run, &name, &Options { transitional: true, ..options }),
        _ => Rng::over_vhost_user(run, &name, &options),
    };
    device.expect("the device can be made")
}

/// Reads whole blocks, also after a reader that was killed while it waited, which the device does
/// not hear of.
fn assert_goes_on(guest: &mut Guest, options: &Options) {
    let script = format!(
        "for wait in 0.01 0.05; do
            dd if=/dev/hwrng of=/dev/null bs={BLOCK} count=1000 2>/dev/null &
            sleep $wait
            kill -9 $!
        done
        dd if=/dev/hwrng of=/run/blocks bs={BLOCK} count={BLOCKS} 2>/dev/null &
        ticks=0
        while kill -0 $! 2>/dev/null; do
            sleep 0.05
            ticks=$((ticks + 1))
            if test $ticks -gt {MAX_TICKS}; then
                kill -9 $!
                break
            fi
        done
        wc -c </run/blocks"
    );
    let said = guest.try_run_for(&script, MAX_TIME).expect("the guest answers").text;
    let got = said.lines().last().unwrap_or_default().trim().to_owned();
    assert_eq!(got, (BLOCKS * BLOCK).to_string(), "the reader hangs with {options:?}");
}

/// Writes to a pipe as long as this process lives, whenever it is empty.
fn feed(path: &Path) {
    let mut pipe: File =
        OpenOptions::new().read(true).write(true).open(path).expect("it was just made");
    thread::spawn(move || {
        for piece in PIECES.into_iter().cycle() {
            while ioctl_fionread(&pipe).is_ok_and(|left| left > 0) {
                thread::sleep(Duration::from_millis(1));
            }
            if pipe.write_all(&vec![0x5a; piece]).is_err() {
                return;
            }
        }
    });
}

/// An entropy gathering daemon that sends what it is asked for in pieces.
fn serve_daemon(listener: UnixListener) {
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client));
        }
    });
}

fn answer(mut client: UnixStream) -> std::io::Result<()> {
    loop {
        let mut request = [0; 2];
        client.read_exact(&mut request)?;
        for piece in vec![0xa5; request[1].into()].chunks(PIECE) {
            client.write_all(piece)?;
            thread::sleep(Duration::from_millis(2));
        }
    }
}
