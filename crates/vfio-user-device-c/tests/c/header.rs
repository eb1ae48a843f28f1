//! The header: in C and C++, and as the crate has it.

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

use vfio_user_device_c::abi::{CBar, CCapability, CConfig, CMsix, COps};

use crate::compiler::{compile_with_kit, folder};
use crate::program::Program;

/// `struct member offset` of every member, and the sizes, as the crate has them.
fn layout() -> Vec<(&'static str, &'static str, usize)> {
    macro_rules! layout {
        ($list:ident, $($rust:ident $c:literal { $($member:ident),* })*) => {
            $($list.push(($c, "", size_of::<$rust>()));
            $($list.push(($c, stringify!($member), offset_of!($rust, $member)));)*)*
        };
    }
    let mut list = Vec::new();
    layout!(list,
        CBar "vfio_user_bar" { size, kind, prefetchable, max_access_width, reserved }
        CMsix "vfio_user_msix" { vectors, bar, reserved, table_offset, pba_offset }
        CCapability "vfio_user_capability" { id, length, reserved, body }
        CConfig "vfio_user_config" {
            struct_size, vendor_id, device_id, subsystem_vendor_id, subsystem_id, class_code,
            revision, intx, msi_vectors, msix, bars, capabilities, capability_count
        }
        COps "vfio_user_ops" {
            struct_size, read, write, reset, timer, dma_done, wake, disconnect, save, restore,
            config_read, config_write
        }
    );
    list
}

#[test]
fn the_header_has_the_crates_layout_in_c_and_cxx() {
    let mut source =
        String::from("#include <vfio_user_device.h>\n#include <stdio.h>\nint main(void) {\n");
    for (name, member, _) in layout() {
        let value = match member {
            "" => format!("sizeof(struct {name})"),
            member => format!("offsetof(struct {name}, {member})"),
        };
        writeln!(source, "printf(\"%zu\\n\", {value});").unwrap();
    }
    source.push_str("return 0; }\n");
    let file = folder().join("layout.c");
    std::fs::write(&file, source).unwrap();
    for (compiler, flags) in [
        ("cc", &["-std=c99", "-pedantic", "-Werror"][..]),
        ("c++", &["-x", "c++", "-std=c++11", "-pedantic", "-Werror", "-Wno-invalid-offsetof"]),
    ] {
        let program = compile_with_kit(compiler, &file, &format!("layout-{compiler}"), flags);
        let output = Command::new(program).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let numbers = said.lines().map(|line| line.parse::<usize>().unwrap());
        for ((name, member, ours), theirs) in layout().into_iter().zip(numbers) {
            assert_eq!(ours, theirs, "{compiler}: {name}.{member}");
        }
        assert_eq!(said.lines().count(), layout().len());
    }
}

/// Names of the functions in a text that begin as the library's do.
fn functions(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut names: Vec<String> = code
        .match_indices("vfio_user_")
        .filter_map(|(at, _)| {
            let name: String =
                code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            code[at + name.len()..].starts_with('(').then_some(name)
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_header_declares_every_function_of_the_library() {
    let header = include_str!("../../include/vfio_user_device.h");
    let sources = [
        include_str!("../../src/bus.rs"),
        include_str!("../../src/error.rs"),
        include_str!("../../src/serve.rs"),
        include_str!("../../src/state.rs"),
        include_str!("../../src/waker.rs"),
    ];
    let exported: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.split("#[unsafe(no_mangle)]").skip(1))
        .map(|rest| rest.split_once("fn ").unwrap().1.split_once('(').unwrap().0)
        .collect();
    let mut exported: Vec<String> = exported.into_iter().map(Into::into).collect();
    exported.sort();
    assert_eq!(functions(header), exported);
}

#[test]
fn the_skeleton_gives_the_published_numbers_in_c_and_cxx() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/skeleton.c");
    let lines = std::fs::read_to_string(&source).unwrap().lines().count();
    assert!(lines < 60, "{lines} lines");
    for (compiler, flags) in
        [("cc", &["-D_GNU_SOURCE", "-Werror"][..]), ("c++", &["-x", "c++", "-Werror"])]
    {
        let name = format!("skeleton-{compiler}");
        let program = Program::serve(&compile_with_kit(compiler, &source, &name, flags), &[]);
        let mut client = program.client();
        client.write_u32(0, 4, 1);
        let numbers = [(); 3].map(|()| client.read_u32(0, 0));
        assert_eq!(numbers, [1_804_289_383, 846_930_886, 1_681_692_777]);
        assert_eq!(client.read_u32(0, 4), 0);
        assert_eq!(client.read(7, 0, 4), [0x34, 0x12, 0xfe, 0xca]);
    }
}
