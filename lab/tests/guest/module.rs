//! The kernel module: built for every kernel, and at work on those that are booted.

use lab::module_build::{build, complaints};
use lab::{Choice, Guest, RunDir, environment, kernel};

use crate::my_rng::{self, GLIBC, MyRng, Options};
use crate::skip::skip;
use crate::{assert_kernel_is_content, bases, expected_lspci, load_module, lspci, run_tester, say};

#[test]
fn it_builds_without_warnings_for_every_kernel() {
    let environment = environment::get().expect("the lab's environment can be made");
    for (which, kernel) in environment.kernels() {
        let kernel = match kernel {
            Ok(kernel) => kernel,
            Err(error) => {
                skip(&format!("module::it_builds, for the kernel {which}"), &error);
                continue;
            }
        };
        say(&format!("building for {}", kernel.release));
        let built = build(kernel).expect("it builds");
        assert_eq!(complaints(&built.said), [""; 0], "for {}:\n{}", kernel.release, built.said);
    }
}

#[test]
fn it_works_on_kernel_6_12() {
    it_works(Choice::V6_12, GLIBC);
}

#[test]
fn it_works_on_the_newest_kernel() {
    it_works(Choice::Newest, "chacha20");
}

fn it_works(choice: Choice, generator: &'static str) {
    let environment = environment::get().expect("the lab's environment can be made");
    if let Err(error) = environment.exact_kernel(choice) {
        return skip(&format!("module::it_works on kernel {choice}"), &error);
    }
    let generator = if my_rng::inside_qemu() { GLIBC } else { generator };
    let run = RunDir::create(&format!("module-{choice:?}")).expect("a run can be made");
    let options = Options { generator: Some(generator), ..Options::default() };
    let device = MyRng::start(&run, "my-rng", options).expect("the device can be made");
    say("booting a guest with two processors");
    let guest = Guest::builder(&run).kernel(choice).processors(2);
    let mut guest = device.attach(guest).boot().expect("the guest boots");
    let release = guest.run("uname -r").expect("it says which kernel it runs");
    assert_eq!(kernel::is_newer(&release), choice == Choice::Newest, "it runs {release}");
    let base = bases(&mut guest)[0];
    let before = expected_lspci("00:02.0", &format!("{base:x}"));
    assert_eq!(lspci(&mut guest), before);

    load_module(&mut guest);
    assert_eq!(lspci(&mut guest), format!("{before}\tKernel driver in use: my_rng\n"));
    let available = guest.run("cat /sys/class/misc/hw_random/rng_available").expect("readable");
    assert!(available.contains("my_rng"), "{available}");
    run_tester(&mut guest, &format!("--generator {generator}"));
    assert_kernel_is_content(&mut guest);

    say("unloading and loading the module");
    for _ in 0..5 {
        guest.run("rmmod my_rng").expect("it unloads");
        guest.run("! test -e /dev/my_rng_driver").expect("its character device goes with it");
        load_module(&mut guest);
        guest.run("dd if=/dev/my_rng_driver bs=64 count=1 | wc -c").expect("it gives bytes");
    }
    say("loading it with a mode of the user's");
    let mode = "stat -c %a /dev/my_rng_driver";
    assert_eq!(guest.run(mode).expect("it is there").trim(), "666");
    guest.run("rmmod my_rng && insmod my_rng.ko mode=0640").expect("the module loads");
    guest.run_until("test -c /dev/my_rng_driver").expect("it makes its character device");
    assert_eq!(guest.run(mode).expect("it is there").trim(), "640");
    let told = guest.run("cat /sys/module/my_rng/parameters/mode").expect("it is readable");
    assert_eq!(told.trim(), "0640");
    guest.run("rmmod my_rng").expect("it unloads");
    for wrong in ["0777", "9", "", "-1", "0200000"] {
        let insmod = format!("insmod my_rng.ko mode={wrong} 2>&1");
        let refused = guest.try_run(&insmod).expect("the guest answers");
        assert_ne!(refused.status, 0, "mode={wrong} is taken");
    }
    load_module(&mut guest);
    say("unloading it while a program has the device open");
    let said = guest
        .run(
            "exec 3</dev/my_rng_driver
            rmmod my_rng 2>&1 && echo 'unloaded under an open file'
            echo \"$(dd bs=4 count=1 <&3 2>/dev/null | wc -c) bytes\"
            exec 3<&-
            rmmod my_rng && echo 'unloaded after it was closed'",
        )
        .expect("it unloads in the end");
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        matches!(lines[..], [refused, "4 bytes", "unloaded after it was closed"]
            if refused.ends_with("Resource temporarily unavailable")),
        "rmmod, a read, and rmmod after the file was closed said {said:?}"
    );
    assert_kernel_is_content(&mut guest);
}
