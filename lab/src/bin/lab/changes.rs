//! Waits until a source of the user's is saved.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::device_source::DeviceSource;
use lab::{module_build, progress};
use notify::{Event, RecursiveMode, Watcher};

use crate::own::Own;

/// An editor saves in several steps, which take less than this.
const SETTLED: Duration = Duration::from_millis(100);

/// What was saved.
#[derive(Debug)]
pub struct Change {
    /// The device.
    pub device: bool,
    /// The module.
    pub driver: bool,
    /// The program.
    pub app: bool,
    /// When.
    pub begun: Instant,
}

impl Change {
    /// Says how long it took to show it, and how much of that the compilers took.
    pub fn took(&self, compiled: Duration) {
        progress::say(&format!(
            "{:.1} s after the change; {:.1} s of them were the compiler's",
            self.begun.elapsed().as_secs_f64(),
            compiled.as_secs_f64()
        ));
    }

    /// What was saved, in words.
    pub fn what(&self) -> String {
        let parts =
            [(self.device, "the device"), (self.driver, "the module"), (self.app, "the program")];
        let saved = parts.into_iter().filter_map(|(saved, what)| saved.then_some(what));
        let saved: Vec<&str> = saved.collect();
        let were = if saved.len() == 1 { "was" } else { "were" };
        format!("{} {were} saved", saved.join(" and "))
    }
}

/// Changes of the sources.
#[derive(Debug)]
pub struct Changes<'a> {
    /// What is watched.
    pub own: &'a Own<'a>,
    events: Receiver<notify::Result<Event>>,
    sender: Sender<notify::Result<Event>>,
    /// Watches as long as it lives.
    _watcher: notify::RecommendedWatcher,
}

/// Ends a wait for changes.
#[derive(Debug)]
pub struct End(Sender<notify::Result<Event>>);

impl End {
    /// The wait ends, with an error.
    pub fn now(&self) {
        // Without a receiver nothing waits.
        let _ = self.0.send(Err(notify::Error::generic("ended")));
    }
}

impl<'a> Changes<'a> {
    /// From now on.
    pub fn new(own: &'a Own<'a>) -> Result<Self> {
        let (sender, events) = channel();
        let heard = sender.clone();
        // The receiver is gone only when the program ends.
        let mut watcher = notify::recommended_watcher(move |event| drop(heard.send(event)))
            .context("cannot watch files")?;
        let mut watch = |path: &Path| -> Result<()> {
            // A file is watched by its folder: editors put a new file in its place.
            let (folder, mode) = match path.parent() {
                Some(parent) if path.is_file() => (parent, RecursiveMode::NonRecursive),
                _ => (path, RecursiveMode::Recursive),
            };
            watcher
                .watch(folder, mode)
                .with_context(|| format!("cannot watch {}", folder.display()))
        };
        let device = own.device.as_ref().map(DeviceSource::source);
        let others = own.driver.iter().chain(&own.app).map(PathBuf::as_path);
        for path in device.into_iter().chain(others) {
            watch(path)?;
        }
        Ok(Self { own, events, sender, _watcher: watcher })
    }

    /// What ends a wait from another thread.
    pub fn end(&self) -> End {
        End(self.sender.clone())
    }

    /// Waits for the next change, until none has followed for a moment.
    pub fn next(&self) -> Result<Change> {
        let mut change: Option<Change> = None;
        let mut last = Instant::now();
        loop {
            if let Some(settled) = change.take_if(|_| last.elapsed() >= SETTLED) {
                return Ok(settled);
            }
            let timeout = match change {
                // Without a change so far there is nothing that could settle.
                None => Duration::MAX,
                Some(_) => SETTLED.saturating_sub(last.elapsed()),
            };
            let event = match self.events.recv_timeout(timeout) {
                Ok(event) => event.context("cannot watch files any longer")?,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(error) => return Err(error).context("cannot watch files any longer"),
            };
            let Own { device, driver, app, .. } = self.own;
            // Of what is handed in as one file, that file.
            let touches_c = |place: &PathBuf| {
                touches(&event, place, |path| module_build::is_source(path) || path == place)
            };
            let device = device.as_ref().is_some_and(|device| {
                touches(&event, device.source(), |path| device.depends_on(path))
            });
            let driver = driver.as_ref().is_some_and(touches_c);
            let app = app.as_ref().is_some_and(touches_c);
            // Others may be read or written beside them all the time.
            if device || driver || app {
                last = Instant::now();
                let change = change.get_or_insert(Change { device, driver, app, begun: last });
                change.device |= device;
                change.driver |= driver;
                change.app |= app;
            }
        }
    }
}

/// Whether something has changed in a place that a build depends on.
fn touches(event: &Event, place: &Path, wanted: impl Fn(&Path) -> bool) -> bool {
    let in_place = |path: &PathBuf| path.starts_with(place) && wanted(path);
    !event.kind.is_access() && event.paths.iter().any(in_place)
}
