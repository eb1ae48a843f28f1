//! `--doctor`: what the lab has, what it lacks and how to get it. Downloads and changes nothing
//! but the kept verdict about KVM.

use anyhow::Result;
use lab::packages::Roots;
use lab::qemu::Qemu;
use lab::root::{self, Root};
use lab::{Arch, accel, entry, kernel, lock, mmdebstrap, packages, paths, process};

/// Prints the report; true when the lab will run.
pub fn report() -> Result<bool> {
    let arch = Arch::guest();
    let mut report = Report { well: true };

    let qemu_root = packages::qemu(arch);
    let qemu = match Qemu::present(&qemu_root) {
        Ok(Some(qemu)) => {
            report.good("QEMU", &qemu.to_string());
            Some(qemu)
        }
        Ok(None) => {
            let reason = if process::in_path(arch.qemu()) {
                "this system's has no vfio-user-pci (which came with QEMU 10.1)"
            } else {
                "this system has none"
            };
            report.later("QEMU", &format!("{reason}; {}", fetch(&qemu_root)));
            None
        }
        Err(error) => {
            report.bad("QEMU", &format!("{error:#}"));
            None
        }
    };

    let missing: Vec<Root> = of_guest(arch).into_iter().filter(|root| !root.ready()).collect();
    let guest = missing.is_empty();
    if guest {
        report.good("guest", &format!("{arch}, kernels {}", kernels(arch)?.join(", ")));
    }
    for root in &missing {
        report.later("guest", &format!("{arch}, {}", fetch(root)));
    }

    versions(&mut report, arch);
    acceleration(&mut report, qemu.as_ref().filter(|_| guest))?;
    preparation(&mut report, guest && qemu.is_some());
    if report.well {
        println!("\nThe lab will run: ./scripts/lab.sh");
    } else {
        println!("\nThe lab will not run before the lines marked `no` are seen to.");
    }
    Ok(report.well)
}

/// The roots without which no guest boots.
fn of_guest(arch: Arch) -> Vec<Root> {
    let build = arch.is_foreign().then(|| packages::build(arch));
    [packages::guest(arch)].into_iter().chain(build).collect()
}

/// The kernels that are there.
fn kernels(arch: Arch) -> Result<Vec<String>> {
    let roots =
        [packages::previous_headers(arch), packages::build(arch), packages::newest_kernel(arch)];
    let mut names = Vec::new();
    for root in roots.iter().filter(|root| root.ready()) {
        for kernel in kernel::list(&root.path())? {
            let only = if kernel.image.is_some() { "" } else { " (headers)" };
            names.push(format!("{}{only}", kernel.release));
        }
    }
    Ok(names)
}

/// What a report about the lab has to name: which versions apt chose.
fn versions(report: &mut Report, arch: Arch) {
    let roots = [of_guest(arch), vec![packages::qemu(arch)]].concat();
    for root in roots.iter().filter(|root| root.ready()) {
        let list = root.versions().unwrap_or_default();
        let mut lines = list.lines();
        let suites = lines.next().unwrap_or_default().trim_start_matches("# ");
        let named: Vec<String> = lines
            .filter_map(|line| {
                let (package, version) = line.split_once(' ')?;
                let version = version.split(' ').next()?;
                TOLD.contains(&package).then(|| format!("{package} {version}"))
            })
            .collect();
        report.good(&format!("{} is of {suites}", root.name), &named.join(", "));
    }
    let list = paths::packages().join(root::ALL_VERSIONS);
    if list.is_file() {
        report.good("versions", &format!("all of them are in {}", list.display()));
    }
}

/// The packages whose versions are told: faults of the lab mostly come with another one of these.
const TOLD: [&str; 7] = [
    "linux-image-cloud-amd64",
    "linux-image-cloud-arm64",
    "qemu-system-x86",
    "qemu-system-arm",
    "gcc",
    "busybox-static",
    "kmod",
];

/// How a root that is not there will come.
fn fetch(root: &Root) -> String {
    let to = paths::lab();
    format!("the next run fetches {} (about {}) to {}", root.purpose, root.size, to.display())
}

/// Whether guests run under KVM: by trying, if there is something to try with.
fn acceleration(report: &mut Report, qemu: Option<&Qemu>) -> Result<()> {
    let Some(qemu) = qemu else {
        let state = if std::path::Path::new("/dev/kvm").exists() {
            "/dev/kvm is there; whether it really runs a guest can be tried when QEMU and the \
             guest's kernel are there"
        } else {
            "no /dev/kvm: the guest will be emulated (TCG), which takes a few seconds more"
        };
        report.later("KVM", state);
        return Ok(());
    };
    let right = lock::preparing()?;
    let arch = Arch::guest();
    let [guest, build] = [packages::guest(arch), packages::build(arch)].map(|root| root.path());
    let kernel = kernel::bootable(&build);
    let roots = Roots { arch, guest, build };
    match kernel.and_then(|kernel| accel::choose(qemu, &roots, &kernel, &right)) {
        Ok(accel) => report.good("KVM", &accel.to_string()),
        Err(error) => report.bad("KVM", &format!("{error:#}")),
    }
    Ok(())
}

/// What fetching packages and building the module need.
fn preparation(report: &mut Report, fetched: bool) {
    match process::namespaces() {
        Ok(()) => report.good("namespaces", "can be made, for building the guest's module"),
        Err(reason) if entry::root().ready() => report.good(
            "namespaces",
            &format!("are not allowed ({reason}); proot builds the guest's module, slowly"),
        ),
        Err(reason) => report
            .later("namespaces", &format!("are not allowed ({reason}); {}", fetch(&entry::root()))),
    }
    if fetched {
        return;
    }
    if mmdebstrap::present().is_some() {
        report.good("mmdebstrap", "is there, for fetching Debian packages");
    } else if process::in_path("apt-get") {
        let how = if process::is_root() {
            "the next run installs it with apt-get"
        } else {
            "the next run downloads it with apt-get to the lab's folder"
        };
        report.later("mmdebstrap", how);
    } else {
        report.bad("mmdebstrap", "is missing: install mmdebstrap and debian-archive-keyring");
    }
}

/// The lines of the report.
struct Report {
    well: bool,
}

impl Report {
    fn good(&mut self, what: &str, text: &str) {
        println!("  yes    {what}: {text}");
    }

    fn later(&mut self, what: &str, text: &str) {
        println!("  later  {what}: {text}");
    }

    fn bad(&mut self, what: &str, text: &str) {
        self.well = false;
        println!("  no     {what}: {text}");
    }
}
