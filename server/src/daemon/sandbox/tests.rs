//! docs/security.md has the system calls of every kind of thread, as they are in the code.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;

use entropy::sandbox::{SHARED_SOURCE, SOURCE};
use my_rng_server::vhost_user::VHOST_USER;
use vfio_user_device::sandbox::{Call, MAIN, REFUSED, SESSION};

use super::*;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
const BEGIN: &str =
    "<!-- From the code; UPDATE_SECURITY_PAGE=1 cargo test -p my-rng-server security -->\n";
const END: &str = "<!-- End -->\n";

static KINDS: [&ThreadKind; 8] =
    [&MAIN, &SESSION, &VHOST_USER, &SOURCE, &SHARED_SOURCE, &OVERSEER, &CONTROL, &STATUS_FILE];

fn tables() -> String {
    let mut text = "\n| thread | what it does | its groups |\n| --- | --- | --- |\n".to_owned();
    let mut groups: Vec<&CallGroup> = Vec::new();
    for kind in KINDS {
        let names: Vec<_> = kind.groups.iter().map(|group| group.name).collect();
        writeln!(text, "| {} | {} | {} |", kind.name, kind.task, names.join(", ")).unwrap();
        for group in kind.groups {
            if groups.iter().all(|known| known.name != group.name) {
                groups.push(group);
            }
        }
    }
    text += "\n| group | what for | system calls |\n| --- | --- | --- |\n";
    for group in groups.into_iter().chain([&REFUSED]) {
        let calls: Vec<_> = group.calls.iter().map(Call::description).collect();
        writeln!(text, "| {} | {} | {} |", group.name, group.reason, calls.join(", ")).unwrap();
    }
    text + "\n"
}

#[test]
fn the_security_page_has_the_system_calls() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = tables();
    if std::env::var_os("UPDATE_SECURITY_PAGE").is_some() {
        fs::write(PAGE, [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, expected, "run the test with UPDATE_SECURITY_PAGE=1");
}

#[test]
fn only_threads_that_serve_no_guest_open_files_or_start_programs() {
    let with = |name: &str| -> Vec<&str> {
        let has = |kind: &&&ThreadKind| {
            let mut calls = kind.groups.iter().flat_map(|group| group.all());
            calls.any(|call| call.description() == name)
        };
        KINDS.iter().filter(has).map(|kind| kind.name).collect()
    };
    assert_eq!(with("execve"), ["main"]);
    assert_eq!(with("openat"), ["main", "source", "overseer", "status file"]);
    assert_eq!(with("connect"), ["main", "source", "overseer", "status file"]);
    assert_eq!(with("ptrace"), [""; 0]);
    assert_eq!(with("process_vm_readv"), [""; 0]);
}

/// The names of all functions in the Rust files below a folder.
fn functions(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                functions(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim().strip_prefix("fn "));
            found.extend(names.filter_map(|line| Some(line.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (_, rest) = page.split_once("| who | tries to | what stops it | test |\n").unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let mut known = HashSet::new();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for folder in ["crates", "server", "lab"] {
        functions(&checkout.join(folder), &mut known);
    }
    let lines: Vec<&str> = table.lines().skip(1).collect();
    assert!(lines.len() >= 30, "{table}");
    for line in lines {
        let name = line.rsplit('`').nth(1).unwrap_or_else(|| panic!("no test in {line}"));
        assert!(known.contains(name), "{name} is no test");
    }
}
