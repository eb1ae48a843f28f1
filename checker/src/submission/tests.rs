//! Where the parts of a submission are found.

use super::*;
use crate::handed_in::Part;

const DRIVER: &str = "#include <linux/module.h>\nmodule_init(f);\n";
const APP: &str = "int\nmain (void)\n{\n}\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        let parent = path.parent().expect("it is in the folder");
        fs::create_dir_all(parent).expect("writable");
        fs::write(path, text).expect("writable");
    }
    folder
}

fn find(folder: &tempfile::TempDir) -> Submission {
    Submission::find(folder.path()).expect("the lab's folder is writable")
}

#[test]
fn parts_are_known_by_their_names() {
    let folder = folder(&[("driver/a.c", DRIVER), ("app.c", APP), ("device.rs", "")]);
    let found = find(&folder);
    assert!(found.driver.is_some_and(|path| path.ends_with("driver")));
    assert!(found.app.is_some_and(|path| path.ends_with("app.c")));
    assert!(found.device.is_some_and(|path| path.ends_with("device.rs")));
}

#[test]
fn or_by_what_is_in_them() {
    let folder = folder(&[("rng.c", DRIVER), ("sub/try.C", APP)]);
    let found = find(&folder);
    assert!(found.driver.is_some_and(|path| path.join("rng.c").is_file()));
    assert!(found.app.is_some_and(|path| path.ends_with("sub/try.c")));
    assert_eq!(found.device, None);
    let HandedIn { found, missing, .. } = found.handed_in;
    assert_eq!(found, [(Part::Driver, "rng.c".to_owned()), (Part::App, "sub/try.c".to_owned())]);
    assert_eq!(missing, [Part::Device]);
}

#[test]
fn a_crate_is_a_device_wherever_it_is_and_so_is_a_file_that_uses_the_kit() {
    let crate_folder = folder(&[("mine/Cargo.toml", "[package]"), ("mine/src/main.rs", "")]);
    assert!(find(&crate_folder).device.is_some_and(|path| path.ends_with("mine")));
    let file = folder(&[("sub/rng.rs", "use vfio_user_device::Device;\nfn main() {}\n")]);
    assert!(find(&file).device.is_some_and(|path| path.ends_with("sub/rng.rs")));
}

#[test]
fn what_is_not_understood_is_named_with_what_to_do() {
    let files = [
        ("rust/my_rng.rs", "use kernel::prelude::*;\n"),
        ("a.c", APP),
        ("b.c", APP),
        ("my.cpp", APP),
        ("README.md", "how it works"),
    ];
    let found = find(&folder(&files));
    assert!(found.is_empty(), "{found:?}");
    let passed_over = found.handed_in.passed_over.join("\n");
    for part in [
        "rust/my_rng.rs: a driver in Rust is not built by this checker yet",
        "a.c, b.c: several C files have a main function; name the application app.c",
        "my.cpp: a program in C++ is not built; hand it in in C",
    ] {
        assert!(passed_over.contains(part), "{part} is not in {passed_over}");
    }
    assert!(!passed_over.contains("README"), "{passed_over}");
    let error = found.not_empty(Path::new("ann")).expect_err("there is nothing");
    assert!(error.to_string().contains("a driver in Rust is not built"), "{error}");
}

#[test]
fn patches_of_a_kernel_and_of_qemu_are_told_apart() {
    let patch = |header: &str| {
        format!(
            "--- a/drivers/misc/Makefile\n+++ b/drivers/misc/Makefile\n@@ -1 +1,2 @@\n \
             obj-y += x.o\n+obj-y += my-rng.o\n--- /dev/null\n+++ b/drivers/misc/my-rng.c\n\
             @@ -0,0 +1,2 @@\n+#include <{header}/module.h>\n+module_init(f);\n"
        )
    };
    let (linux, qemu) = (patch("linux"), patch("qemu"));
    let files = [("linux.patch", linux.as_str()), ("qemu.patch", &qemu), ("main.c", APP)];
    let found = find(&folder(&files)).handed_in;
    assert_eq!(
        found.found,
        [
            (Part::Driver, "linux/drivers/misc/my-rng.c".to_owned()),
            (Part::App, "main.c".to_owned()),
            (Part::Device, "qemu/drivers/misc/my-rng.c".to_owned())
        ]
    );
    assert!(found.notes.iter().any(|note| note.contains("taken out of linux.patch")));
}

#[test]
fn an_archive_is_a_submission_with_its_name() {
    let folder = folder(&[("ada.patch", "x"), ("bob/app.c", APP), ("notes.txt", "x")]);
    let all = all(folder.path()).expect("there are two");
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(Submission::find(&all[0].path).expect("it can be read").name, "ada");
}

#[test]
fn links_to_parts_of_another_user_are_not_followed() {
    let theirs = folder(&[("driver/a.c", DRIVER), ("app.c", APP), ("device.rs", "")]);
    let links = folder(&[]);
    for name in ["driver", "app.c", "device.rs"] {
        let target = theirs.path().join(name);
        std::os::unix::fs::symlink(target, links.path().join(name)).expect("writable");
    }
    let found = Submission::find(links.path()).expect("the lab's folder is writable");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn folders_archives_and_loose_files_are_submissions_and_notes_are_not() {
    let top = tempfile::tempdir().expect("a folder can be made");
    fs::create_dir(top.path().join("ada")).expect("writable");
    for name in ["bob.zip", "cleo.c", "dan.rs", "notes.pdf", ".hidden.c"] {
        fs::write(top.path().join(name), "").expect("writable");
    }
    let found = all(top.path()).expect("there are some");
    let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["ada", "bob", "cleo", "dan"]);
}

#[test]
fn two_submissions_never_share_a_name() {
    let top = tempfile::tempdir().expect("a folder can be made");
    fs::create_dir(top.path().join("ada")).expect("writable");
    for name in ["ada.zip", "ada.c", "bo b.c", "bo\nb.c", "bo b.c.c"] {
        fs::write(top.path().join(name), "").expect("writable");
    }
    let found = all(top.path()).expect("there are some");
    let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["ada", "ada.c", "ada.zip", "bo b", "bo b.c", "bo b.c.c"]);
}

#[test]
fn a_folder_of_submissions_is_not_taken_for_one() {
    let top = tempfile::tempdir().expect("a folder can be made");
    let write = |name: &str| {
        let path = top.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in one")).expect("writable");
        fs::write(path, "int main(void) { return 0; }").expect("writable");
    };
    write("loose.c");
    write("ada/app.c");
    ensure_one(top.path()).expect("it can be one with a folder in it");
    write("bob/app.c");
    let error = ensure_one(top.path()).expect_err("there are two").to_string();
    assert!(error.contains("holds 2 submissions (ada, bob, ...)"), "{error}");
    assert!(error.contains("--submissions "), "{error}");
}

#[test]
fn an_empty_folder_is_a_submission_without_parts() {
    let top = tempfile::tempdir().expect("a folder can be made");
    let found = Submission::find(top.path()).expect("it can be looked at");
    assert!(found.is_empty());
    assert_eq!(found.handed_in.missing, PARTS);
}
