//! A guest: QEMU with a kernel, our files, and devices.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::agent::{Agent, Output};
use crate::initramfs::Initramfs;
use crate::kernel::Choice;
use crate::process::{self, Child};
use crate::qemu::{Machine, Qemu};
use crate::qmp::Qmp;
use crate::run_dir::RunDir;
use crate::server::Server;
use crate::slots::Slot;
use crate::world::{self, World};
use crate::{cargo_build, module_build};

/// How long a guest may take to boot. Emulated on a loaded machine it can take many times the
/// usual five seconds.
const BOOT: Duration = Duration::from_secs(180);
/// How long a command may take, unless the test says otherwise.
const COMMAND: Duration = Duration::from_secs(60);
/// How long QEMU may take to connect to us, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a file goes into one command, in bytes.
const COPIED_AT_ONCE: usize = 16 << 10;

/// The kernel's command line. After a panic it restarts at once, which is noticed; with
/// `iomem=relaxed`, devmem reaches a device's registers also when a driver has them.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 iomem=relaxed";

/// What a guest is to be like.
#[derive(Debug)]
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
    machine: Machine,
}

impl<'run> Builder<'run> {
    /// The guest's name in the run, when there are several.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The QEMU it runs on, instead of the lab's usual one.
    #[must_use]
    pub fn qemu(mut self, qemu: &Qemu) -> Self {
        self.qemu = Some(qemu.clone());
        self
    }

    /// The kernel it boots.
    #[must_use]
    pub fn kernel(mut self, choice: Choice) -> Self {
        self.kernel = choice;
        self
    }

    /// Without anything to boot: QEMU's firmware is all that runs.
    #[must_use]
    pub fn nothing_to_boot(mut self) -> Self {
        self.boot = false;
        self
    }

    /// Without our kernel module and tester.
    #[must_use]
    pub fn without_driver(mut self) -> Self {
        self.driver = false;
        self
    }

    /// With its kernel's image in `/boot/vmlinuz`, to start it from inside.
    #[must_use]
    pub fn kernel_image(mut self) -> Self {
        self.kernel_image = true;
        self
    }

    /// Without lspci and its like: it boots faster.
    #[must_use]
    pub fn without_tools(mut self) -> Self {
        self.tools = false;
        self
    }

    /// With a file of the host.
    #[must_use]
    pub fn file(mut self, in_guest: &str, on_host: &Path) -> Self {
        self.files.push((in_guest.to_owned(), on_host.to_path_buf()));
        self
    }

    /// With the console on a socket, for a person ([`Guest::console`]).
    #[must_use]
    pub fn console(mut self) -> Self {
        self.console = true;
        self
    }

    /// More words for the kernel's command line.
    #[must_use]
    pub fn append(mut self, words: &str) -> Self {
        self.append.push(' ');
        self.append.push_str(words);
        self
    }

    /// QEMU's machine type with options: `q35`, `pc,usb=off`.
    #[must_use]
    pub fn machine(mut self, machine: &str) -> Self {
        machine.clone_into(&mut self.machine.machine);
        self
    }

    /// With the devices QEMU adds by itself, its network card in particular.
    #[must_use]
    pub fn default_devices(mut self) -> Self {
        self.machine.default_devices = true;
        self
    }

    /// So many processors.
    #[must_use]
    pub fn processors(mut self, count: u8) -> Self {
        self.machine.processors = count;
        self
    }

    /// So much memory.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.machine.memory = mebibytes;
        self
    }

    /// Memory that servers cannot map.
    #[must_use]
    pub fn private_memory(mut self) -> Self {
        self.machine.shared = false;
        self
    }

    /// Processors that wait for QMP's `cont`.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.machine.paused = true;
        self
    }

    /// With the device of a server.
    #[must_use]
    pub fn attach(self, server: &Server) -> Self {
        let device = server.device().to_string();
        self.arguments(&["-device", &device])
    }

    /// More arguments for QEMU.
    #[must_use]
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
        let world = world::get()?;
        let slot = self.run.slot();
        let mut command = self.qemu.as_ref().unwrap_or(&world.qemu).command();
        command.args(world.accel.arguments());
        command.args(["-name", &self.name]).args(self.machine.arguments());
        let file = |what: &str| format!("{}{what}", prefix(&self.name));
        let console = if self.console {
            format!("socket,id=console,path={},server=on,wait=off", file("console.sock"))
        } else {
            "null,id=console".to_owned()
        };
        let console = format!("{console},logfile={}", file("console.log"));
        command.args(["-chardev", &console, "-serial", "chardev:console"]);
        command.args(["-chardev", &format!("socket,id=agent,path={}", file("agent.sock"))]);
        command.args(["-serial", "chardev:agent"]);
        command.args(["-qmp", &format!("unix:{}", file("qmp.sock"))]);
        if self.boot {
            let (kernel, initramfs) = self.boot_files(world)?;
            command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
            command.args(["-append", &format!("{KERNEL_ARGUMENTS}{}", self.append)]);
        }
        let log = file("qemu.log");
        command.current_dir(self.run.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.run.file(&log)?);

        let agent = self.run.listen(&file("agent.sock"))?;
        let qmp = self.run.listen(&file("qmp.sock"))?;
        let mut child = Child::spawn("QEMU", &mut command)?;
        let mut connected = |listener: &UnixListener| {
            accept(listener, &mut child)
                .and_then(|stream| stream.context("QEMU ended"))
                .with_context(|| self.run.tail(&log))
        };
        let agent = Agent::new(connected(&agent)?);
        let qmp = connected(&qmp).and_then(|stream| {
            // A device that QEMU cannot make ends it before it greets.
            Qmp::new(stream).with_context(|| self.run.tail(&log))
        })?;
        Ok(Guest { run: self.run, name: self.name, child, agent, qmp, _slot: slot })
    }

    /// The kernel's image and the initramfs.
    fn boot_files(&self, world: &World) -> Result<(PathBuf, PathBuf)> {
        let kernel = world.kernel(self.kernel);
        let image = kernel.image.clone().context("a chosen kernel has an image")?;
        let mut files = Initramfs::minimal(&world.guest_root);
        let mut name = kernel.release.clone();
        if self.tools {
            files = files.tools().modules_of(kernel);
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
            files = files.file("boot/vmlinuz", &image);
            name.push_str("-with-kernel");
        }
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
}

/// How the files of a guest begin: those of a run's only guest have plain names.
fn prefix(name: &str) -> String {
    if name == ONLY { String::new() } else { format!("{name}-") }
}

/// The name of a guest that is alone in its run.
const ONLY: &str = "guest";

/// Accepts the connection of a process; nothing when the process ended first.
fn accept(listener: &UnixListener, child: &mut Child) -> Result<Option<UnixStream>> {
    listener.set_nonblocking(true).context("cannot set up a socket")?;
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("cannot set up a socket")?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot accept QEMU's connection"),
        }
        if child.ended()?.is_some() {
            return Ok(None);
        }
        if begun.elapsed() > PATIENCE {
            bail!("QEMU did not connect to the lab in {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(process::POLL);
    }
}

/// A running guest; it ends when the value goes.
#[derive(Debug)]
pub struct Guest<'run> {
    run: &'run RunDir,
    name: String,
    child: Child,
    agent: Agent,
    qmp: Qmp,
    /// Given back when QEMU is gone: fields go in their order.
    _slot: Arc<Slot>,
}

impl<'run> Guest<'run> {
    /// Describes a guest: on a `pc` machine without default devices, with shared memory.
    #[must_use]
    pub fn builder(run: &'run RunDir) -> Builder<'run> {
        Builder {
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
            machine: Machine::default(),
        }
    }

    /// Waits until the guest takes commands, after its start or a restart.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        self.agent.ready(deadline).with_context(|| {
            format!(
                "the guest did not boot; {}\n{}",
                self.run.tail(&format!("{}console.log", prefix(&self.name))),
                self.run.tail(&format!("{}qemu.log", prefix(&self.name)))
            )
        })
    }

    /// Runs a shell command in the guest, whatever its exit status.
    pub fn try_run(&mut self, command: &str) -> Result<Output> {
        self.try_run_for(command, COMMAND)
    }

    /// Runs a shell command in the guest that may take so long.
    pub fn try_run_for(&mut self, command: &str, timeout: Duration) -> Result<Output> {
        let console = format!("{}console.log", prefix(&self.name));
        self.agent.run(command, timeout).with_context(|| self.run.tail(&console))
    }

    /// Runs a shell command in the guest that has to succeed, and returns what it printed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let output = self.try_run(command)?;
        if output.status != 0 {
            bail!("in the guest, `{command}` ended with {}:\n{}", output.status, output.text);
        }
        Ok(output.text)
    }

    /// Runs a shell command in the guest until it succeeds, and returns what it printed then.
    pub fn run_until(&mut self, command: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let output = self.try_run(command)?;
            if output.status == 0 {
                return Ok(output.text);
            }
            if begun.elapsed() > COMMAND {
                bail!(
                    "in the guest, `{command}` still ends with {} after {} s:\n{}",
                    output.status,
                    COMMAND.as_secs(),
                    output.text
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Copies a file of the host into the guest.
    pub fn copy_in(&mut self, file: &Path, in_guest: &str) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        self.run(&format!(": >'{in_guest}'"))?;
        for part in bytes.chunks(COPIED_AT_ONCE) {
            let part = BASE64_STANDARD.encode(part);
            self.run(&format!("echo {part} | base64 -d >>'{in_guest}'"))?;
        }
        Ok(())
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The QMP connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Plugs a server's device in.
    pub fn plug(&mut self, server: &Server) -> Result<()> {
        self.qmp.execute("device_add", &server.device())?;
        Ok(())
    }

    /// Unplugs a device and waits until the guest has let it go.
    pub fn unplug(&mut self, device: &str) -> Result<Value> {
        self.qmp.execute("device_del", &json!({"id": device}))?;
        self.qmp.event("DEVICE_DELETED", Some(device), PATIENCE)
    }

    /// Presses the reset button and waits until the guest has booted again.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp.execute("system_reset", &json!({}))?;
        self.wait_until_ready()
    }

    /// Connects to the console.
    pub fn console(&self) -> Result<UnixStream> {
        self.run.connect(&format!("{}console.sock", prefix(&self.name)))
    }

    /// What QEMU itself complained about.
    #[must_use]
    pub fn qemu_log(&self) -> String {
        self.run.read(&format!("{}qemu.log", prefix(&self.name)))
    }

    /// Whether QEMU still runs.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    /// Waits until QEMU has ended.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        self.child.wait(PATIENCE)
    }

    /// Ends QEMU at once, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()
    }
}
