//! The table "What you use today" of `docs/virtio-rng.md`: both sides of every row run in one guest.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use lab::guest::Builder;
use lab::process::{self, Child};
use lab::{Guest, RunDir, cargo_build, qemu};

const PAGE: &str = include_str!("../docs/virtio-rng.md");
const HEADING: &str = "## What you use today";
/// The unit files that the row of systemd names.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/systemd");

/// A row of the table.
struct Row {
    number: usize,
    of: String,
    today: String,
    here: String,
}

#[test]
fn both_sides_of_every_row_give_random_numbers() {
    let rows = rows();
    assert!(rows.len() >= 7, "the table is there");
    let run = RunDir::create("today").expect("a run can be made");
    let egd = UnixListener::bind(run.path().join("egd")).expect("a socket can be made");
    std::thread::spawn(move || serve_entropy(&egd));
    let mut guest = Guest::builder(&run).without_driver();
    let mut devices = 0;
    let mut servers = Vec::new();
    for row in &rows {
        println!("test: {}: {} | {}", row.of, row.today, row.here);
        if row.of == "QEMU" {
            let words = row.qemus_words();
            guest = guest.arguments(&words.iter().map(String::as_str).collect::<Vec<_>>());
            devices += 1;
        }
        let (server, sockets) = row.start(&run);
        servers.push(server);
        for socket in &sockets {
            guest = attach(guest, row, devices, socket);
            devices += 1;
        }
    }
    println!("test: booting a guest with {devices} devices");
    let mut guest = guest.boot().expect("the guest boots");
    assert_all_deliver(&mut guest, devices);
    let log = guest.run("dmesg").expect("dmesg works");
    for complaint in ["WARNING:", "BUG:", "Oops", "Call Trace"] {
        assert!(!log.contains(complaint), "{complaint} in the guest's kernel log:\n{log}");
    }
}

/// Checks that each of the devices is behind `/dev/hwrng` when it is chosen, and gives bytes.
fn assert_all_deliver(guest: &mut Guest, devices: usize) {
    let names: Vec<String> = (0..devices).map(|number| format!("virtio_rng.{number}")).collect();
    let available =
        guest.run("cat /sys/class/misc/hw_random/rng_available").expect("the hwrng core is there");
    let mut found: Vec<&str> =
        available.split_whitespace().filter(|name| *name != "none").collect();
    found.sort_by_key(|name| (name.len(), *name));
    assert_eq!(found, names);
    for name in names {
        let text = guest
            .run(&format!(
                "echo {name} >/sys/class/misc/hw_random/rng_current
                 cat /sys/class/misc/hw_random/rng_current
                 dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c"
            ))
            .expect("it gives bytes");
        assert_eq!(text, format!("{name}\n64\n"));
    }
}

/// The table's rows.
fn rows() -> Vec<Row> {
    let (_, section) = PAGE.split_once(HEADING).expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let table = section.lines().filter(|line| line.starts_with('|')).skip(2);
    table
        .enumerate()
        .map(|(number, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [of, today, here] = cells[..] else { panic!("three columns in {line}") };
            // Everything happens in the run's folder, and not every host has a hardware generator.
            let local = |cell: &str| {
                cell.trim_matches('`')
                    .replace("/dev/hwrng", "/dev/urandom")
                    .replace("/run/my-rng-server/", "")
                    .replace("/some/path/", &format!("{number}-"))
                    .replace("/run/rng", &format!("{number}-rng"))
                    .replace("/run/", "")
            };
            Row { number, of: of.to_owned(), today: local(today), here: local(here) }
        })
        .collect()
}

impl Row {
    /// What QEMU is told today, with identifiers that no other row has.
    fn qemus_words(&self) -> Vec<String> {
        let own = |word: &str| {
            let ends = ["id=r", "rng=r", "id=c", "chardev=c"];
            let parts = word.split(',').map(|part| match ends.contains(&part) {
                true => format!("{part}{}", self.number),
                false => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join(",")
        };
        self.today.split_whitespace().map(own).collect()
    }

    /// Does what the right side says. Returns the daemon, and the sockets at which it listens.
    fn start(&self, run: &RunDir) -> (Child, Vec<String>) {
        let words: Vec<&str> = self.here.split_whitespace().collect();
        match words[..] {
            ["my-rng-server", "libvirt", file] => self.start_for_libvirt(run, file),
            ["my-rng-server", ..] => {
                let at = words.iter().position(|word| ["-s", "--socket-path"].contains(word));
                let path = match at {
                    Some(at) => words[at + 1],
                    None => {
                        words.iter().find_map(|word| word.strip_prefix("--socket-path=")).unwrap()
                    }
                };
                let count = words.iter().position(|word| *word == "-c");
                let sockets = match count.map(|at| words[at + 1].parse::<usize>().unwrap()) {
                    None => vec![path.to_owned()],
                    Some(count) => (0..count).map(|number| format!("{path}{number}")).collect(),
                };
                (launch(run, &mut server(&words[1..])), sockets)
            }
            ["systemctl", "enable", "--now", unit] => start_as_systemd(run, unit),
            _ => panic!("unknown command in the table: {}", self.here),
        }
    }

    fn start_for_libvirt(&self, run: &RunDir, file: &str) -> (Child, Vec<String>) {
        let folder = run.path().canonicalize().expect("the run has a folder");
        let domain = format!(
            "<domain type='qemu'><name>web1</name><memory>131072</memory>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices>{}</devices></domain>",
            self.today
        );
        fs::write(folder.join(file), domain).expect("a file can be written");
        let converted = server(&["libvirt", file, "--socket-dir"])
            .arg(".")
            .current_dir(&folder)
            .stdout(Stdio::null())
            .status()
            .expect("it can be run");
        assert!(converted.success());
        let configuration = fs::read_to_string(folder.join("web1.toml")).expect("it was written");
        let socket = configuration.lines().find_map(|line| line.strip_prefix("socket = "));
        let socket = socket.expect("a socket is named").trim_matches('"').to_owned();
        for limit in ["max-bytes = 123", "period = 1234"] {
            assert!(configuration.contains(limit), "{configuration}");
        }
        (launch(run, &mut server(&["--config", "web1.toml"])), vec![socket])
    }
}

/// Starts an instance of our service as systemd does it: with the socket of the one unit and the
/// options of the other.
fn start_as_systemd(run: &RunDir, unit: &str) -> (Child, Vec<String>) {
    let instance =
        unit.strip_prefix("my-rng-server@").and_then(|rest| rest.strip_suffix(".socket"));
    let instance = instance.expect("an instance of our unit");
    let value = |unit: &str, key: &str| {
        let text = fs::read_to_string(Path::new(UNITS).join(unit)).expect("the unit is there");
        let value = text.lines().find_map(|line| line.strip_prefix(key)).expect("it has the key");
        value.replace("%i", instance).trim_matches('"').to_owned()
    };
    let path = value("my-rng-server@.socket", "ListenStream=").replace("/run/my-rng-server@", "");
    let options = value("my-rng-server@.service", "Environment=\"OPTIONS=");
    let command = value("my-rng-server@.service", "ExecStart=/usr/bin/my-rng-server ");
    let binary = cargo_build::server().expect("the server can be built");
    let listener = UnixListener::bind(run.path().join(&path)).expect("a socket can be made");
    // Bash moves it to where systemd has the first one.
    let mut command = {
        let script = format!(
            "OPTIONS='{options}'; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={instance}
             exec {} {command} --ready-fd 4 3<&0 4>&1",
            binary.display()
        );
        let mut bash = process::tied("bash");
        bash.args(["-c", &script]).stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
        bash
    };
    (wait_until_ready(run, &mut command), vec![path])
}

/// The daemon with these arguments.
fn server(arguments: &[&str]) -> Command {
    let mut command = process::tied(cargo_build::server().expect("the server can be built"));
    command.args(arguments);
    command
}

fn launch(run: &RunDir, command: &mut Command) -> Child {
    command.args(["--ready-fd", "1"]).stdin(Stdio::null());
    wait_until_ready(run, command)
}

/// Starts a daemon in the run's folder and waits until it listens.
fn wait_until_ready(run: &RunDir, command: &mut Command) -> Child {
    command.current_dir(run.path()).stdout(Stdio::piped());
    let mut child = Child::spawn("my-rng-server", command).expect("it starts");
    let mut ready = child.take_stdout().expect("its standard output is a pipe");
    ready.read_exact(&mut [0]).expect("it listens");
    child
}

/// Attaches QEMU to a socket.
fn attach<'run>(guest: Builder<'run>, row: &Row, number: usize, socket: &str) -> Builder<'run> {
    if !row.here.contains("vhost-user") {
        let device = qemu::vfio_user_device(&format!("rng{number}"), socket);
        return guest.arguments(&["-device", &device.to_string()]);
    }
    let chardev = format!("socket,id=vhost{number},path={socket}");
    let device = format!("vhost-user-rng-pci,chardev=vhost{number}");
    guest.arguments(&["-chardev", &chardev, "-device", &device])
}

/// An entropy gathering daemon that only streams, to each client that connects.
fn serve_entropy(listener: &UnixListener) {
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut client = client;
            let mut request = [0; 2];
            // Command 2 and a number of bytes, which is answered with so many.
            while client.read_exact(&mut request).is_ok() {
                let mut bytes = vec![0; usize::from(request[1])];
                let urandom = fs::File::open("/dev/urandom");
                if urandom.and_then(|mut file| file.read_exact(&mut bytes)).is_err()
                    || client.write_all(&bytes).is_err()
                {
                    return;
                }
            }
        });
    }
}
