//! What a guest is to be like, and how QEMU is started for it.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::ports::Ports;
use super::{Guest, ONLY, accept, prefix};
use crate::agent::Agent;
use crate::environment::{self, Environment};
use crate::initramfs::Initramfs;
use crate::kernel::{Choice, Kernel};
use crate::process::Child;
use crate::qemu::{self, Machine, Qemu};
use crate::qmp::Qmp;
use crate::run_dir::RunDir;
use crate::server::Server;
use crate::slots::Slot;
use crate::{cargo_build, module_build};

pub mod saved;

/// The kernel's command line. After a panic it restarts at once, which is noticed; with
/// `iomem=relaxed`, devmem reaches a device's registers also when a driver has them.
const KERNEL_ARGUMENTS: &str = "quiet panic=-1 iomem=relaxed";

/// What a guest is to be like.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder<'run> {
    run: &'run RunDir,
    name: String,
    /// When it is not to be the usual one.
    qemu: Option<Qemu>,
    kernel: Choice,
    boot: bool,
    driver: bool,
    console: bool,
    kernel_image: bool,
    tools: bool,
    files: Vec<(String, PathBuf)>,
    append: String,
    /// Whether devices go where they can be unplugged.
    removable: bool,
    machine: Machine,
    /// The devices among the machine's arguments, which can as well be plugged in.
    devices: Vec<Value>,
}

impl<'run> Builder<'run> {
    pub(super) fn new(run: &'run RunDir) -> Self {
        Self {
            run,
            name: ONLY.to_owned(),
            qemu: None,
            kernel: Choice::default(),
            boot: true,
            driver: true,
            console: false,
            kernel_image: false,
            tools: true,
            files: Vec::new(),
            append: String::new(),
            removable: false,
            machine: Machine::default(),
            devices: Vec::new(),
        }
    }

    /// The guest's name in the run, when there are several.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The QEMU it runs on, instead of the lab's usual one.
    pub fn qemu(mut self, qemu: &Qemu) -> Self {
        self.qemu = Some(qemu.clone());
        self
    }

    /// The kernel it boots.
    pub fn kernel(mut self, choice: Choice) -> Self {
        self.kernel = choice;
        self
    }

    /// Without anything to boot: QEMU's firmware is all that runs.
    pub fn nothing_to_boot(mut self) -> Self {
        self.boot = false;
        self
    }

    /// Without our kernel module and tester.
    pub fn without_driver(mut self) -> Self {
        self.driver = false;
        self
    }

    /// With its kernel's image in `/boot/vmlinuz`, to start it from inside.
    pub fn kernel_image(mut self) -> Self {
        self.kernel_image = true;
        self
    }

    /// Without lspci and its like: it boots faster.
    pub fn without_tools(mut self) -> Self {
        self.tools = false;
        self
    }

    /// With a file of the host.
    pub fn file(mut self, in_guest: &str, on_host: &Path) -> Self {
        self.files.push((in_guest.to_owned(), on_host.to_path_buf()));
        self
    }

    /// With the console on a socket, for a person ([`Guest::console`]).
    pub fn console(mut self) -> Self {
        self.console = true;
        self
    }

    /// More words for the kernel's command line.
    pub fn append(mut self, words: &str) -> Self {
        self.append.push(' ');
        self.append.push_str(words);
        self
    }

    /// QEMU's machine type with options: `q35`, `pc,usb=off`.
    pub fn machine(mut self, machine: &str) -> Self {
        machine.clone_into(&mut self.machine.machine);
        self
    }

    /// With the devices QEMU adds by itself, its network card in particular.
    pub fn default_devices(mut self) -> Self {
        self.machine.default_devices = true;
        self
    }

    /// So many processors.
    pub fn processors(mut self, count: u8) -> Self {
        self.machine.processors = count;
        self
    }

    /// So much memory.
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.machine.memory = mebibytes;
        self
    }

    /// Memory that servers cannot map.
    pub fn private_memory(mut self) -> Self {
        self.machine.shared = false;
        self
    }

    /// Processors that wait for QMP's `cont`.
    pub fn paused(mut self) -> Self {
        self.machine.paused = true;
        self
    }

    /// With devices that can be unplugged, on every machine: those that are attached from here on.
    pub fn removable(mut self) -> Self {
        self.removable = true;
        self
    }

    /// With the device of a server.
    pub fn attach(self, server: &Server) -> Self {
        self.device(&server.device())
    }

    /// With a device, as QEMU is told of it.
    pub fn device(mut self, device: &Value) -> Self {
        let mut device = device.clone();
        let number = self.devices.len();
        if self.removable && self.machine.has_ports() {
            device["bus"] = qemu::port(number).into();
        } else if let Some(slot) = self.machine.slot(number).filter(|_| device["addr"].is_null()) {
            device["addr"] = format!("{slot:#x}").into();
        }
        self.devices.push(device.clone());
        self.arguments(&["-device", &device.to_string()])
    }

    /// More arguments for QEMU.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.machine.extra.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts QEMU and waits until the guest takes commands.
    pub fn boot(self) -> Result<Guest<'run>> {
        let mut guest = self.start()?;
        guest.wait_until_ready()?;
        Ok(guest)
    }

    /// Starts QEMU and waits until it takes QMP commands.
    pub fn start(self) -> Result<Guest<'run>> {
        let slot = self.run.slot();
        self.start_in(slot)
    }

    fn start_in(self, slot: Arc<Slot>) -> Result<Guest<'run>> {
        let environment = environment::get()?;
        let mut command = self.qemu.as_ref().unwrap_or(&environment.qemu).command();
        command.args(environment.accel.arguments());
        command.args(["-name", &self.name]).args(self.machine.arguments());
        let file = |what: &str| format!("{}{what}", prefix(&self.name));
        let console = if self.console {
            format!("socket,id=console,path={}", file("console.sock"))
        } else {
            "null,id=console".to_owned()
        };
        let console = format!("{console},logfile={}", file("console.log"));
        command.args(["-chardev", &console, "-serial", "chardev:console"]);
        command.args(["-chardev", &format!("socket,id=agent,path={}", file("agent.sock"))]);
        command.args(["-serial", "chardev:agent"]);
        command.args(["-qmp", &format!("unix:{}", file("qmp.sock"))]);
        if self.boot {
            let (kernel, initramfs) = self.boot_files(environment)?;
            command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
            let console = environment.roots.arch.console();
            let words = format!("console={console} {KERNEL_ARGUMENTS}{}", self.append);
            command.args(["-append", &words]);
        }
        let log = file("qemu.log");
        command.current_dir(self.run.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.run.file(&log)?);

        // QEMU connects to all of them: sockets of its own would be left when the lab is interrupted.
        let console = self.console.then(|| self.run.listen(&file("console.sock"))).transpose()?;
        let agent = self.run.listen(&file("agent.sock"))?;
        let qmp = self.run.listen(&file("qmp.sock"))?;
        let mut child = Child::spawn("QEMU", &mut command)?;
        let mut connected = |listener: &UnixListener| {
            accept(listener, &mut child).with_context(|| self.run.tail(&log))
        };
        let console = console.as_ref().map(&mut connected).transpose()?;
        let agent = Agent::new(connected(&agent)?);
        let qmp = connected(&qmp).and_then(|stream| {
            // A device that QEMU cannot make ends it before it greets.
            Qmp::new(stream).with_context(|| self.run.tail(&log))
        })?;
        let ports = self.machine.has_ports().then(|| Ports::with(&self.devices));
        Ok(Guest { run: self.run, name: self.name, child, console, agent, qmp, ports, _slot: slot })
    }

    /// The kernel's image and the initramfs.
    fn boot_files(&self, environment: &Environment) -> Result<(PathBuf, PathBuf)> {
        let image = image(environment.kernel(self.kernel))?;
        let (mut files, name) = self.initramfs(environment)?;
        if self.files.is_empty() {
            return Ok((image, files.write(&name)?));
        }
        // No other run has these.
        for (in_guest, on_host) in &self.files {
            files = files.file(in_guest, on_host);
        }
        let path = self.run.path().join(format!("{}initramfs.cpio", prefix(&self.name)));
        files.write_to(&path)?;
        Ok((image, path))
    }

    /// The initramfs without a run's own files, and its name.
    fn initramfs(&self, environment: &Environment) -> Result<(Initramfs, String)> {
        let kernel = environment.kernel(self.kernel);
        let mut files = Initramfs::minimal(&environment.roots);
        let mut name = kernel.release.clone();
        if self.tools {
            files = files.tools(kernel);
        } else {
            name.push_str("-without-tools");
        }
        if self.driver {
            let module = module_build::build(kernel)?.module;
            files = files.file("root/my_rng.ko", &module);
            files = files.file("usr/bin/my-rng-tester", &cargo_build::tester()?);
        } else {
            name.push_str("-without-driver");
        }
        if self.kernel_image {
            files = files.file("boot/vmlinuz", &image(kernel)?);
            name.push_str("-with-kernel");
        }
        Ok((files, name))
    }
}

fn image(kernel: &Kernel) -> Result<PathBuf> {
    kernel.image.clone().context("a chosen kernel has an image")
}
