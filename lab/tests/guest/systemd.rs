//! The package of the server under a real systemd: a Debian system in a guest installs it and runs
//! the configured server.

use std::path::PathBuf;

use lab::{Guest, RunDir};

use crate::say;

mod system;

/// The environment variable that names the package.
const PACKAGE: &str = "MY_RNG_DEB";

/// Debian's own, not the agent's shell's.
const DPKG: &str = "/usr/bin/dpkg --force-depends";

/// A configuration with guests of these names.
fn configuration(guests: &[&str]) -> String {
    guests.iter().fold(String::new(), |text, name| {
        format!("{text}[[guest]]\nname = \"{name}\"\nsocket = \"/run/my-rng-server/{name}.sock\"\n")
    })
}

fn configure(guest: &mut Guest, text: &str) {
    guest.run(&format!("cat >/etc/my-rng-server.toml <<'END'\n{text}END")).expect("writable");
}

/// A property of a unit.
fn property(guest: &mut Guest, unit: &str, name: &str) -> String {
    let said = guest.run(&format!("systemctl show --value --property {name} {unit}"));
    said.expect("systemd knows the unit").trim().to_owned()
}

/// A command on a unit that shows the journal when it fails.
fn logged(unit: &str, command: &str) -> String {
    format!("{command} || ! journalctl --no-pager -u {unit}")
}

fn answers(guest: &mut Guest, socket: &str) {
    guest.run(&format!("my-rng-server probe {socket}")).expect("the device answers");
}

#[test]
#[ignore = "takes a package, which scripts/soak.sh packages makes"]
fn the_package_serves_under_systemd() {
    let package = std::env::var_os(PACKAGE).map(PathBuf::from);
    let package = package.unwrap_or_else(|| panic!("{PACKAGE} names no package"));
    let run = RunDir::create("systemd").expect("a folder can be made");
    let mut guest = system::boot(&run, &[&package]).expect("systemd boots");
    assert_eq!(guest.run("cat /proc/1/comm").expect("it runs").trim(), "systemd");

    say("installing");
    // The system's own packages are unpacked only, so dpkg misses them.
    guest.run(&format!("{DPKG} -i /root/*.deb 2>&1")).expect("it installs");
    let version = guest.run("my-rng-server --version").expect("it runs");
    assert!(version.contains('('), "no commit in {version}");

    configured_service(&mut guest);
    service_of_one_socket(&mut guest);
    purged(&mut guest);
}

/// my-rng-server.service: started, reloaded, killed.
fn configured_service(guest: &mut Guest) {
    const UNIT: &str = "my-rng-server.service";
    say("the configured server starts and says that it is ready");
    configure(guest, &configuration(&["web1"]));
    let start = format!("systemctl enable --now {UNIT} 2>&1");
    guest.run(&logged(UNIT, &start)).expect("it gets ready");
    assert_eq!(property(guest, UNIT, "ActiveState"), "active");
    answers(guest, "/run/my-rng-server/web1.sock");
    let pid = property(guest, UNIT, "MainPID");
    let user = guest.run(&format!("stat -c %U /proc/{pid}")).expect("it runs");
    assert_ne!(user.trim(), "root");

    say("a reload adds a guest, and a wrong file changes nothing");
    configure(guest, &configuration(&["web1", "web2"]));
    let reads = "my-rng-server probe /run/my-rng-server/web1.sock time 20000";
    let connected = "grep -q ' 03 *[0-9]* /run/my-rng-server/web1.sock' /proc/net/unix";
    // Stopped once it is connected: however fast the guest is, it goes on behind the reload.
    guest
        .run(&format!(
            "({reads}; echo $? >ended) >reads 2>&1 & until {connected}; do :; done
            pkill -STOP -f probe"
        ))
        .expect("a client begins to read");
    guest.run(&logged(UNIT, &format!("systemctl reload {UNIT}"))).expect("it reloads");
    guest.run_until("test -S /run/my-rng-server/web2.sock").expect("the new guest's socket comes");
    answers(guest, "/run/my-rng-server/web2.sock");
    guest.run("pkill -CONT -f probe").expect("the client is there");
    guest.run_until("test -s ended").expect("the client ends");
    assert_eq!(guest.run("cat ended").expect("it was written"), "0\n");
    // Another process has taken the first one's place.
    let (before, pid) = (pid, property(guest, UNIT, "MainPID"));
    assert_ne!(pid, before);
    configure(guest, "[[guest]]\nname = 1\n");
    let refused = guest.try_run(&format!("systemctl reload {UNIT} 2>&1")).expect("it answers");
    assert_ne!(refused.status, 0, "{}", refused.text);
    answers(guest, "/run/my-rng-server/web2.sock");
    assert_eq!(property(guest, UNIT, "MainPID"), pid);
    configure(guest, &configuration(&["web1"]));

    say("a killed daemon is started again by its keeper, a killed keeper by systemd");
    guest.run(&format!("kill -KILL $(pgrep -P {pid})")).expect("root may");
    guest.run_until(&format!("pgrep -P {pid}")).expect("the keeper starts it again");
    answers(guest, "/run/my-rng-server/web1.sock");
    assert_eq!(property(guest, UNIT, "NRestarts"), "0");
    guest.run(&format!("kill -KILL {pid}")).expect("root may");
    guest
        .run_until(&format!("test $(systemctl show --value --property NRestarts {UNIT}) = 1"))
        .expect("systemd starts it again");
    guest.run_until(&format!("systemctl is-active {UNIT}")).expect("it gets ready");
    answers(guest, "/run/my-rng-server/web1.sock");
    let journal = guest.run(&format!("journalctl --no-pager -u {UNIT}")).expect("it has a journal");
    assert!(journal.contains("my-rng-server["), "{journal}");
    assert!(journal.contains("status=9/KILL"), "{journal}");
}

/// my-rng-server@NAME.socket: the first client starts the service.
fn service_of_one_socket(guest: &mut Guest) {
    const SOCKET: &str = "/run/my-rng-server@vm1.sock";
    const UNIT: &str = "my-rng-server@vm1.service";
    say("a client of a socket starts its service, with the options of its file");
    guest.run("echo 'OPTIONS=--device my-rng' >/etc/my-rng-server/vm1.conf").expect("writable");
    guest.run("systemctl enable --now my-rng-server@vm1.socket 2>&1").expect("it listens");
    assert_eq!(property(guest, UNIT, "ActiveState"), "inactive");
    let seen = guest.run(&format!("my-rng-server probe {SOCKET}")).expect("the device answers");
    assert!(seen.contains("1234:cafe"), "{seen}");
    assert_eq!(property(guest, UNIT, "ActiveState"), "active");
    guest.run(&logged(UNIT, &format!("systemctl reload {UNIT}"))).expect("a new process comes");
    answers(guest, SOCKET);
    guest.run(&format!("systemctl restart {UNIT}")).expect("it starts again");
    answers(guest, SOCKET);
}

/// Nothing is left of the package and what its units made.
fn purged(guest: &mut Guest) {
    say("purging");
    guest.run(&format!("{DPKG} --purge my-rng-server 2>&1")).expect("it can be purged");
    let left = guest
        .run("find /etc /usr /var /run -xdev -name '*my-rng-server*' -not -path '/var/lib/dpkg/*'");
    assert_eq!(left.expect("all can be read"), "");
    assert!(guest.try_run("getent group my-rng-clients").expect("it answers").status != 0);
    let units = guest.run("systemctl list-units --all --plain --no-legend 'my-rng-server*'");
    assert_eq!(units.expect("systemd answers"), "");
}
