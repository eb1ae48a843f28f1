//! A disposable guest with an untrusted submission in it.
//!
//! Whatever that does, each question to the guest ends in bounded time: with an answer, or with a
//! failure that says what the guest's kernel said last. A guest that did not answer is ended,
//! and the next question gets a fresh one.
//!
//! The guest has QEMU's default devices, so that the device is where the published one is, and a
//! network card with no network behind it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exerciser::{Answer, Job, Outcome, Request};
use lab::live_guest::panic_in;
use lab::{Guest, RunDir, progress};

use crate::access_log::{self, Access};
use crate::kernel_log;
use crate::recordings;
use crate::report::Failure;
use crate::stop::{Stop, nonsense};
use crate::watchdog::{self, Watchdog};

mod saved;
mod setup;

pub use saved::{Kind, saved};
pub use setup::{Attached, Setup, quoted};

/// How many guests a part of a submission may use up.
const MAX_GUESTS: u32 = 5;
/// How long an answer may take beyond the work, in seconds, before the guest counts as hung.
const SLACK: u64 = 15;
/// How many of the profile's seconds the kernel's last words may take to the console.
const LAST_WORDS: u64 = 5;
/// A place for guests, one after the other.
#[derive(Debug)]
pub struct Bench<'run> {
    setup: Setup<'run>,
    attached: Attached<'run>,
    live: Option<Live<'run>>,
    /// How many guests there were.
    booted: u32,
    /// How much slower than the profile's machine this one is; 1 at least.
    slowdown: f64,
    /// What the kernel of a guest that was lost said last.
    last_words: String,
}

/// A guest that lives.
#[derive(Debug)]
struct Live<'run> {
    guest: Guest<'run>,
    watchdog: Watchdog,
    /// Where its console goes.
    console: String,
    /// How much of that was looked at.
    seen: usize,
    /// How many marks the console has.
    marks: u32,
    /// What makes them this guest's alone: a submission's driver cannot print one.
    secret: u64,
}

impl<'run> Bench<'run> {
    /// A place without a guest yet.
    #[must_use]
    pub fn new(setup: Setup<'run>, attached: Attached<'run>) -> Self {
        Self { setup, attached, live: None, booted: 0, slowdown: 1.0, last_words: String::new() }
    }

    /// Numbers its guests from here on: there were some in this run before.
    pub fn number_from(&mut self, booted: u32) {
        self.booted = booted;
    }

    /// The end of a student's device's log.
    #[must_use]
    pub fn device_tail(&self) -> String {
        match &self.attached {
            Attached::Server(_) => String::new(),
            Attached::Program(program) => program.tail(),
        }
    }

    /// Checks that a student's device still answers. The kit goes on after a panic, without the
    /// client, whose reads are all ones then; such a guest is ended.
    pub fn device_lives(&mut self) -> Result<(), Stop> {
        let Attached::Program(program) = &mut self.attached else { return Ok(()) };
        let panics = |end| format!("{end}: nothing that a guest does may make a device panic");
        let hint = match (program.ended()?, panic_in(&program.log())) {
            (Some(end), _) if program.over_limits()? => format!("the device program {end}"),
            (Some(end), _) => {
                let ended = || panics(format!("the device program {end}"));
                program.mistake().unwrap_or_else(ended)
            }
            (None, Some(panic)) => panics(format!("the device panicked at {panic}")),
            (None, None) => return Ok(()),
        };
        self.discard();
        Err(Failure::new(hint).with(self.device_tail()).into())
    }

    /// Whether there is a guest.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Boots a guest.
    pub fn boot(&mut self) -> Result<(), Stop> {
        self.live = None;
        if self.booted == MAX_GUESTS {
            let because = format!("{MAX_GUESTS} guests did not survive this submission");
            return Err(Stop::not_run(because));
        }
        self.booted += 1;
        watchdog::make_room(self.setup.run.path())?;
        let name = format!("guest-{}", self.booted);
        // Once it was not to be had, it is not tried again.
        let state = self.setup.state(&self.attached).map(Path::to_path_buf);
        if let Some(state) = state {
            match self.go_on_from(&name, &state) {
                Ok(()) => return self.device_lives(),
                Err(error) => {
                    progress::say(&format!("booting a guest, since a saved one failed: {error:#}"));
                    self.setup.saved = None;
                }
            }
        }
        self.start(&name)?;
        // What it said while it booted is not the submission's.
        self.news()?;
        self.device_lives()
    }

    /// Starts a guest that boots.
    fn start(&mut self, name: &str) -> Result<(), Stop> {
        let builder = self.setup.builder(name, Some(&self.attached), None);
        let mut guest = builder.start().map_err(|error| self.not_booted(error))?;
        // Without the wait for other runs' guests.
        let begun = Instant::now();
        let watchdog = Watchdog::start(self.setup.run.path(), guest.pid())?;
        if let Err(error) = guest.wait_until_ready() {
            return Err(match (watchdog.too_long(), &self.attached) {
                (Some(log), Attached::Program(_)) => {
                    let hint = watchdog::endless(&log, &format!("{name}-console.log"));
                    Failure::new(hint).with(self.device_tail()).into()
                }
                _ => self.not_booted(error),
            });
        }
        guest.run("dmesg -n 8").context("the kernel's log goes to the console")?;
        let usual = self.setup.tools.profile.seconds.boot.max(1) as f64;
        self.slowdown = self.slowdown.max(begun.elapsed().as_secs_f64() / usual);
        self.live = Some(Live::new(guest, watchdog, name));
        Ok(())
    }

    /// Has a guest go on where another one was saved.
    fn go_on_from(&mut self, name: &str, state: &Path) -> Result<()> {
        // A student's device comes when the guest goes on.
        let attached =
            Some(&self.attached).filter(|attached| matches!(attached, Attached::Server(_)));
        let mut guest = self.setup.builder(name, attached, Some(state)).start()?;
        let begun = Instant::now();
        let watchdog = Watchdog::start(self.setup.run.path(), guest.pid())?;
        saved::go_on(&mut guest, &self.setup.tools.profile, &self.attached, self.setup.copied())?;
        let usual = self.setup.tools.profile.seconds.boot.max(1) as f64 / saved::FASTER;
        self.slowdown = self.slowdown.max(begun.elapsed().as_secs_f64() / usual);
        self.live = Some(Live::new(guest, watchdog, name));
        Ok(())
    }

    /// Why a guest does not boot: because of the submission's device, if there is one.
    fn not_booted(&mut self, error: anyhow::Error) -> Stop {
        let Attached::Program(program) = &mut self.attached else { return Stop::Lab(error) };
        let ended = match program.ended() {
            // What QEMU says to that would only hide it.
            Ok(Some(end)) if program.over_limits().unwrap_or(false) => {
                return Failure::new(format!("the device program {end}"))
                    .with(self.device_tail())
                    .into();
            }
            Ok(Some(end)) => format!(": the device program {end}"),
            Ok(None) => String::new(),
            Err(error) => return Stop::Lab(error),
        };
        let tail = self.device_tail();
        Failure::new(format!("a guest with the device does not boot{ended}"))
            .with(format!("{error:#}\n{tail}"))
            .into()
    }

    /// So many of the profile's seconds, on this machine.
    #[must_use]
    pub fn seconds(&self, usual: u64) -> u64 {
        let seconds = Duration::from_secs(usual).mul_f64(self.slowdown).as_secs_f64().ceil();
        Duration::from_secs_f64(seconds).as_secs()
    }

    /// Has a job done, by so many processes at once, in so many of the profile's seconds.
    pub fn exercise(&mut self, job: Job, processes: u32, usual: u64) -> Result<Vec<Outcome>, Stop> {
        let seconds = self.seconds(usual);
        let request = Request { job, processes, seconds };
        let request = serde_json::to_string(&request).context("a request is plain data")?;
        let command = format!("exerciser {}", quoted(&request));
        let text = self.shell_for(&command, Duration::from_secs(seconds))?;
        let last = text.lines().next_back().unwrap_or_default();
        match serde_json::from_str::<Answer>(last) {
            Ok(answer) if answer.0.len() == processes as usize => Ok(answer.0),
            _ => {
                // Other things in there may have been changed, too.
                self.discard();
                Err(nonsense(&text))
            }
        }
    }

    /// Has a job done by one process.
    pub fn exercise_once(&mut self, job: Job, usual: u64) -> Result<Outcome, Stop> {
        let outcomes = self.exercise(job, 1, usual)?;
        outcomes.into_iter().next().ok_or_else(|| nonsense("no outcome"))
    }

    /// Runs a shell command of ours and returns what it printed.
    pub fn shell(&mut self, command: &str) -> Result<String, Stop> {
        let time = Duration::from_secs(self.seconds(self.setup.tools.profile.seconds.call));
        self.shell_for(command, time)
    }

    fn shell_for(&mut self, command: &str, time: Duration) -> Result<String, Stop> {
        let limit = time + Duration::from_secs(self.seconds(SLACK));
        let live = self.live.as_mut().context("there is a guest")?;
        match live.guest.try_run_for(command, limit) {
            Ok(output) => Ok(output.text),
            Err(_) => Err(self.lost(limit)),
        }
    }

    /// The guest did not answer: finds out why, and ends it.
    fn lost(&mut self, waited: Duration) -> Stop {
        let Some(mut live) = self.live.take() else { return nonsense("there was no guest") };
        let log = live.rest(self.setup.run);
        let said = if log.trim().is_empty() { String::new() } else { kernel_log::excerpt(&log) };
        let worst = kernel_log::worst(&log);
        let worst = worst.map(|found| format!("{} ({})", found.meaning, found.said()));
        self.last_words = log;
        let hint = match (self.device_lost(), live.watchdog.too_long(), live.guest.running()) {
            (Err(error), _, _) | (_, _, Err(error)) => return Stop::Lab(error),
            (Ok(Some(hint)), _, _) => return Failure::new(hint).with(self.device_tail()).into(),
            (_, Some(log), _) => watchdog::endless(&log, &live.console),
            (_, _, Ok(false)) => match worst {
                Some(worst) => format!("the guest's kernel gave up: {worst}"),
                None => "the guest ended".to_owned(),
            },
            (_, _, Ok(true)) => format!(
                "the guest does not answer any more after {} s: {}",
                waited.as_secs(),
                worst.as_deref().unwrap_or(self.why_silent())
            ),
        };
        Failure::new(hint).with(said).into()
    }

    /// How a student's device has ended that the guest used, if it has.
    fn device_lost(&mut self) -> Result<Option<String>> {
        let Attached::Program(program) = &mut self.attached else { return Ok(None) };
        let Some(end) = program.ended()? else { return Ok(None) };
        let ended = || format!("the device program {end} while the guest used it");
        Ok(Some(program.mistake().unwrap_or_else(ended)))
    }

    /// Why a guest does not answer whose kernel has not complained.
    fn why_silent(&self) -> &'static str {
        match &self.attached {
            // Nothing but the device is the student's then.
            Attached::Program(_) => {
                "its processor waits for the device; a callback of a device never waits, and a loop in \
                 it has to end"
            }
            Attached::Server(_) => {
                "a loop that does not end, or a lock that is not given back, with interrupts off or \
                 a spinlock held"
            }
        }
    }

    /// Ends the guest, and the device with what it has recorded.
    pub fn end(mut self) -> Result<()> {
        self.live = None;
        match self.attached {
            Attached::Server(server) => server.stop().map(drop),
            Attached::Program(program) => {
                std::thread::sleep(recordings::DELAY);
                drop(program);
                Ok(())
            }
        }
    }

    /// Ends the guest, and keeps the device.
    pub fn discard(&mut self) {
        self.live = None;
    }

    /// Presses the reset button and waits until the guest has booted again.
    pub fn reset(&mut self) -> Result<(), Stop> {
        let live = self.live.as_mut().context("there is a guest")?;
        if live.guest.reset().is_err() {
            return Err(self.lost(Duration::ZERO));
        }
        Ok(())
    }

    /// What the guest's kernel said since this was asked last.
    pub fn news(&mut self) -> Result<String, Stop> {
        let timeout = self.seconds(LAST_WORDS);
        let Some(live) = self.live.as_mut() else {
            return Ok(std::mem::take(&mut self.last_words));
        };
        live.marks += 1;
        let timeout = Duration::from_secs(timeout);
        let mark = format!("checker: mark {:016x} {}", live.secret, live.marks);
        self.shell(&format!("echo '{mark}' >/dev/kmsg"))?;
        let Some(live) = self.live.as_mut() else { return Ok(String::new()) };
        let begun = Instant::now();
        loop {
            let log = self.setup.run.read(&live.console);
            let new = log.get(live.seen..).unwrap_or_default();
            if new.contains(&mark) {
                let news = new.lines().filter(|line| !line.contains(&mark));
                let news = news.map(|line| format!("{line}\n")).collect();
                live.seen = log.len();
                return Ok(news);
            }
            if begun.elapsed() > timeout {
                self.discard();
                return Err(Stop::failed(
                    "the kernel's messages do not reach the console any more: a driver does not \
                     touch how the kernel prints",
                ));
            }
            std::thread::sleep(lab::process::POLL);
        }
    }

    /// How long the device's log is now, for [`Self::accesses_since`].
    #[must_use]
    pub fn log_length(&self) -> usize {
        self.attached.log().len()
    }

    /// The accesses that reached the device since its log had that length. Those that the guest
    /// waited for are all in it.
    #[must_use]
    pub fn accesses_since(&self, length: usize) -> Vec<Access> {
        let log = self.attached.log();
        access_log::parse(log.get(length..).unwrap_or_default(), &self.setup.tools.profile)
    }
}

impl<'run> Live<'run> {
    fn new(guest: Guest<'run>, watchdog: Watchdog, name: &str) -> Self {
        let console = format!("{name}-console.log");
        let secret = RandomState::new().build_hasher().finish();
        Self { guest, watchdog, console, seen: 0, marks: 0, secret }
    }

    /// What its console said since the last look, for a guest that is being given up.
    fn rest(&self, run: &RunDir) -> String {
        let log = run.read(&self.console);
        log.get(self.seen..).unwrap_or_default().to_owned()
    }
}
