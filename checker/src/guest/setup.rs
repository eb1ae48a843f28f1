//! What a guest is to be like.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lab::guest::{Builder, saved};
use lab::{Guest, RunDir, Server};
use serde_json::Value;

use crate::device_program::DeviceProgram;
use crate::recordings;
use crate::tools::Tools;

/// Where the exerciser is in a guest.
pub(super) const EXERCISER: &str = "usr/bin/exerciser";
/// More for the kernel's command line. With `preempt=full` a loop in a driver leaves the processor
/// to others, and races show. Without the parts of the kernel that are named, which a guest here has
/// no use for, the major number 250 is free, as it was in the kernels that drivers were written for.
/// With `no_timer_check` a busy host that lets the timer wait does not end the boot. `ignore_loglevel`
/// keeps a driver from turning the kernel's voice down.
pub(super) const KERNEL_ARGUMENTS: &str = "preempt=full ignore_loglevel printk.devkmsg=on no_timer_check \
    initcall_blacklist=nvme_core_init,pps_init,ptp_init,dax_core_init,cxl_core_init";
/// More arguments for QEMU: a network card with nothing behind it, and as few system calls as it
/// needs.
pub(super) const QEMU_ARGUMENTS: [&str; 4] = ["-net", "nic", "-sandbox", SECCOMP];
const SECCOMP: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The device that a guest has.
#[derive(Debug)]
pub enum Attached<'run> {
    /// One of ours.
    Server(Server<'run>),
    /// A student's.
    Program(DeviceProgram<'run>),
}

impl<'run> Attached<'run> {
    /// Starts the device for drivers and applications.
    pub fn of(tools: &Tools, run: &'run RunDir) -> Result<Self> {
        let options = [&["-vv"], &recordings::OPTIONS[..]].concat();
        let server = match &tools.device {
            None => Server::start(run, "my-rng", &options)?,
            Some(program) => Server::start_program(run, "my-rng", program, &options)?,
        };
        Ok(Self::Server(server))
    }

    pub(super) fn device(&self) -> Value {
        match self {
            Self::Server(server) => server.device(),
            Self::Program(program) => program.device(),
        }
    }

    pub(super) fn log(&self) -> String {
        match self {
            Self::Server(server) => server.log(),
            Self::Program(program) => program.log(),
        }
    }
}

/// A word for the guest's shell, whatever is in it.
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a guest is to be like.
#[derive(Debug)]
pub struct Setup<'run> {
    /// Its run.
    pub run: &'run RunDir,
    /// Its kernel, the exercise and the exerciser.
    pub tools: &'run Tools,
    /// Files that it gets beside the exerciser.
    pub files: Vec<(String, PathBuf)>,
    /// Whether it boots again when it resets; otherwise that is its end.
    pub resets: bool,
    /// The state of a guest that has booted, to go on from where that is possible.
    pub saved: Option<PathBuf>,
}

/// How large the files of a guest may be that goes on from a saved state, in bytes: they come to it
/// over a serial port.
const MAX_COPIED: u64 = 256 << 10;

impl<'run> Setup<'run> {
    /// A guest with the exerciser and more files that ends when it resets.
    #[must_use]
    pub fn of(tools: &'run Tools, run: &'run RunDir, more: &[(&str, &Path)]) -> Self {
        let files = more.iter().map(|(name, file)| ((*name).to_owned(), file.to_path_buf()));
        Self { run, tools, files: files.collect(), resets: false, saved: None }
    }

    /// The state that a guest with this device can go on from.
    pub(super) fn state(&self, attached: &Attached<'_>) -> Option<&Path> {
        let size = |file: &Path| file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let copied: u64 = self.copied().map(|(_, file)| size(file)).sum();
        // A guest that resets has to have the files then, too.
        let possible = match attached {
            Attached::Server(_) => !self.resets && copied <= MAX_COPIED,
            Attached::Program(_) => copied == 0,
        };
        self.saved.as_deref().filter(|_| possible)
    }

    /// The files that a guest gets which goes on from a saved state.
    pub(super) fn copied(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.as_path()))
    }

    /// A guest with this device, or with none.
    pub(super) fn builder(
        &self,
        name: &str,
        attached: Option<&Attached<'_>>,
        state: Option<&Path>,
    ) -> Builder<'run> {
        let mut builder = Guest::builder(self.run)
            .name(name)
            .kernel(self.tools.kernel)
            .default_devices()
            .processors(2)
            .without_driver()
            .without_tools()
            .append(KERNEL_ARGUMENTS)
            .arguments(&QEMU_ARGUMENTS)
            .file(EXERCISER, &self.tools.exerciser);
        if let Some(attached) = attached {
            builder = builder.device(&attached.device());
        }
        if !self.resets {
            builder = builder.arguments(&["-no-reboot"]);
        }
        match state {
            // What the saved guest has not had comes to it later.
            Some(state) => builder.arguments(&["-incoming", &saved::address(state)]),
            None => self.copied().fold(builder, |builder, (name, file)| builder.file(name, file)),
        }
    }
}
