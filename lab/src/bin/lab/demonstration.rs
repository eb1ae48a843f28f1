//! Without options: shows the device at work, step by step.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Guest, RunDir, Server, progress, variables};

/// How long the tester may take.
const TESTER: Duration = Duration::from_secs(300);

/// The tester's checks that take a moment; all of them take half a minute in an emulated guest.
const CHECKS: &str = "identity,registers,ioctls,seeding,errors,hwrng";

/// Runs the demonstration; true when all of it worked.
pub fn run(record: Option<PathBuf>) -> Result<bool> {
    let kernel = crate::prepare()?;
    let run = RunDir::create("demonstration")?;
    let generator = variables::generator()?;
    let mut options = vec!["--generator", generator, "-v"];
    if let Some(file) = &record {
        options.extend(["--record", file.to_str().context("--record: a path in UTF-8 is needed")?]);
    }
    let server = Server::start(&run, "my-rng", &options)?;
    let wait = progress::Wait::new("booting the guest");
    let guest = Guest::builder(&run).kernel(kernel).default_devices().attach(&server).boot()?;
    wait.done("the guest is up");

    let mut show = Show { guest, worked: true };
    show.device(generator)?;
    println!();
    let worked = show.worked;
    drop(show);
    // So that the recording has its end.
    server.stop()?;
    let logs = run.path().display();
    progress::say(&if worked {
        format!("everything worked; logs are in {logs}")
    } else {
        format!("NOT everything worked; logs are in {logs}")
    });
    Ok(worked)
}

/// Commands in a guest, shown with what they print.
struct Show<'run> {
    guest: Guest<'run>,
    worked: bool,
}

impl Show<'_> {
    fn device(&mut self, generator: &str) -> Result<()> {
        let address = address(&mut self.guest)?;
        let base = base(&mut self.guest, &address)?;
        let read = format!("devmem {base:#x} 32");
        let seed = format!("devmem {:#x} 32 42", base + 4);

        title("The guest's kernel");
        self.run("uname -sr")?;
        title("The device, as the guest sees it");
        let listed = self.run(&format!("lspci -v -s {address}"))?;
        for words in ["Device 1234:cafe (rev 10)", &format!("Memory at {base:x} (32-bit")] {
            self.check(listed.contains(words), &format!("lspci does not show {words:?}"));
        }
        title("Register RANDOM: a new number for every read");
        let (first, second) = (self.run(&read)?, self.run(&read)?);
        self.check(first != second, "the same number twice");
        title("Register SEED: after the same seed come the same numbers");
        self.run(&seed)?;
        let first = self.run(&read)?;
        self.run(&seed)?;
        let second = self.run(&read)?;
        self.check(first == second, "another number after the same seed");
        title("The kernel module");
        self.run("insmod my_rng.ko && dmesg | grep my_rng")?;
        self.run("ls -l /dev/my_rng_driver")?;
        title("The tester, without its slow checks");
        self.run(&format!("my-rng-tester --strict --only {CHECKS} --generator {generator}"))?;
        Ok(())
    }

    /// Runs a command, which has to succeed, and returns what it printed.
    fn run(&mut self, command: &str) -> Result<String> {
        println!("guest$ {command}");
        let output = self.guest.try_run_for(command, TESTER)?;
        print!("{}", output.text);
        self.check(output.status == 0, &format!("exit status {}", output.status));
        Ok(output.text)
    }

    fn check(&mut self, fine: bool, complaint: &str) {
        if !fine {
            println!("(NOT as it should be: {complaint})");
            self.worked = false;
        }
    }
}

fn title(what: &str) {
    println!("\n# {what}");
}

/// Where the device is on the guest's PCI bus.
pub fn address(guest: &mut Guest) -> Result<String> {
    let list = guest.run("lspci -d 1234:cafe")?;
    let Some((address, _)) = list.split_once(' ') else {
        bail!("the guest has no device 1234:cafe; its devices are:\n{}", guest.run("lspci -n")?);
    };
    Ok(address.to_owned())
}

/// Where the device's registers are in the guest's memory.
pub fn base(guest: &mut Guest, address: &str) -> Result<u64> {
    let resources = guest.run(&format!("cat /sys/bus/pci/devices/0000:{address}/resource"))?;
    resources
        .split_whitespace()
        .next()
        .and_then(|start| u64::from_str_radix(start.trim_start_matches("0x"), 16).ok())
        .filter(|start| *start != 0)
        .with_context(|| format!("the device at {address} has no registers in memory: {resources}"))
}
