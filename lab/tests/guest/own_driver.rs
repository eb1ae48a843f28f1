//! Kernel modules of the user's own, in the forms that the coursework checker takes.

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::{driver_build, environment, paths, slots};

use crate::say;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// A module's only source.
fn greeter() -> String {
    let path = paths::checkout().join("lab/guest-modules/greeter/greeter.c");
    fs::read_to_string(path).expect("it is there")
}

/// Names and contents of files.
type Files<'a> = &'a [(&'a str, &'a str)];

/// Writes files with their folders.
fn write(folder: &Path, files: Files) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
        fs::write(path, text).expect("writable");
    }
}

#[test]
fn drivers_that_the_checker_takes_are_built() {
    environment::get().expect("the lab's environment can be made");
    let source = greeter();
    let (start, end) = source.split_at(source.find("static int __init").expect("it has one"));
    let parts = format!("{start}\n#include \"../common/say.h\"\n{end}");
    let forms: [(&str, &str, Files); 4] = [
        ("a folder with one C file", "own", &[("own/hello.c", &source)]),
        ("a file", "own/hello.c", &[("own/hello.c", &source)]),
        (
            "sources in sub-folders",
            "own",
            &[
                ("own/common/say.h", "#define SAY 1\n"),
                ("own/driver/hello.c", &parts),
                ("own/driver/Makefile", "obj-m += hello.o\n"),
            ],
        ),
        (
            "several files with a Kbuild",
            "own",
            &[
                ("own/Kbuild", "obj-m := hello.o\nhello-y := main.o more.o\n"),
                ("own/main.c", &source),
                ("own/more.c", "int more(void);\nint more(void) { return 1; }\n"),
            ],
        ),
    ];
    for (what, name, files) in forms {
        say(what);
        let folder = tempfile::tempdir().expect("a folder can be made");
        write(folder.path(), files);
        let work = folder.path().join("work");
        write(&work, &[("left", "of the build before")]);
        let built = driver_build::build(&folder.path().join(name), &work);
        let module = built.unwrap_or_else(|error| panic!("{what}: {error:#}")).file;
        assert!(module.is_file() && module.ends_with("hello.ko"), "{what}: {}", module.display());
        assert!(!work.join("left").exists());
    }
}

#[test]
fn a_driver_that_does_not_compile_boots_no_guest() {
    environment::get().expect("the lab's environment can be made");
    let _slot = slots::wait();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let wrong = greeter().replace("pr_info(\"goodbye\\n\");", "nonsense");
    write(folder.path(), &[("wrong/wrong.c", &wrong), ("none/README", "nothing here")]);
    for (driver, words) in [
        ("wrong", "wrong.c:28:9: error: "),
        ("none", "there is no C file"),
        ("absent", "there is nothing at absent"),
    ] {
        let lab = Command::new(LAB).args(["--driver", driver]).current_dir(folder.path()).output();
        let ended = lab.expect("the program can be started");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "no {words:?} in {said}");
        assert!(!said.contains("booting the guest"), "{said}");
    }
}
