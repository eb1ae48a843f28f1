//! `my-rng-server libvirt` as it is called: files, standard input and output.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::daemon::BINARY;

const DOMAIN: &str = "<domain type='kvm'>
  <name>web1</name>
  <memory>1048576</memory>
  <devices>
    <rng model='virtio'>
      <rate bytes='123' period='1234'/>
      <backend model='random'>/dev/hwrng</backend>
    </rng>
  </devices>
</domain>
";

/// Runs it in a folder, with something on its standard input.
fn libvirt(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("libvirt").args(arguments).current_dir(folder);
    command.env("XDG_RUNTIME_DIR", "/run/user/1000");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn two_files_are_written_and_the_server_takes_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.xml"), DOMAIN).unwrap();
    let output = libvirt(folder.path(), &["in.xml", "-c", "qemu:///session"], "");
    assert!(output.status.success(), "{}", errors(&output));
    assert!(output.stdout.is_empty());
    let configuration = fs::read_to_string(folder.path().join("web1.toml")).unwrap();
    assert!(configuration.contains("socket = \"/run/user/1000/my-rng-server/web1.sock\""));
    assert!(!configuration.contains("socket-mode"));
    let domain = fs::read_to_string(folder.path().join("web1.vfio-user.xml")).unwrap();
    assert!(domain.contains("/run/user/1000/my-rng-server/web1.sock"), "{domain}");
    assert!(errors(&output).contains("is in no snapshot"), "{}", errors(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
    let check = Command::new(BINARY)
        .args(["--config", "web1.toml", "--check-config"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", errors(&check));

    let again = libvirt(folder.path(), &["web1.vfio-user.xml", "-c", "qemu:///session"], "");
    assert!(again.status.success());
    assert!(errors(&again).contains("no change needed"), "{}", errors(&again));
}

#[test]
fn a_pipe_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = ["--config-out", "web.toml", "--domain-out", "-"];
    let output =
        libvirt(folder.path(), &[&["-", "-c", "qemu:///system"], &outputs[..]].concat(), DOMAIN);
    assert!(output.status.success(), "{}", errors(&output));
    let domain = String::from_utf8(output.stdout).unwrap();
    assert!(domain.starts_with("<domain type='kvm' xmlns:qemu="), "{domain}");
    assert!(domain.contains("\"path\":\"/run/my-rng-server/web1.sock\""), "{domain}");
    let configuration = fs::read_to_string(folder.path().join("web.toml")).unwrap();
    assert!(configuration.contains("socket-mode = \"0660\""), "{configuration}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is written");
}

#[test]
fn another_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web1.vfio-user.xml");
    fs::write(&path, "precious").unwrap();
    let system = ["-", "-c", "qemu:///system"];
    let output = libvirt(folder.path(), &system, DOMAIN);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("web1.vfio-user.xml is there already"), "{}", errors(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert!(!folder.path().join("web1.toml").exists(), "both or none");
    let output = libvirt(folder.path(), &[&system[..], &["--force"]].concat(), DOMAIN);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(fs::read_to_string(&path).unwrap().starts_with("<domain"));
}

#[test]
fn both_files_are_written_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let system = ["-", "-c", "qemu:///system"];
    for outputs in [
        ["--config-out", "web.toml", "--domain-out", "missing/web.xml"],
        ["--config-out", "missing/web.toml", "--domain-out", "web.xml"],
        ["--config-out", "web", "--domain-out", "web"],
    ] {
        let output = libvirt(folder.path(), &[&system[..], &outputs[..]].concat(), DOMAIN);
        assert_eq!(output.status.code(), Some(1), "{outputs:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{outputs:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let system = ["-", "-c", "qemu:///system"];
    let wrong = DOMAIN.replace("123'", "12B'");
    let output = libvirt(folder.path(), &system, &wrong);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        errors(&output),
        "my-rng-server: standard input: line 6: <rate>: invalid RNG rate bytes value: '12B' is not \
         a number from 1 to 4294967295\n"
    );
    let output = libvirt(folder.path(), &["missing.xml", "-c", "qemu:///system"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("cannot read missing.xml"), "{}", errors(&output));
    let output = libvirt(folder.path(), &["-", "-c", "xen:///system"], DOMAIN);
    assert_eq!(output.status.code(), Some(2));
}
