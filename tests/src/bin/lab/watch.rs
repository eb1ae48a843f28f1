//! `--device`, `--driver`, `--watch`: a device and a module of the user's own in a guest, once or
//! whenever their source changes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::device_crate::DeviceCrate;
use lab::{RunDir, Workbench, driver_build, module_build, progress};
use notify::{Event, RecursiveMode, Watcher};

use crate::{Options, debug};

/// An editor saves in several steps, which take less than this.
const SETTLED: Duration = Duration::from_millis(100);

/// Shows what the user asked for; with `--watch` again and again, until the user ends it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let own = Own {
        device: options.device.as_deref().map(DeviceCrate::open).transpose()?,
        driver: options.driver.as_deref().map(canonical).transpose()?,
        parameters: options.parameters.as_ref().map_or(&[], |parameters| &parameters.0),
        kernel: crate::prepare()?,
    };
    // From here on, so that no change is missed.
    let changes = options.watch.then(|| Changes::new(&own)).transpose()?;
    let program = own.device.as_ref().map(DeviceCrate::build).transpose()?;
    let run = RunDir::create("workbench")?;
    // A module that does not compile needs no guest, unless the user goes on working at it.
    let module = match own.build_driver(&run) {
        Err(error) if !options.watch => return Err(error),
        module => module,
    };
    let files = options.file.iter().map(|file| (file.in_guest.clone(), file.on_host.clone()));
    let (program, files) = (program.as_deref(), files.collect());
    let mut bench = Workbench::boot(&run, own.kernel, program, options.debug, files)?;
    if options.debug {
        debug::introduce(bench.device_pid());
        debug::wait_for_enter()?;
    }
    let loaded = module.and_then(|module| own.load_driver(module.as_deref(), &mut bench));
    let shown = bench.show(options.run.as_deref())?;
    println!("{}", shown.text.trim_end());
    let Some(changes) = changes else {
        let logs = run.path().display();
        progress::say(&format!("logs are in {logs}; again whenever you save: --watch"));
        // A shell's statuses are those that a process can have.
        return loaded.map(|()| ExitCode::from(u8::try_from(shown.status).unwrap_or(u8::MAX)));
    };
    report(loaded);
    loop {
        progress::say("watching; save a change to see it here, or end with Ctrl-C");
        let change = changes.next()?;
        progress::say(match (change.device, change.driver) {
            (true, true) => "the device and the module were saved",
            (true, false) => "the device was saved",
            _ => "the module was saved",
        });
        if let Err(error) = own.exchange(&change, &run, &mut bench, options.run.as_deref()) {
            progress::say(&format!("{error:#}"));
            progress::say("the guest goes on with what it has");
        }
    }
}

/// What the user edits.
struct Own<'a> {
    device: Option<DeviceCrate>,
    driver: Option<PathBuf>,
    /// The module's, as insmod takes them.
    parameters: &'a [String],
    kernel: lab::Choice,
}

impl Own<'_> {
    /// Builds what has changed, and shows it in place of what was there.
    fn exchange(
        &self,
        change: &Change,
        run: &RunDir,
        bench: &mut Workbench,
        command: Option<&str>,
    ) -> Result<()> {
        let mut built = Duration::ZERO;
        if let Some(device) = self.device.as_ref().filter(|_| change.device) {
            let begun = Instant::now();
            let program = device.build().context("the old device stays")?;
            built += begun.elapsed();
            bench.exchange_device(&program)?;
            if bench.debugged() {
                debug::introduce(bench.device_pid());
            }
        }
        if change.driver || bench.driver_is_gone() {
            let begun = Instant::now();
            let module = self.build_driver(run)?;
            built += begun.elapsed();
            self.load_driver(module.as_deref(), bench)?;
        }
        println!("{}", bench.show(command)?.text.trim_end());
        progress::say(&format!(
            "{:.1} s after the change; {:.1} s of them were the compiler's",
            change.begun.elapsed().as_secs_f64(),
            built.as_secs_f64()
        ));
        Ok(())
    }

    /// Builds the module, if there is one.
    fn build_driver(&self, run: &RunDir) -> Result<Option<PathBuf>> {
        let Some(driver) = &self.driver else {
            return Ok(None);
        };
        progress::say(&format!("building the module of {}", driver.display()));
        let built = driver_build::build(driver, &run.path().join("driver"))?;
        built.notes.iter().for_each(|note| progress::say(note));
        Ok(Some(built.module))
    }

    fn load_driver(&self, module: Option<&Path>, bench: &mut Workbench) -> Result<()> {
        module.map_or(Ok(()), |module| bench.exchange_driver(module, self.parameters))
    }
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        progress::say(&format!("{error:#}"));
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is nothing at {}", path.display()))
}

/// What was saved.
struct Change {
    device: bool,
    driver: bool,
    begun: Instant,
}

/// Changes of the sources.
struct Changes {
    events: Receiver<notify::Result<Event>>,
    /// Watches as long as it lives.
    _watcher: notify::RecommendedWatcher,
    device: Option<PathBuf>,
    driver: Option<PathBuf>,
}

impl Changes {
    fn new(own: &Own) -> Result<Self> {
        let (sender, events) = channel();
        // The receiver is gone only when the program ends.
        let mut watcher = notify::recommended_watcher(move |event| drop(sender.send(event)))
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
        let device = own.device.as_ref().map(|device| device.source().to_path_buf());
        for path in device.iter().chain(&own.driver) {
            watch(path)?;
        }
        Ok(Self { events, _watcher: watcher, device, driver: own.driver.clone() })
    }

    /// Waits for the next change, until none has followed for a moment.
    fn next(&self) -> Result<Change> {
        let mut change: Option<Change> = None;
        let mut last = Instant::now();
        loop {
            if let Some(settled) = change.take_if(|_| last.elapsed() >= SETTLED) {
                return Ok(settled);
            }
            let patience = match change {
                // Without a change so far there is nothing that could settle.
                None => Duration::MAX,
                Some(_) => SETTLED.saturating_sub(last.elapsed()),
            };
            let event = match self.events.recv_timeout(patience) {
                Ok(event) => event.context("cannot watch files any longer")?,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(error) => return Err(error).context("cannot watch files any longer"),
            };
            let (device, driver) = (
                touches(&event, self.device.as_deref(), is_rust),
                // Of what is handed in as one file, that file.
                touches(&event, self.driver.as_deref(), |path| {
                    module_build::is_source(path) || self.driver.as_deref() == Some(path)
                }),
            );
            // Others may be read or written beside them all the time.
            if device || driver {
                last = Instant::now();
                let change = change.get_or_insert(Change { device, driver, begun: last });
                change.device |= device;
                change.driver |= driver;
            }
        }
    }
}

/// Whether something has changed in a place that a build depends on.
fn touches(event: &Event, place: Option<&Path>, wanted: impl Fn(&Path) -> bool) -> bool {
    let in_place =
        |path: &PathBuf| place.is_some_and(|place| path.starts_with(place)) && wanted(path);
    !event.kind.is_access() && event.paths.iter().any(in_place)
}

/// Whether a device's build depends on it.
fn is_rust(path: &Path) -> bool {
    let ending = path.extension().is_some_and(|extension| extension == "rs" || extension == "toml");
    ending && !path.components().any(|part| part.as_os_str() == "target")
}
