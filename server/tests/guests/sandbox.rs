//! The daemon's sandbox: what it says about it, and what a reload can and cannot do in it.

use std::fs;

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::Daemon;
use crate::in_sandbox::{assert_in_sandbox, of_threads, status};
use crate::reload::{guest, reload};

#[test]
fn it_is_on_by_default_in_every_thread_and_the_status_says_so() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let _client = daemon.client();
    assert_in_sandbox(&daemon, daemon.pid());
    assert!(status(&daemon, "table").contains("; sandbox on"));
    assert!(status(&daemon, "prometheus").contains("my_rng_server_sandbox{mode=\"on\"} 1"));
    assert!(of_threads(daemon.pid(), "NoNewPrivs:").iter().all(|(_, value)| value == "1"));
    let filters = of_threads(daemon.pid(), "Seccomp_filters:");
    let of = |name: &str| {
        let found = filters.iter().find(|(thread, _)| thread == name);
        found.map(|(_, count)| count.parse::<u32>().unwrap()).unwrap()
    };
    assert!(of("overseer") > of("my-rng-server"), "{filters:?}");
}

#[test]
fn it_can_be_left_out() {
    let daemon = Daemon::start(&["--control-socket", "control", "--sandbox", "off"]);
    assert!(status(&daemon, "table").contains("; sandbox off"));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Seccomp:")).unwrap().trim();
    assert!(of_threads(daemon.pid(), "Seccomp:").iter().all(|(_, mode)| mode == own));
}

#[test]
fn a_guest_in_another_folder_needs_a_restart_or_that_folder_named_before() {
    for (named, summary) in [(false, "0 started, 1 failed"), (true, "1 started, 0 failed")] {
        let other = tempfile::tempdir().unwrap();
        let path = other.path().to_str().unwrap();
        let options = ["--sandbox-folder", path];
        let daemon =
            Daemon::configured_with(&guest("a", ""), if named { &options[..] } else { &[] });
        let mut client = Client::negotiated(&daemon.file("a"));
        let elsewhere = guest("b", "").replace("FOLDER/b", &format!("{path}/b"));
        let text = guest("a", "") + &elsewhere;
        if !named && !has_landlock(&daemon) {
            eprintln!("SKIPPED: the kernel has no Landlock");
            continue;
        }
        reload(&daemon, &text, &format!("1 guests go on, 0 stopped, {summary}"));
        assert_eq!(daemon.log().contains("--sandbox-folder"), !named, "{}", daemon.log());
        client.assert_in_sync();
    }
}

fn has_landlock(daemon: &Daemon) -> bool {
    !daemon.log().contains("no Landlock")
}

#[test]
fn a_source_in_another_folder_needs_a_restart_and_nothing_changes() {
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("bytes"), [7; 100]).unwrap();
    let text =
        |source: &str| guest("a", &format!("device = \"virtio-rng\"\nsource = \"file:{source}\""));
    let daemon = Daemon::configured(&text("/dev/zero"));
    let mut client = Client::negotiated(&daemon.file("a"));
    if !has_landlock(&daemon) {
        eprintln!("SKIPPED: the kernel has no Landlock");
        return;
    }
    daemon.configure(&text(&other.path().join("bytes").display().to_string()));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("nothing has changed: ");
    assert!(daemon.log().contains("--sandbox-folder"), "{}", daemon.log());
    client.assert_in_sync();
}
