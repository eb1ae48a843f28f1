//! A device with a mistake ends with a sentence, and harms nothing else.

use std::fs;

use crate::common::{REGION_WRITE, region_write};
use crate::compiler::{compile, flags, folder, test_device, try_compile};
use crate::program::Program;

/// The line of a mistake in the device's source.
fn line_of(mistake: &str) -> usize {
    let source = fs::read_to_string(test_device("faulty.c")).unwrap();
    let wanted = format!("MISTAKE {mistake} ");
    1 + source.lines().position(|line| line.contains(&wanted)).unwrap()
}

/// Has the device make a mistake, and returns what it says in the end.
#[track_caller]
fn last_words(offset: u64, value: u32) -> String {
    let mut program = Program::serve(&compile(&test_device("faulty.c")), &[]);
    let mut client = program.client();
    assert_eq!(client.read_u32(0, 0), 7);
    client.write(7, 4, &[0x06, 0]);
    client.send(REGION_WRITE, &region_write(0, offset, &value.to_le_bytes()), &[]);
    let status = program.wait();
    assert!(client.next().is_none(), "it goes on");
    let log = program.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("error: the device has stopped, for the reason above"), "{log}");
    log
}

#[track_caller]
fn named(mistake: &str, offset: u64, value: u32, words: &[&str]) {
    let log = last_words(offset, value);
    let place = format!("faulty.c:{}:", line_of(mistake));
    assert!(log.contains(&place), "{place}\n{log}");
    for wanted in words {
        assert!(log.contains(wanted), "{wanted}\n{log}");
    }
}

const BOUNDS: &str = "faulty_write(): heap-buffer-overflow: the device accesses memory that is not";

#[test]
fn a_write_past_a_buffer_ends_with_file_and_line() {
    named("heap", 0x00, 4, &[BOUNDS]);
}

#[test]
fn an_index_past_an_array_ends_with_file_and_line() {
    named("index", 0x04, 4, &["index 4 out of bounds"]);
}

#[test]
fn a_use_of_freed_memory_ends_with_file_and_line() {
    named("freed", 0x08, 0, &["heap-use-after-free"]);
}

#[test]
fn a_null_pointer_ends_with_file_and_line() {
    named("null", 0x0c, 0, &["null pointer"]);
}

#[test]
fn a_division_by_zero_ends_with_file_and_line() {
    named("zero", 0x10, 1, &["division by zero"]);
}

#[test]
fn a_transfer_past_a_buffer_ends_with_file_and_line() {
    named("dma", 0x18, 17, &[BOUNDS]);
}

#[test]
fn a_cast_to_the_wrong_type_ends_with_file_and_line() {
    named("type", 0x1c, 0, &["faulty_write(): an object of the type"]);
}

#[test]
fn a_failed_assertion_ends_with_file_and_line() {
    named("assertion", 0x20, 5, &["faulty_write(): not true: value == 0"]);
}

#[test]
fn a_callback_that_never_returns_ends_with_file_and_line() {
    let log = last_words(0x14, 1);
    assert!(log.contains("has not returned for 4 s"), "{log}");
    // Where the loop is interrupted is the compiler's affair.
    let line = line_of("endless");
    let inside = [line, line + 1].map(|line| format!("faulty.c:{line}:"));
    assert!(inside.iter().any(|place| log.contains(place)), "{log}");
    assert!(log.contains(": faulty_write()"), "{log}");
}

#[test]
fn a_callback_that_sleeps_too_long_ends_with_file_and_line() {
    named("sleep", 0x24, 100, &["has not returned for 4 s"]);
}

#[test]
fn a_device_without_sanitizers_says_how_to_learn_more() {
    let program = folder().join("faulty-plain");
    let built = try_compile(&test_device("faulty.c"), &program, &[]);
    assert!(built.status.success(), "{built:?}");
    let mut program = Program::serve(&program, &[]);
    let mut client = program.client();
    client.send(REGION_WRITE, &region_write(0, 0x0c, &[0; 4]), &[]);
    assert_eq!(program.wait().code(), Some(1));
    assert!(client.next().is_none());
    let log = program.log();
    assert!(log.contains("used a null pointer (SIGSEGV). To learn the line, compile it"), "{log}");
}

#[test]
fn an_error_in_realize_ends_with_its_message() {
    let mut program =
        Program::start(&compile(&test_device("faulty.c")), &["--property", "fails=on"]);
    assert_eq!(program.wait().code(), Some(1));
    assert_eq!(program.log(), "error: faulty: the number of lanes is odd\n");
}

#[test]
fn a_division_by_zero_in_realize_ends_with_file_and_line() {
    let program = compile(&test_device("faulty.c"));
    let mut program = Program::start(&program, &["--property=divides=true"]);
    assert_eq!(program.wait().code(), Some(1));
    let log = program.log();
    assert!(log.contains(&format!("faulty.c:{}:", line_of("realize"))), "{log}");
}

#[test]
fn what_needs_the_rest_of_qemu_does_not_compile_and_says_why() {
    let refused = |name: &str, text: &str| {
        let source = folder().join(name);
        fs::write(&source, text).unwrap();
        let output = try_compile(&source, &folder().join("refused"), &flags("sanitize"));
        assert!(!output.status.success(), "{name} compiles");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("console.c", "#include \"qemu/osdep.h\"\n#include \"ui/console.h\"\n");
    assert!(
        said.contains("displays and input need the rest of QEMU; leave them out, or"),
        "{said}"
    );
    let said = refused(
        "map.c",
        "#include \"qemu/osdep.h\"\n#include \"hw/pci/pci.h\"\n\
         void *f(PCIDevice *d, dma_addr_t *n) { return pci_dma_map(d, 0, n, 0); }\n",
    );
    assert!(said.contains("copy it with pci_dma_read() and pci_dma_write()"), "{said}");
    let said = refused(
        "chardev.c",
        "#include \"qemu/osdep.h\"\n#include \"hw/qdev-properties.h\"\n\
         struct S { int chr; };\nProperty p[] = { DEFINE_PROP_CHR(\"chardev\", struct S, chr) };\n",
    );
    assert!(said.contains("properties of this kind need the rest of QEMU"), "{said}");
}
