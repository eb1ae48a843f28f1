//! What the lab makes of a Debian archive that moves: the real apt and mmdebstrap, the lab's own
//! lists of packages, and a mirror on loopback that is as the archive has been, or may be.

mod mirror;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use lab::packages::{guest, newest_kernel, qemu};
use lab::root::{Root, VERSIONS};
use lab::{Arch, kernel, lock};

use mirror::{Mirror, Package};

const HOST: Arch = Arch::host();
/// A loader that runs the program it is given as a shell script.
const LOADER: &str = "#!/bin/sh\nshift 2\nexec sh \"$@\"\n";
/// A QEMU that only says what it is, and whether it has `vfio-user-pci`.
const FAKE_QEMU: &str = "case \"$*\" in\n*vfio-user-pci,help*) exit STATUS ;;\n\
    *--version*) echo 'QEMU emulator version VERSION' ;;\nesac\n";
const PAST: &str = "Fri, 02 Jan 2026 00:00:00 UTC";

/// A kernel's packages and the metapackages that name them.
fn kernel_packages(release: &str, version: &str) -> Vec<Package> {
    let image = format!("linux-image-{release}");
    let headers = format!("linux-headers-{release}");
    let exactly = |package: &str| format!("{package} (= {version})");
    vec![
        Package::new("linux-image-cloud-amd64", version).depends(&exactly(&image)),
        Package::new("linux-headers-cloud-amd64", version).depends(&exactly(&headers)),
        Package::new(&image, version)
            .file(&format!("boot/vmlinuz-{release}"), "")
            .file(&format!("usr/lib/modules/{release}/modules.order"), ""),
        Package::new(&headers, version).file(&format!("usr/src/{headers}/Makefile"), ""),
    ]
}

/// Everything else that the guest's root is made of, as its list names it.
fn tools() -> Vec<Package> {
    let root = guest(HOST);
    let names = root.packages.iter().flat_map(|names| names.split(','));
    let names = names.filter(|name| !name.starts_with("linux-"));
    let mut packages: Vec<Package> = names.map(|name| Package::new(name, "1")).collect();
    packages[0].files = root.proof.iter().map(|path| (path.clone(), String::new())).collect();
    packages
}

fn qemu_packages(version: &str, has_device: bool) -> Vec<Package> {
    let script = FAKE_QEMU.replace("STATUS", if has_device { "0" } else { "1" });
    let script = script.replace("VERSION", version);
    vec![
        Package::new("qemu-system-x86", version)
            .depends("libc6")
            .file("usr/bin/qemu-system-x86_64", &script),
        Package::new("libc6", "2").file("usr/lib64/ld-linux-x86-64.so.2", LOADER),
        Package::new("seabios", "1").file("usr/share/seabios/bios-256k.bin", ""),
        Package::new("ipxe-qemu", "1"),
    ]
}

/// A release with its tools, a kernel and a QEMU that is too old.
fn release(kernels: &[Vec<Package>]) -> Vec<Package> {
    let mut packages = [tools(), qemu_packages("1:10.0.13", false)].concat();
    packages.extend(kernels.concat());
    packages
}

fn usual_release() -> Vec<Package> {
    release(&[kernel_packages("6.12.107+deb13-cloud-amd64", "6.12.107-1")])
}

/// Makes a root in a folder; what went wrong as the user reads it. Nothing but the root is left.
fn make(root: &Root, mirror: &OsString, folder: &Path) -> Result<(), String> {
    let right = lock::preparing().expect("the lab's folder can be locked");
    let made = root.make_in(folder, Some(mirror), &right);
    let left: Vec<_> = fs::read_dir(folder).expect("readable").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == *root.name), "{left:?}");
    made.map_err(|error| format!("{error:#}"))
}

/// Makes a root of a mirror, and returns its kernel.
fn kernel_of(root: &Root, mirror: &OsString) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    make(root, mirror, folder.path())?;
    let made = folder.path().join(&root.name);
    Ok(kernel::bootable(&made).expect("there is one").release)
}

/// Makes QEMU's root of a mirror, and returns the list of its versions.
fn qemu_of(mirror: &Mirror) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    make(&qemu(HOST), &mirror.url(), folder.path())?;
    Ok(fs::read_to_string(folder.path().join(qemu(HOST).name).join(VERSIONS))
        .expect("it is written"))
}

#[test]
fn kernel_that_stands_in_two_archives_is_found() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    mirror.suite("trixie-security", &usual_release());
    let kernel = kernel_of(&guest(HOST), &mirror.url_with("trixie-security")).expect("it is there");
    assert_eq!(kernel, "6.12.107+deb13-cloud-amd64");
}

#[test]
fn newer_of_two_kernels_is_taken() {
    let mirror = Mirror::serve();
    mirror.suite(
        "trixie",
        &release(&[
            kernel_packages("6.12.117+deb13-cloud-amd64", "6.12.117-1"),
            kernel_packages("6.12.107+deb13-cloud-amd64", "6.12.107-1"),
        ]),
    );
    let kernel = kernel_of(&guest(HOST), &mirror.url()).expect("it is there");
    assert_eq!(kernel, "6.12.117+deb13-cloud-amd64");
}

#[test]
fn kernel_whose_abi_has_another_name_is_taken() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &release(&[kernel_packages("6.12+13.9-cloud-2-amd64", "6.12.300-1")]));
    let kernel = kernel_of(&guest(HOST), &mirror.url()).expect("it is there");
    assert_eq!(kernel, "6.12+13.9-cloud-2-amd64");
}

#[test]
fn release_without_a_kernel_is_followed_by_its_backports() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &release(&[]));
    let newer = kernel_packages("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1");
    mirror.suite("trixie-backports", &newer);
    let kernel = kernel_of(&guest(HOST), &mirror.url()).expect("backports have one");
    assert_eq!(kernel, "7.3.4+deb13-cloud-amd64");
}

#[test]
fn backports_with_the_releases_kernel_have_no_newest_kernel() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    mirror.suite("trixie-backports", &[]);
    let error = kernel_of(&newest_kernel(HOST), &mirror.url()).expect_err("there is none");
    assert!(error.contains("no kernel among them is newer than 6.12: 6.12.107"), "{error}");
    assert!(error.contains("tried testing:"), "{error}");
    let newer = [tools(), kernel_packages("7.4.1-cloud-amd64", "7.4.1-1")].concat();
    mirror.suite("testing", &newer);
    let kernel = kernel_of(&newest_kernel(HOST), &mirror.url()).expect("testing has one");
    assert_eq!(kernel, "7.4.1-cloud-amd64");
}

#[test]
fn qemu_of_backports_is_taken_with_the_rest_of_backports() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    let mut newer = qemu_packages("1:11.1.3", true);
    newer[0].depends = "seabios (>= 2), libc6".to_owned();
    newer[2].version = "2".to_owned();
    mirror.suite("trixie-backports", &newer);
    let versions = qemu_of(&mirror).expect("it is there");
    assert!(versions.starts_with("# trixie with trixie-backports\n"), "{versions}");
    for line in ["qemu-system-x86 1:11.1.3 amd64\n", "seabios 2 amd64\n"] {
        assert!(versions.contains(line), "no {line:?} in {versions}");
    }
}

#[test]
fn without_backports_the_next_suite_with_the_device_is_taken() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    let error = qemu_of(&mirror).expect_err("the release's is too old");
    for words in [
        "tried trixie with trixie-backports:\n",
        "trixie-backports/main/binary-amd64/Packages  404",
        "tried trixie:\n",
        "has no vfio-user-pci",
        "tried testing:\n",
        "name another mirror with LAB_MIRROR=URL",
    ] {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
    // Backports are there again, without a QEMU.
    mirror.suite("trixie-backports", &[]);
    mirror.suite("testing", &qemu_packages("1:12.0.1", true));
    let versions = qemu_of(&mirror).expect("testing has one");
    assert!(versions.starts_with("# testing\n"), "{versions}");
}

#[test]
fn file_that_answers_404_once_is_fetched_again() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    mirror.lose("kmod", 1);
    kernel_of(&guest(HOST), &mirror.url()).expect("the second try succeeds");
}

#[test]
fn file_that_always_answers_404_leads_to_the_next_suite_and_is_named() {
    let mirror = Mirror::serve();
    mirror.suite("trixie", &usual_release());
    mirror.suite("trixie-backports", &qemu_packages("1:11.1.3", true));
    mirror.lose("qemu-system-x86", usize::MAX);
    let error = qemu_of(&mirror).expect_err("no suite has the file");
    assert!(error.contains("qemu-system-x86_11.1.3_amd64.deb  404"), "{error}");
    mirror.lose("qemu-system-x86", 2);
    mirror.suite("testing", &qemu_packages("1:12.0.1", true));
    let versions = qemu_of(&mirror).expect("testing has another");
    assert!(versions.starts_with("# testing\n"), "{versions}");
}

#[test]
fn expired_lists_are_named_with_what_to_check() {
    let mirror = Mirror::serve();
    mirror.suite_until("trixie", &usual_release(), Some(PAST));
    let error = kernel_of(&guest(HOST), &mirror.url()).expect_err("the lists are too old");
    assert!(error.contains("is expired"), "{error}");
    mirror.suite_until("testing", &usual_release(), Some(PAST));
    let error = kernel_of(&guest(HOST), &mirror.url()).expect_err("the lists are too old");
    assert!(error.contains("this machine's clock is wrong: check `date`"), "{error}");
}

#[test]
fn root_that_is_there_stays_when_a_new_one_does_not_come() {
    let mirror = Mirror::serve();
    let folder = tempfile::tempdir().expect("a folder can be made");
    mirror.suite("trixie", &usual_release());
    make(&guest(HOST), &mirror.url(), folder.path()).expect("it is there");
    let kernel =
        || kernel::bootable(&folder.path().join(guest(HOST).name)).expect("it is there").release;
    mirror.lose("kmod", usize::MAX);
    make(&guest(HOST), &mirror.url(), folder.path()).expect_err("a package is missing");
    assert_eq!(kernel(), "6.12.107+deb13-cloud-amd64");
    mirror.lose("kmod", 0);
    mirror.suite("trixie", &release(&[kernel_packages("6.12.117-cloud-amd64", "6.12.117-1")]));
    make(&guest(HOST), &mirror.url(), folder.path()).expect("the new one is complete");
    assert_eq!(kernel(), "6.12.117-cloud-amd64");
}

#[test]
fn mirror_that_is_not_there_is_not_asked_again_and_again() {
    let url = "[trusted=yes] http://127.0.0.1:9".into();
    let error = kernel_of(&guest(HOST), &url).expect_err("nothing listens");
    assert!(error.contains("Is there a network?"), "{error}");
    assert_eq!(error.matches("tried ").count(), 1, "{error}");
}
