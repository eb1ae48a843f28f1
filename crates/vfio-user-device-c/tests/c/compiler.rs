//! The C compiler, with the flags that devices are built with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// A folder for what the tests compile.
pub fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-devices");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a device is linked with, last things last; built on first use.
fn libraries() -> &'static [PathBuf; 2] {
    static LIBRARIES: OnceLock<[PathBuf; 2]> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        // Cargo has put it beside this test.
        let test = std::env::current_exe().unwrap();
        let kit = test.with_file_name("libvfio_user_device_c.a");
        assert!(kit.is_file(), "no {}", kit.display());
        let build = checkout().join("qemu-device/build.sh");
        succeeded(&Command::new(build).arg(folder()).arg(kit).output().unwrap());
        ["libqemu_device.a", "libvfio_user_device.a"].map(|name| folder().join(name))
    })
}

/// A file with flags for the compiler.
pub fn flags(name: &str) -> Vec<String> {
    let path = checkout().join("qemu-device").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.split_whitespace().map(Into::into).collect()
}

#[track_caller]
fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("warning:"), "{said}");
}

/// Runs the compiler of C for a device against QEMU's API.
pub fn try_compile(source: &Path, program: &Path, more: &[String]) -> Output {
    let mut command = Command::new("cc");
    command.args(flags("cflags")).args(more);
    command.arg("-I").arg(checkout().join("qemu-device/include"));
    command.arg(source).arg("-o").arg(program).args(libraries());
    command.args(["-lpthread", "-ldl", "-lm"]).output().unwrap()
}

/// A device against QEMU's API as a program, with the sanitizers. Tests share it.
pub fn compile(source: &Path) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());
    // One that did not compile fails each test that needs it.
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = compiled.get(source) {
        return program.clone();
    }
    let name = source.file_stem().unwrap().to_str().unwrap();
    let program = folder().join(format!("{name}-{}", compiled.len()));
    succeeded(&try_compile(source, &program, &flags("sanitize")));
    compiled.insert(source.to_path_buf(), program.clone());
    program
}

/// One of the devices beside this file.
pub fn test_device(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devices").join(name)
}

/// Compiles C or C++ against the kit's own header.
pub fn compile_with_kit(compiler: &str, source: &Path, name: &str, more: &[&str]) -> PathBuf {
    let program = folder().join(name);
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-Wno-missing-field-initializers"]).args(more);
    command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
    command.arg(source).arg("-o").arg(&program).args(["-x", "none"]).arg(&libraries()[1]);
    let output = command.args(["-lpthread", "-ldl", "-lm"]).output().unwrap();
    succeeded(&output);
    program
}
