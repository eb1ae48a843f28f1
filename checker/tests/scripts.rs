//! What the scripts say before any program of ours runs, with a cargo that does nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lab::paths;

/// Calls the scripts' function that builds a program, with a cargo that prints its arguments, and
/// returns what was said.
fn build(target: &Path, verbose: &str) -> String {
    let programs = tempfile::tempdir().expect("a folder can be made");
    let cargo = programs.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"cargo $*\" >&2\n").expect("writable");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let script = "set -euo pipefail; source \"$root/scripts/prerequisites.sh\"; PATH=$programs:$PATH; \
        build_quietly check checker check";
    let output = Command::new("bash")
        .args(["-c", script])
        .env("root", paths::checkout())
        .env("programs", programs.path())
        .env("CARGO_TARGET_DIR", target)
        .env("LAB_VERBOSE", verbose)
        .output()
        .expect("there is a bash");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

#[test]
fn the_first_build_is_announced_and_cargo_is_quiet_unless_asked() {
    let target = tempfile::tempdir().expect("a folder can be made");
    let said = build(target.path(), "");
    assert!(said.starts_with("check: compiling checker, once; this takes"), "{said}");
    assert!(said.contains("cargo build --quiet"), "{said}");
    let programs = target.path().join("debug");
    fs::create_dir(&programs).expect("writable");
    fs::write(programs.join("check"), "").expect("writable");
    let said = build(target.path(), "1");
    assert!(said.starts_with("cargo build --manifest-path"), "{said}");
}
