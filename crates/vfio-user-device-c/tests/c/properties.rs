//! `--property`, `--type`, and what is wrong with them.

use std::process::{Command, Output};

use crate::compiler::{checkout, compile, test_device};

fn run(program: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(program).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn invalid_properties_end_with_what_is_expected() {
    let program = compile(&test_device("faulty.c"));
    let said = |arguments: &[&str]| {
        let (status, said) = run(&program, arguments);
        assert_eq!(status, Some(1), "{said}");
        said
    };
    let unknown = said(&["--property", "lanes=3"]);
    assert!(unknown.contains("  divisor=<uint32>\n"), "{unknown}");
    assert!(unknown.contains("error: there is no property \"lanes\""), "{unknown}");
    let wrong = said(&["--property", "divisor=many"]);
    assert!(wrong.contains("\"divisor\": many; expected a value of type uint32"), "{wrong}");
    let wide = said(&["--property", "divisor=0x100000000"]);
    assert!(wide.contains("\"divisor\": 0x100000000; expected"), "{wide}");
    assert!(said(&["--property", "divisor"]).contains("expected NAME=VALUE"));
    assert!(said(&["--property"]).contains("--property needs a value"));
    let other = said(&["--type", "other"]);
    assert!(other.contains("error: --type: no PCI device is called \"other\""), "{other}");
}

#[test]
fn help_has_the_devices_options_and_the_servers() {
    let output = Command::new(compile(&checkout().join("qemu-device/examples/edu.c")))
        .arg("--help")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("dma_mask=<uint64>") && said.contains("edu  Educational device"),
        "{said}"
    );
    assert!(String::from_utf8(output.stdout).unwrap().contains("--socket-path <PATH>"));
}
