//! Builds of drivers as students hand them in, good and bad.

use super::*;

const MODERN: &str = "#include <linux/module.h>\n\
    static int __init start(void) { return 0; }\n\
    static void __exit stop(void) { }\n\
    module_init(start);\nmodule_exit(stop);\nMODULE_LICENSE(\"GPL\");\n";
const BUILT_IN: &str = "#include <linux/init.h>\n#include <linux/kernel.h>\n\
    static int __init start(void) { return 0; }\ndevice_initcall(start);\n";

fn build(files: &[(&str, &str)]) -> Result<Module, String> {
    let source = tempfile::tempdir().expect("a folder can be made");
    let work = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = source.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    let environment = lab::environment::get().expect("the environment can be made");
    let kernel = environment.kernel(lab::Choice::default());
    driver(source.path(), &work.keep(), kernel).map_err(|failure| match failure {
        Stop::Verdict(verdict) => verdict.message(),
        Stop::Lab(error) => panic!("{error:#}"),
    })
}

#[test]
fn a_driver_with_a_makefile_is_built_as_it_is() {
    let makefile = "obj-m += my-rng.o\nKDIR := /lib/modules/$(shell uname -r)/build\n\
        all: app\n\tmake -C $(KDIR) M=$(PWD) modules\napp: app.c\n\tgcc -o app app.c\n";
    let files = [
        ("sub/Makefile", makefile),
        ("sub/my-rng.c", MODERN),
        ("sub/app.c", "int main(void) { return 0; }"),
        ("sub/my-rng.ko", "an old one"),
    ];
    let module = build(&files).expect("it compiles");
    assert_eq!(module.name, "my_rng");
    assert!(module.unloadable);
    assert_eq!(module.notes, Vec::<String>::new());
}

#[test]
fn a_driver_for_inside_the_kernel_becomes_a_module_that_stays() {
    let module = build(&[("my rng.c", BUILT_IN)]).expect("it compiles");
    assert_eq!(module.name, "my_rng");
    assert!(!module.unloadable);
    let notes = module.notes.join("\n");
    for part in ["kbuild takes no such names", "no Kbuild", "module.h", "no MODULE_LICENSE"] {
        assert!(notes.contains(part), "{part} is not in {notes}");
    }
}

#[test]
fn a_makefile_of_the_kernels_tree_is_understood() {
    let files = [("Makefile", "obj-$(CONFIG_MY_RNG) += a.o\n"), ("a.c", MODERN)];
    let module = build(&files).expect("it compiles");
    assert_eq!(module.notes, ["built with CONFIG_MY_RNG=m"]);
    // One that compiles it into the kernel is as good as none.
    build(&[("Makefile", "obj-y += a.o\n"), ("a.c", MODERN)]).expect("it compiles");
}

#[test]
fn the_first_error_is_in_the_hint_with_the_students_line() {
    let broken = BUILT_IN.replace("return 0", "return nothing");
    let hint = build(&[("a.c", &broken)]).expect_err("it does not compile");
    assert!(hint.contains("a.c:3:"), "{hint}");
    let old = MODERN.replace("return 0", "class_create(THIS_MODULE, \"x\"); return 0");
    let old = format!("#include <linux/device.h>\n{old}");
    let hint = build(&[("a.c", &old)]).expect_err("it does not compile");
    assert!(hint.contains("since Linux 6.4"), "{hint}");
}

#[test]
fn what_is_no_driver_has_a_hint() {
    assert!(build(&[("a.txt", "")]).expect_err("nothing").contains("no C file"));
    let hint = build(&[("a.c", "int x;\n")]).expect_err("no module");
    assert!(hint.contains("no module begins in a.c"), "{hint}");
    let hint = build(&[("a.c", MODERN), ("b.c", BUILT_IN)]).expect_err("two modules");
    assert!(hint.contains("(a.c, b.c)"), "{hint}");
    let files = [("Makefile", "obj-m :=\n"), ("a.c", MODERN)];
    let hint = build(&files).expect_err("nothing is built");
    assert!(hint.contains("no module (.ko)"), "{hint}");
}

#[test]
fn a_makefile_that_looks_around_finds_nothing() {
    let makefile = "obj-m := a.o\n$(info seen $(wildcard /home /root /etc/passwd))\n\
        $(shell rm -rf /usr/bin; echo x > /usr/new)\n";
    build(&[("Makefile", makefile), ("a.c", MODERN)]).expect("the compiler is still there");
    let makefile = "obj-m := a.o\n$(shell ln -s /etc/shadow stolen.ko)\n";
    let module = build(&[("Makefile", makefile), ("a.c", MODERN)]).expect("the link is no module");
    assert!(module.file.ends_with("a.ko"));
}

#[test]
fn a_name_that_the_kernel_has_itself_is_changed() {
    let module = build(&[("random.c", MODERN)]).expect("it compiles");
    assert_eq!(module.name, "driver_random");
    let notes = module.notes.join("\n");
    assert!(notes.contains("a part of the kernel is named random already"), "{notes}");
    let two = [
        ("Makefile", "obj-m := random.o\nrandom-objs := main.o other.o\n"),
        ("main.c", MODERN),
        ("other.c", "int other(void);\nint other(void) { return 0; }\n"),
    ];
    assert_eq!(build(&two).expect("it compiles").name, "driver_random");
}
