//! Builds of devices, good and bad. The first one compiles the device kit.

use super::*;

const SKELETON: &str = include_str!("../../../../server/vfio-user/examples/skeleton.rs");

fn build(files: &[(&str, &str)]) -> Result<PathBuf, String> {
    let source = tempfile::tempdir().expect("a folder can be made");
    let work = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = source.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    device(source.path(), &work.keep()).map_err(|failure| match failure {
        Failure::Submission { hint, .. } => hint,
        Failure::Lab(error) => panic!("{error:#}"),
    })
}

fn manifest(more: &str) -> String {
    format!(
        "[package]\nname = \"mine\"\nedition = \"2021\"\n[dependencies]\nvfio-user-kit = \"0.1\"\n\
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
    assert!(build(&[("a.txt", "")]).expect_err("nothing").contains("neither a Cargo.toml"));
}

#[test]
fn a_crate_in_a_folder_is_found_and_a_device_of_qemus_is_named() {
    let top = tempfile::tempdir().expect("a folder can be made");
    let krate = top.path().join("crate");
    let inner = krate.join("ada/rng");
    fs::create_dir_all(&inner).expect("writable");
    fs::write(inner.join("Cargo.toml"), "x").expect("writable");
    let files = [inner.join("Cargo.toml")];
    let found = only_crate(&files, &krate).expect("there is one");
    take_inner(&krate, &found).expect("it can be moved");
    assert!(krate.join("Cargo.toml").is_file());
    let c = top.path().join("my-rng.c");
    fs::write(&c, "#include \"qemu/osdep.h\"\n").expect("writable");
    let Err(Failure::Submission { hint, .. }) = only_file(&[c], top.path()) else {
        panic!("it is no device for the kit");
    };
    assert!(hint.contains("my-rng.c: a device in C against QEMU's API is not run"), "{hint}");
}
