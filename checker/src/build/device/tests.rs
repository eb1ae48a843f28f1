//! Builds of devices, good and bad. The first one compiles the device kit.

use super::*;

const SKELETON: &str = include_str!("../../../../crates/vfio-user-device/examples/skeleton.rs");

fn build(files: &[(&str, &str)]) -> Result<PathBuf, String> {
    let source = tempfile::tempdir().expect("a folder can be made");
    let work = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = source.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    device(source.path(), &work.keep()).map(|built| built.program).map_err(
        |failure| match failure {
            Stop::Verdict(verdict) => verdict.message(),
            Stop::Lab(error) => panic!("{error:#}"),
        },
    )
}

fn manifest(more: &str) -> String {
    format!(
        "[package]\nname = \"mine\"\nedition = \"2021\"\n[dependencies]\nvfio-user-device = \"0.1\"\n\
         {more}"
    )
}

#[test]
fn a_single_file_becomes_a_program() {
    let program = build(&[("my device.rs", SKELETON)]).expect("it compiles");
    let output = std::process::Command::new(program).arg("--help").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("--socket-path"));
}

#[test]
fn a_crate_becomes_a_program_whatever_its_lock_says() {
    let lock = "version = 4\n[[package]]\nname = \"absent\"\nversion = \"9.9.9\"\n";
    let program = build(&[
        ("Cargo.toml", &manifest("[profile.release]\nlto = true\n")),
        ("Cargo.lock", lock),
        ("src/main.rs", SKELETON),
    ]);
    assert!(program.expect("it compiles").ends_with("mine"));
}

#[test]
fn the_hint_names_the_first_error_and_its_place() {
    let hint = build(&[("a.rs", "fn main() { nothing(); }\n")]).expect_err("no such function");
    assert!(hint.contains("cannot find function"), "{hint}");
    assert!(hint.contains("a.rs:1:13"), "{hint}");
}

#[test]
fn a_build_script_finds_neither_the_host_nor_the_network() {
    let script = r#"fn main() {
        let seen = std::fs::read_dir("/home").is_ok() || std::fs::read("/etc/passwd").is_ok();
        let reached = std::net::TcpStream::connect("127.0.0.1:22").is_ok();
        let written = std::fs::write("/usr/new", "").is_ok();
        assert!(!seen && !reached && !written, "seen {seen}, {reached}, {written}");
    }"#;
    let files = [("Cargo.toml", &*manifest("")), ("src/main.rs", SKELETON), ("build.rs", script)];
    build(&files).expect("the build script found nothing");
    let files = [
        ("Cargo.toml", &*manifest("")),
        ("src/main.rs", "fn main() { print!(include_str!(\"/etc/passwd\")); }"),
    ];
    assert!(build(&files).expect_err("no such file").contains("couldn't read"));
}

#[test]
fn what_cannot_be_had_or_is_no_program_has_a_hint() {
    let files =
        [("Cargo.toml", &*manifest("absent-crate-of-nobody = \"1\"\n")), ("src/main.rs", SKELETON)];
    let hint = build(&files).expect_err("no such crate");
    assert!(hint.contains("a dependency is not available"), "{hint}");
    let hint = build(&[("Cargo.toml", &manifest("")), ("src/lib.rs", "")]).expect_err("a library");
    assert!(hint.contains("no program"), "{hint}");
    assert!(build(&[("a.txt", "")]).expect_err("nothing").contains("neither a C file"));
}

#[test]
fn a_crate_in_a_folder_is_found() {
    let top = tempfile::tempdir().expect("a folder can be made");
    let krate = top.path().join("crate");
    let inner = krate.join("ada/rng");
    fs::create_dir_all(&inner).expect("writable");
    fs::write(inner.join("Cargo.toml"), "x").expect("writable");
    let files = [inner.join("Cargo.toml")];
    let found = only_crate(&files, &krate).expect("there is one");
    take_inner(&krate, &found).expect("it can be moved");
    assert!(krate.join("Cargo.toml").is_file());
}

const C_SKELETON: &str = include_str!("../../../../qemu-device/examples/my-rng.c");

#[test]
fn c_files_become_a_program_in_whatever_folder_they_are() {
    let helper = "int helper(void) { return 1; }\n";
    let driver = "#include <linux/module.h>\n";
    let app = "int main(void) { return 0; }\n";
    let program = build(&[
        ("qemu/hw/misc/my rng.c", C_SKELETON),
        ("qemu/hw/misc/helper.c", helper),
        ("driver/driver.c", driver),
        ("app.c", app),
    ]);
    let output = std::process::Command::new(program.expect("it compiles")).arg("--help").output();
    let said = output.expect("it runs").stdout;
    assert!(String::from_utf8_lossy(&said).contains("--socket-path"));
}

#[test]
fn what_does_not_compile_in_c_has_the_first_error_as_its_hint() {
    let wrong = C_SKELETON.replace("    return 0;", "    return nothing;");
    let hint = build(&[("my-rng.c", &wrong)]).expect_err("no such name");
    assert!(hint.contains("the first error is: my-rng.c:"), "{hint}");
    let display = C_SKELETON.replace("qemu/module.h", "ui/console.h");
    let hint = build(&[("my-rng.c", &display)]).expect_err("no displays");
    assert!(hint.contains("displays and input need the rest of QEMU"), "{hint}");
    let header = C_SKELETON.replace("qemu/module.h", "hw/arm/boot.h");
    let hint = build(&[("my-rng.c", &header)]).expect_err("no such header");
    assert!(hint.contains("hw/arm/boot.h: No such file") && hint.contains("not offered"), "{hint}");
}
