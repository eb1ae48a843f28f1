//! The package of the server under a real systemd: a Debian system in a guest installs it and runs
//! the configured server.

use std::path::PathBuf;

use lab::{Guest, RunDir, system};

use crate::say;

/// The environment variable that names the package.
const PACKAGE: &str = "MY_RNG_DEB";

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
    guest.run("dpkg --force-depends -i /root/*.deb 2>&1").expect("it installs");
    let version = guest.run("my-rng-server --version").expect("it runs");
    assert!(version.contains('('), "no commit in {version}");

    configured_service(&mut guest);
}

/// my-rng-server.service: started, reloaded, killed.
fn configured_service(guest: &mut Guest) {
    const UNIT: &str = "my-rng-server.service";
    say("the configured server starts and says that it is ready");
    configure(guest, &configuration(&["web1"]));
    guest.run(&format!("systemctl enable --now {UNIT} 2>&1")).expect("it gets ready");
    assert_eq!(property(guest, UNIT, "ActiveState"), "active");
    answers(guest, "/run/my-rng-server/web1.sock");
    let user = guest.run("stat -c %U /proc/$(pidof my-rng-server)").expect("it runs");
    assert_ne!(user.trim(), "root");

    say("a reload adds a guest, and a wrong file changes nothing");
    let pid = property(guest, UNIT, "MainPID");
    configure(guest, &configuration(&["web1", "web2"]));
    guest.run(&format!("systemctl reload {UNIT}")).expect("it reloads");
    guest.run_until("test -S /run/my-rng-server/web2.sock").expect("the new guest's socket comes");
    answers(guest, "/run/my-rng-server/web2.sock");
    configure(guest, "[[guest]]\nname = 1\n");
    let refused = guest.try_run(&format!("systemctl reload {UNIT} 2>&1")).expect("it answers");
    assert_ne!(refused.status, 0, "{}", refused.text);
    answers(guest, "/run/my-rng-server/web2.sock");
    assert_eq!(property(guest, UNIT, "MainPID"), pid);
    configure(guest, &configuration(&["web1"]));

    say("a killed server is started again");
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
