//! The thread for signals and the control socket.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use my_rng_server::config::Configuration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vfio_user_device::cli::OPERATOR;

use super::control::Control;
use super::sandbox::OVERSEER;
use super::{Daemon, with_remedy};

/// How often counters are looked at, for the rates that the control socket tells.
const TICK: Duration = Duration::from_secs(1);

/// How long the thread may take to end. It takes no time, unless it is reading a file that another
/// process has to write first: a FIFO, or one on a file server that does not answer.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// What becomes readable when SIGHUP has come.
pub struct Signals {
    reload: UnixStream,
    /// The other end, if no signal handler has it.
    _silent: Option<UnixStream>,
}

impl Signals {
    /// Notes in `ending` when the daemon is told to end, and handles SIGHUP from now on if there is
    /// a file to read again.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn new(ending: &Arc<AtomicBool>, has_file: bool) -> Result<Self> {
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(ending))
                .context("cannot handle signals")?;
        }
        let (reload, signalled) = UnixStream::pair()?;
        reload.set_nonblocking(true)?;
        if !has_file {
            return Ok(Signals { reload, _silent: Some(signalled) });
        }
        signal_hook::low_level::pipe::register(SIGHUP, signalled)
            .context("cannot handle SIGHUP")?;
        Ok(Signals { reload, _silent: None })
    }
}

/// The thread, while it runs.
pub struct Overseer {
    /// Closed to end it.
    stop: UnixStream,
    /// Disconnected when it has ended.
    end: Receiver<Infallible>,
}

impl Overseer {
    /// Ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_timeout(END_TIMEOUT) {
            log::warn!(
                "the thread that reads the configuration file does not end, and is left behind"
            );
        }
    }
}

/// Hears signals and the control socket from now on. `file` is read again on SIGHUP.
///
/// # Errors
/// Threads or descriptors ran out.
pub fn start(
    signals: Signals,
    control: Option<Arc<Control>>,
    file: Option<PathBuf>,
    daemon: Arc<Mutex<Daemon>>,
) -> Result<Overseer> {
    let (stop, stopped) = UnixStream::pair()?;
    let (ended, end) = channel();
    let work = Work { signals, control, file, daemon, stopped, _ended: ended };
    thread::Builder::new().name("overseer".into()).spawn(move || {
        OVERSEER.enter();
        work.run();
    })?;
    Ok(Overseer { stop, end })
}

struct Work {
    signals: Signals,
    control: Option<Arc<Control>>,
    file: Option<PathBuf>,
    daemon: Arc<Mutex<Daemon>>,
    stopped: UnixStream,
    _ended: Sender<Infallible>,
}

impl Work {
    fn run(self) {
        let mut tick = Instant::now();
        let mut accepts = true;
        loop {
            // Without a control socket there is nothing to do: rates are shown there alone.
            let timeout =
                self.control.as_ref().map(|_| tick.saturating_duration_since(Instant::now()));
            let (stop, reload, control) = self.wait(timeout, accepts);
            if stop {
                return;
            }
            if reload {
                self.reload();
            }
            if let Some(socket) = self.control.as_ref().filter(|_| control) {
                // Out of descriptors, for example: the socket stays readable, and is polled again later.
                accepts = socket.accept(&self.daemon);
            }
            let now = Instant::now();
            if self.control.is_some() && now >= tick {
                self.daemon.lock().unwrap_or_else(PoisonError::into_inner).note_rates(now);
                tick = now + TICK;
                accepts = true;
            }
        }
    }

    /// Waits for something to do: to stop, to reload, a client of the control socket.
    fn wait(&self, timeout: Option<Duration>, accepts: bool) -> (bool, bool, bool) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.reload.as_fd(), PollFlags::IN),
        ];
        let may_accept = |control: &&Arc<Control>| accepts && control.has_room();
        if let Some(control) = self.control.as_ref().filter(may_accept) {
            fds.push(PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN));
        }
        // What interrupts it makes the caller look at everything again, which is right.
        let _ = poll(&mut fds, timeout.as_ref());
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        (ready[0], ready[1], ready.get(2).copied().unwrap_or(false))
    }

    fn reload(&self) {
        // Several signals at once are one.
        while let Ok(1..) = io::Read::read(&mut &self.signals.reload, &mut [0; 64]) {}
        let Some(file) = &self.file else { return };
        match self.read_again(file) {
            Ok(()) => {}
            Err(error) => {
                log::error!(target: OPERATOR, "nothing has changed: {}", with_remedy(&error));
            }
        }
    }

    fn read_again(&self, file: &Path) -> Result<()> {
        let configuration = Configuration::load(file)?;
        let mut daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = daemon.reload(configuration)?;
        log::warn!(
            target: OPERATOR,
            "{}: {} guests go on, {} stopped, {} started, {} failed",
            file.display(),
            summary.kept,
            summary.stopped,
            summary.started,
            summary.failed
        );
        Ok(())
    }
}
