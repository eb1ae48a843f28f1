//! Without options: shows the device at work, step by step.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Guest, RunDir, Server, progress};

/// How long the tester may take.
const TESTER: Duration = Duration::from_secs(300);

/// Runs the demonstration; true when all of it worked.
pub fn run() -> Result<bool> {
    let kernel = crate::prepare()?;
    let run = RunDir::create("demonstration")?;
    let generator = crate::generator()?;
    let server = Server::start(&run, "my-rng", &["--generator", generator, "-v"])?;
    let wait = progress::Wait::new("booting the guest");
    let mut guest = Guest::builder(&run).kernel(kernel).default_devices().attach(&server).boot()?;
    wait.done("the guest is up");

    let address = address(&mut guest)?;
    let base = base(&mut guest, &address)?;
    let seed = base + 4;
    let mut worked = true;
    for (what, command) in [
        ("The guest's kernel", "uname -sr".to_owned()),
        ("The device, as the guest sees it", format!("lspci -v -s {address}")),
        ("Register RANDOM: a new number for every read", format!("devmem {base:#x} 32")),
        ("", format!("devmem {base:#x} 32")),
        (
            "Register SEED: after the same seed come the same numbers",
            format!("devmem {seed:#x} 32 42"),
        ),
        ("", format!("devmem {base:#x} 32")),
        ("", format!("devmem {seed:#x} 32 42")),
        ("", format!("devmem {base:#x} 32")),
        ("The kernel module", "insmod my_rng.ko && dmesg | grep my_rng".to_owned()),
        ("", "ls -l /dev/my_rng_driver".to_owned()),
        ("The tester", format!("my-rng-tester --generator {generator}")),
    ] {
        if !what.is_empty() {
            println!("\n# {what}");
        }
        println!("guest$ {command}");
        let output = guest.try_run_for(&command, TESTER)?;
        print!("{}", output.text);
        if output.status != 0 {
            println!("(exit status {})", output.status);
            worked = false;
        }
    }
    println!();
    let logs = run.path().display();
    progress::say(&if worked {
        format!("everything worked; logs are in {logs}")
    } else {
        format!("NOT everything worked; logs are in {logs}")
    });
    Ok(worked)
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
