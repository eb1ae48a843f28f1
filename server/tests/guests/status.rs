//! `my-rng-server status` and the control socket behind it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

const TWO: &str = r#"
control-socket = "FOLDER/control"

[[source]]
name = "hw"
source = "file:/dev/zero"
bandwidth = { average = 64 }

[[guest]]
name = "course"
socket = "FOLDER/course"

[[guest]]
name = "web"
socket = "FOLDER/web"
device = "virtio-rng"
source = "hw"
bandwidth = { floor = 8 }
"#;

fn status(daemon: &Daemon, format: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["status", "--format", format, "--control-socket"]).arg(daemon.file("control"));
    command.output().unwrap()
}

/// What the daemon says about itself.
pub fn json(daemon: &Daemon) -> Value {
    let output = status(daemon, "json");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn guests_connections_bytes_and_waiting_requests_are_told() {
    let daemon = Daemon::configured(TWO);
    let before = json(&daemon);
    assert_eq!(before["guests"][0]["name"], "course");
    assert_eq!(before["guests"][0]["client"], Value::Null);
    assert_eq!(before["guests"][1]["connections"], 0);
    let mut course = Client::negotiated(&daemon.file("course"));
    course.read_u32(0, 0);
    course.read_u32(0, 0);
    let mut web = Guest::at(&daemon.file("web"));
    web.ask(100);
    let mut had = web.answer().len();
    while had < 100 {
        web.ask(100);
        had += web.answer().len();
    }
    let after = json(&daemon);
    let [course_now, web_now] = [0, 1].map(|index| &after["guests"][index]);
    assert_eq!(course_now["client"]["process"], std::process::id());
    assert_eq!(course_now["bytes"], 8);
    assert_eq!(course_now["requests"], 2);
    assert_eq!(web_now["bytes"], had);
    assert_eq!(web_now["connections"], 1);
    assert_eq!(web_now["source"], "hw");
    assert_eq!(after["classes"][0]["name"], "hw");
    assert_eq!(after["classes"][0]["promised"], 8 << 10);
    drop(course);
    wait_until("the guest has gone", || json(&daemon)["guests"][0]["client"] == Value::Null);
    assert_eq!(json(&daemon)["guests"][0]["connections"], 1);
}

#[test]
fn a_request_that_waits_is_told_and_so_is_its_end() {
    let daemon = Daemon::start(&[
        "--control-socket",
        "control",
        "--device",
        "virtio-rng",
        "-m",
        "1",
        "-p",
        "3600000",
    ]);
    let mut guest = Guest::at(&daemon.path());
    guest.ask(1);
    guest.answer();
    assert_eq!(json(&daemon)["guests"][0]["waiting"], 0);
    guest.ask(1);
    wait_until("it waits", || json(&daemon)["guests"][0]["waiting"] == 1);
    drop(guest);
    wait_until("no guest waits", || json(&daemon)["guests"][0]["waiting"] == 0);
}

#[test]
fn a_refused_client_is_counted() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let _client = daemon.client();
    let mut second = Client::connect(&daemon.path());
    second.send(VERSION, &version(0, 1, b"{}\0"), &[]);
    second.receive().errno();
    assert_eq!(json(&daemon)["guests"][0]["refused"], 1);
}

#[test]
fn the_rate_is_that_of_the_last_seconds() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let mut client = daemon.client();
    let rate = || json(&daemon)["guests"][0]["bytes-per-second"].as_f64().unwrap();
    wait_until("a rate", || {
        client.read_u32(0, 0);
        rate() > 0.0
    });
    wait_until("no rate", || rate() < 0.5);
}

#[test]
fn people_have_tables_and_prometheus_its_format() {
    let daemon = Daemon::configured(TWO);
    let table = String::from_utf8(status(&daemon, "table").stdout).unwrap();
    assert!(table.contains("2 guests, 0 connected"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("GUEST") && line.contains("RATE")));
    assert!(table.lines().any(|line| line.starts_with("web") && line.contains("hw")));
    let metrics = String::from_utf8(status(&daemon, "prometheus").stdout).unwrap();
    let line = r#"my_rng_server_guest_bytes_total{device="my-rng",guest="course",transport="vfio-user"} 0"#;
    assert!(metrics.lines().any(|written| written == line), "{metrics}");
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let mut command = Command::new(BINARY);
    let output = command.args(["status", "--control-socket", "/none/control"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no status from /none/control"), "{said}");
}

#[test]
fn nonsense_is_answered_with_an_error_and_others_are_served() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let ask = |line: &str| {
        let mut socket = UnixStream::connect(daemon.file("control")).unwrap();
        socket.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        BufReader::new(socket).read_line(&mut reply).unwrap();
        serde_json::from_str::<Value>(&reply).unwrap()
    };
    let long = "x".repeat(10_000) + "\n";
    for nonsense in ["\n", "{}\n", "{\"command\":\"stop\"}\n", &long] {
        assert!(ask(nonsense)["error"].is_string(), "{nonsense}");
    }
    // Silent connections do not keep others from being answered.
    let _silent: Vec<_> =
        (0..5).map(|_| UnixStream::connect(daemon.file("control")).unwrap()).collect();
    assert_eq!(ask("{\"command\":\"status\"}\n")["status"]["guests"][0]["name"], "s");
}

#[test]
fn the_control_socket_is_its_owners_alone_and_goes_with_the_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let mut daemon = Daemon::start(&["--control-socket", "control"]);
    let path = daemon.file("control");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    assert!(!path.exists());
}

#[test]
fn a_daemon_out_of_descriptors_goes_on_and_answers_when_it_has_some() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    // No more than the standard streams, which are open.
    let none = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let before = prlimit(pid, Resource::Nofile, none).unwrap();
    let _waits = UnixStream::connect(daemon.file("control")).unwrap();
    daemon.wait_for_log("the control socket: cannot accept clients");
    std::thread::park_timeout(std::time::Duration::from_millis(300));
    let said = daemon.log().matches("cannot accept clients").count();
    assert!(said < 10, "{said} times");
    prlimit(pid, Resource::Nofile, before).unwrap();
    json(&daemon);
}

#[test]
fn a_client_of_the_control_socket_holds_nothing_up_in_the_end() {
    let mut daemon =
        Daemon::configured(&TWO.replace("file:/dev/zero", "egd:unix:FOLDER/egd,listen"));
    let mut silent = UnixStream::connect(daemon.file("control")).unwrap();
    silent.write_all(b"{\"command\":\"status\"}\n").unwrap();
    BufReader::new(&silent).read_line(&mut String::new()).unwrap();
    assert!(daemon.file("egd").exists());
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    for socket in ["egd", "control", "web"] {
        assert!(!daemon.file(socket).exists(), "{socket}");
    }
}

#[test]
fn groups_are_promises_to_those_above_them() {
    let group = "[[group]]\nname = \"g\"\nparent = \"hw\"\nbandwidth = { floor = 24 }\n";
    let daemon = Daemon::configured(&format!("{TWO}{group}"));
    assert_eq!(json(&daemon)["classes"][0]["promised"], 24 << 10);
}

#[test]
fn a_daemon_that_hangs_is_waited_for_with_a_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    // It accepts no client, and its backlog is full.
    let _first = UnixStream::connect(&path).unwrap();
    let asks = ["status", "exchange"].map(|name| {
        // Ended after a minute, so that one without a timeout fails here.
        let mut command = Command::new("timeout");
        command.args(["60", BINARY, name, "--control-socket"]).arg(&path);
        command.stderr(Stdio::piped()).spawn().unwrap()
    });
    for ask in asks {
        let said = String::from_utf8(ask.wait_with_output().unwrap().stderr).unwrap();
        assert!(said.ends_with("it does not answer\n"), "{said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let daemon = Daemon::start(&["--control-socket", "control"]);
    let mut command = Command::new(BINARY);
    command.args(["status", "--control-socket"]).arg(daemon.file("control"));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_stuck_source_is_stopped_and_its_alarms_are_told() {
    let daemon = Daemon::configured(
        "control-socket = \"FOLDER/control\"\n\
         [[source]]\nname = \"hw\"\nsource = \"file:/dev/zero\"\nhealth = \"stop\"\n\
         bandwidth = { average = 64 }\n\
         [[guest]]\nname = \"shared\"\nsocket = \"FOLDER/shared\"\ndevice = \"virtio-rng\"\n\
         source = \"hw\"\nbandwidth = { floor = 1 }\n\
         [[guest]]\nname = \"own\"\nsocket = \"FOLDER/own\"\ndevice = \"virtio-rng\"\n\
         source = \"file:/dev/zero\"\nhealth = \"warn\"\n",
    );
    let mut guests = ["shared", "own"].map(|name| Guest::at(&daemon.file(name)));
    guests.iter_mut().for_each(|guest| guest.ask(40));
    assert_eq!(guests[1].answer(), [0; 40], "its guest is only warned of");
    daemon
        .wait_for_log("no bytes from file:/dev/zero: health test: the byte 0x00 11 times in a row");
    daemon.wait_for_log("file:/dev/zero: health test: ");
    let status = json(&daemon);
    let hw = &status["classes"][0]["health"];
    assert_eq!(hw["stopped"], true, "{status}");
    assert!(hw["repetition-alarms"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(status["guests"][1]["bytes"], 0, "{status}");
    let own = &status["guests"][0]["health"];
    assert_eq!((&own["stopped"], &own["repetition-alarms"]), (&false.into(), &3.into()));
}
