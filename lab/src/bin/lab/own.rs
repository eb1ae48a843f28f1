//! What the user edits: a device, a driver, a program; built, and shown in a guest.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::device_source::DeviceSource;
use lab::live_guest::Setup;
use lab::{LiveGuest, RunDir, driver_build, progress};

use crate::changes::Change;
use crate::{Options, debug};

/// What the user edits.
#[derive(Debug)]
pub struct Own<'a> {
    /// The device's source.
    pub device: Option<DeviceSource>,
    /// The driver's.
    pub driver: Option<PathBuf>,
    /// The program's.
    pub app: Option<PathBuf>,
    /// The module's, as insmod takes them.
    parameters: &'a [String],
    setup: Setup,
}

/// What was built of it.
#[derive(Debug)]
pub struct Built {
    device: Option<PathBuf>,
    module: Result<Option<PathBuf>>,
    app: Result<Option<PathBuf>>,
}

impl<'a> Own<'a> {
    /// What the options name.
    pub fn open(options: &'a Options) -> Result<Self> {
        let files = options.file.iter().map(|file| (file.in_guest.clone(), file.on_host.clone()));
        let setup = Setup {
            kernel: crate::prepare()?,
            debug: options.debug,
            console: options.shell,
            others: u16::from(options.devices.get()).saturating_sub(1),
            files: files.collect(),
            record: options.record()?,
            ..Setup::default()
        };
        let open = |path| DeviceSource::open(path, !options.no_sanitize);
        Ok(Self {
            device: options.device.as_deref().map(open).transpose()?,
            driver: options.driver.as_deref().map(canonical).transpose()?,
            app: options.app.as_deref().map(canonical).transpose()?,
            parameters: options.parameters.as_ref().map_or(&[], |parameters| &parameters.0),
            setup,
        })
    }

    /// Builds all of it. What does not compile needs no guest, unless the user goes on working at it.
    pub fn build(&self, run: &RunDir, goes_on: bool) -> Result<Built> {
        let device = self.device.as_ref().map(DeviceSource::build).transpose()?;
        match (Built { device, module: self.build_driver(run), app: self.build_app(run) }) {
            Built { module: Err(error), .. } | Built { app: Err(error), .. } if !goes_on => {
                Err(error)
            }
            built => Ok(built),
        }
    }

    /// Boots a guest with the device.
    pub fn boot<'run>(&self, built: &Built, run: &'run RunDir) -> Result<LiveGuest<'run>> {
        LiveGuest::boot(run, Setup { program: built.device.clone(), ..self.setup.clone() })
    }

    /// Loads the driver, and puts the program into the guest.
    pub fn load(&self, built: Built, live: &mut LiveGuest<'_>) -> Result<()> {
        self.load_driver(built.module?.as_deref(), live)?;
        self.put_app(built.app?.as_deref(), live)
    }

    /// The command that shows it: the user's, or the program.
    pub fn command(&self, named: Option<&str>) -> Option<String> {
        named.map(str::to_owned).or_else(|| Some(format!("./{}", self.app_name()?)))
    }

    /// Builds what has changed, and puts it in place of what was there. How long the compilers took.
    pub fn exchange(
        &self,
        change: &Change,
        run: &RunDir,
        live: &mut LiveGuest<'_>,
    ) -> Result<Duration> {
        let mut built = Duration::ZERO;
        let guests = live.guests();
        if let Some(device) = self.device.as_ref().filter(|_| change.device) {
            let begun = Instant::now();
            let program = device.build().context("the old device stays")?;
            built += begun.elapsed();
            live.exchange_device(&program)?;
            if self.setup.debug {
                debug::introduce(live.device_pid());
            }
        }
        if change.driver || live.driver_is_gone() {
            let begun = Instant::now();
            let module = self.build_driver(run)?;
            built += begun.elapsed();
            self.load_driver(module.as_deref(), live)?;
        }
        // Another guest has not had it.
        if change.app || live.guests() != guests {
            let begun = Instant::now();
            let app = self.build_app(run)?;
            built += begun.elapsed();
            self.put_app(app.as_deref(), live)?;
        }
        Ok(built)
    }

    /// Builds the module, if there is one.
    fn build_driver(&self, run: &RunDir) -> Result<Option<PathBuf>> {
        let Some(driver) = &self.driver else { return Ok(None) };
        progress::say(&format!("building the module of {}", driver.display()));
        let built = driver_build::build(driver, &run.path().join("driver"))?;
        built.notes.iter().for_each(|note| progress::say(note));
        Ok(Some(built.file))
    }

    fn load_driver(&self, module: Option<&Path>, live: &mut LiveGuest<'_>) -> Result<()> {
        match module {
            Some(module) => live.exchange_driver(module, self.parameters),
            // A program needs a driver.
            None if self.app.is_some() => live.load_ours(),
            None => Ok(()),
        }
    }

    /// Builds the program, if there is one.
    fn build_app(&self, run: &RunDir) -> Result<Option<PathBuf>> {
        let Some(app) = &self.app else { return Ok(None) };
        progress::say(&format!("building the program of {}", app.display()));
        Ok(Some(driver_build::build_app(app, &run.path().join("app"))?.file))
    }

    fn put_app(&self, program: Option<&Path>, live: &mut LiveGuest<'_>) -> Result<()> {
        match (program, self.app_name()) {
            (Some(program), Some(name)) => live.exchange_app(program, &name),
            _ => Ok(()),
        }
    }

    /// The program's name in the guest.
    pub fn app_name(&self) -> Option<String> {
        let stem = self.app.as_ref()?.file_stem()?.to_string_lossy();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        Some(stem.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect())
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is nothing at {}", path.display()))
}
