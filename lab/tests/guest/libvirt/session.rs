//! A user who runs guests with libvirt: `virsh` in a session of their own, and our server.
//!
//! libvirt comes from Debian packages in a private root and runs in the lab's sandbox
//! ([`lab::sandbox`]), as an ordinary user without a network and without `/dev/kvm`. All that the
//! user sees of the run's folder is [`HOME`]; the server runs behind a sandbox of its own, with the
//! libraries that it was built for, as the same user and with the same folder.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use lab::agent::Agent;
use lab::initramfs::Initramfs;
use lab::process::{self, Child};
use lab::sandbox::{End, Limits, Outcome, Sandbox};
use lab::slots::Slot;
use lab::{Choice, RunDir, cargo_build, environment, files, packages};

/// The run's folder, as the user sees it: the place of their files and sockets.
pub const HOME: &str = "/run/lab";
/// The kernel that a domain can boot.
pub const KERNEL: &str = "/boot/vmlinuz";
/// The initramfs that goes with it. Its agent talks on the second serial port.
pub const INITRAMFS: &str = "/boot/initramfs.cpio";
/// The socket in [`HOME`] at which the lab waits for a guest's agent.
pub const AGENT: &str = "agent.sock";

/// Where our server is for the user.
const SERVER: &str = "/opt/my-rng-server";
/// What libvirt and the guests may use. A guest's memory is a file, so it counts as disk.
const LIMITS: Limits = Limits { processes: 512, ..Limits::BUILD };
/// How long a daemon may take to its socket, and a guest to its agent, on a loaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const BOOT: Duration = Duration::from_secs(180);

/// The session; libvirt, its guests and our server end when the value goes.
#[derive(Debug)]
pub struct Session<'run> {
    run: &'run RunDir,
    programs: Sandbox,
    server: Sandbox,
    servers: Vec<Child>,
    _libvirtd: Child,
    /// Given back when the guests are gone: fields go in their order.
    _slot: std::sync::Arc<Slot>,
}

impl<'run> Session<'run> {
    /// Starts libvirt for a user whose home is the run's folder.
    pub fn start(run: &'run RunDir) -> Result<Self> {
        let environment = environment::get()?;
        let root = packages::libvirt().get()?;
        let slot = run.slot();
        let home = Path::new(HOME);
        let user = Sandbox::empty(LIMITS)?
            .writable(run.path(), home)
            .folder(home)
            .environment("XDG_RUNTIME_DIR", HOME)
            .environment("XDG_CONFIG_HOME", HOME)
            .environment("XDG_CACHE_HOME", HOME);
        let server = user
            .clone()
            .programs_of(Path::new("/"))
            .shows(&cargo_build::server()?, Path::new(SERVER));
        let kernel = environment.kernel(Choice::V6_12);
        let image = kernel.image.as_deref().context("a chosen kernel has an image")?;
        let files = Initramfs::minimal(&environment.roots).tools(kernel);
        let initramfs = files.write(&format!("{}-without-driver", kernel.release))?;
        let programs = user
            .programs_of(&root)
            .shows(image, Path::new(KERNEL))
            .shows(&initramfs, Path::new(INITRAMFS))
            // libvirt wants to know the processors...
            .shows(Path::new("/sys/devices/system"), Path::new("/sys/devices/system"))
            .environment("LIBVIRT_DEFAULT_URI", "qemu:///session")
            .environment("LIBVIRT_AUTOSTART", "0");
        // ...and its user's name.
        let programs = name_user(run, programs)?;
        settings(run)?;
        let libvirtd = start_libvirtd(run, &programs)?;
        Ok(Self { run, programs, server, servers: Vec::new(), _libvirtd: libvirtd, _slot: slot })
    }

    /// Runs a line of shell commands, as typed: our program is there when the line begins with its
    /// name, libvirt's are there otherwise. A line that ends with `&` has to start our server.
    /// Returns what was printed.
    pub fn run(&mut self, line: &str) -> Result<String> {
        if let Some(line) = line.strip_suffix('&') {
            self.start_server(line)?;
            return Ok(String::new());
        }
        let outcome = self.try_run(line)?;
        if !outcome.end.success() {
            bail!("`{line}` {}:\n{}", outcome.end.describe(), outcome.text().trim_end());
        }
        Ok(outcome.text())
    }

    /// Runs a line, whatever its exit status.
    pub fn try_run(&self, line: &str) -> Result<Outcome> {
        let ours = line.trim_start().starts_with("my-rng-server ");
        let sandbox = if ours { &self.server } else { &self.programs };
        let outcome = sandbox.run("/busybox", &["sh", "-c", &with_server(line)])?;
        match outcome.end {
            End::Ended(_) => Ok(outcome),
            end => bail!("`{line}` {}", end.describe()),
        }
    }

    /// Starts our server, and waits until it serves.
    fn start_server(&mut self, line: &str) -> Result<()> {
        let line = format!("exec {} --ready-fd 1", with_server(line.trim()));
        let mut command = self.server.command("/busybox")?;
        command.args(["sh", "-c", &line]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.run.file("server.log")?);
        let mut child = Child::spawn("my-rng-server", &mut command)?;
        let mut ready = child.take_stdout().context("its standard output is a pipe")?;
        // It closes the pipe when it ends, so this ends too.
        if std::io::Read::read(&mut ready, &mut [0]).unwrap_or(0) == 0 {
            bail!("the server did not start; {}", self.run.tail("server.log"));
        }
        self.servers.push(child);
        Ok(())
    }

    /// Starts a domain, and waits until its guest takes commands. Its second serial port has to
    /// connect to [`AGENT`].
    pub fn start_domain(&mut self, command: &str) -> Result<Agent> {
        let listener = self.run.listen(AGENT)?;
        self.run(command)?;
        listener.set_nonblocking(true).context("cannot set up a socket")?;
        let accepted = || Ok(listener.accept().ok().map(|(stream, _)| stream));
        let stream = process::wait_for(WAIT_TIMEOUT, accepted)?.with_context(|| {
            format!("QEMU did not connect to the lab in {} s", WAIT_TIMEOUT.as_secs())
        })?;
        stream.set_nonblocking(false).context("cannot set up a socket")?;
        let mut agent = Agent::new(stream);
        agent.ready(Instant::now() + BOOT).context("the guest did not boot")?;
        Ok(agent)
    }
}

/// Our program by its path: the folder it is in is not among those of programs.
fn with_server(line: &str) -> String {
    match line.trim_start().strip_prefix("my-rng-server ") {
        Some(rest) => format!("{SERVER} {rest}"),
        None => line.to_owned(),
    }
}

/// Settings of libvirt: the sandbox allows no core dumps, and libvirt would ask for it.
fn settings(run: &RunDir) -> Result<()> {
    let folder = run.path().join("libvirt");
    files::create_folder(&folder)?;
    let path = folder.join("qemu.conf");
    files::write(&path, "max_core = 0\n")
}

/// Gives the user a name.
fn name_user(run: &RunDir, sandbox: Sandbox) -> Result<Sandbox> {
    let user = sandbox.user();
    let files = [
        ("passwd", format!("lab:x:{user}:{user}::{HOME}:/bin/sh\n")),
        ("group", format!("lab:x:{user}:\n")),
    ];
    files.into_iter().try_fold(sandbox, |sandbox, (name, text)| {
        let path = run.path().join(name);
        files::write(&path, text)?;
        Ok(sandbox.shows(&path, &Path::new("/etc").join(name)))
    })
}

fn start_libvirtd(run: &RunDir, programs: &Sandbox) -> Result<Child> {
    let log = run.file("libvirtd.log")?;
    let mut command = programs.command("/usr/sbin/libvirtd")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = Child::spawn("libvirtd", &mut command)?;
    let connected = process::wait_for(WAIT_TIMEOUT, || {
        if let Some(status) = child.ended()? {
            bail!("it ended with {}", process::describe(status));
        }
        Ok(run.connect("libvirt/libvirt-sock").ok())
    })
    .and_then(|connected| {
        connected.with_context(|| format!("nothing happened in {} s", WAIT_TIMEOUT.as_secs()))
    });
    connected.with_context(|| format!("libvirtd did not start; {}", run.tail("libvirtd.log")))?;
    Ok(child)
}
