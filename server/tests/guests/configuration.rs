//! `--config` and `--check-config`.

use std::process::{Command, Output};

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

fn check(text: &str, options: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    Command::new(BINARY).arg("--config").arg(path).args(options).output().unwrap()
}

const GUEST: &str = "[[guest]]\nname = \"a\"\nsocket = \"FOLDER/a\"\n";

#[test]
fn each_guest_has_what_the_file_says() {
    let daemon = Daemon::configured(
        r#"
[[guest]]
name = "course"
socket = "FOLDER/course"
generator = "glibc"
seed = 1

[[guest]]
name = "web"
socket = "FOLDER/web"
device = "virtio-rng"
source = "chacha20:0"
max-bytes = 5
period = 3600000
"#,
    );
    assert_eq!(Client::negotiated(&daemon.file("course")).read_u32(0, 0), 1_804_289_383);
    let mut guest = Guest::at(&daemon.file("web"));
    guest.ask(64);
    assert_eq!(guest.answer(), [0x76, 0xb8, 0xe0, 0xad, 0xa0]);
}

#[test]
fn a_right_file_is_said_to_be_right_and_nothing_is_served() {
    let output = check(GUEST, &["--check-config"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("c.toml: 1 guests, nothing is wrong\n"), "{said}");
    assert!(!std::path::Path::new("FOLDER").exists());
}

#[test]
fn a_wrong_file_is_refused_with_every_line_that_is_wrong() {
    for options in [&["--check-config"][..], &[]] {
        let output = check(&format!("{GUEST}sed = 1\n{GUEST}"), options);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("c.toml:4: unknown field `sed`"), "{said}");
        let output = check(&format!("{GUEST}socket-mode = \"x\"\n{GUEST}"), options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("c.toml:4: invalid socket-mode: \"x\"; expected an octal number"),
            "{said}"
        );
        assert!(said.contains("c.toml:6: \"a\" is in use: it is the guest of line 2"), "{said}");
    }
}

#[test]
fn options_beside_a_file_are_rejected() {
    for options in [&["--seed", "1"][..], &["-m", "5"], &["--device", "my-rng"]] {
        let said = String::from_utf8(check(GUEST, options).stderr).unwrap();
        assert!(said.contains("with --config, the file says this"), "{said}");
    }
    for options in [&["-s", "x"][..], &["--fd", "0"], &["--control-socket", "x"], &["-c", "3"]] {
        let said = String::from_utf8(check(GUEST, options).stderr).unwrap();
        assert!(said.contains("cannot be used with"), "{said}");
    }
}

#[test]
fn a_guest_that_cannot_be_served_is_named() {
    let said = String::from_utf8(check(&GUEST.replace("FOLDER", "/none"), &[]).stderr).unwrap();
    assert!(said.contains("guest \"a\": cannot listen at /none/a"), "{said}");
}
