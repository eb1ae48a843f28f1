//! Runs cargo for another architecture, with the compilers of the lab's private root for it.
//!
//! This system's own Rust has mostly no standard library for another architecture. The root has
//! Debian's, with the C compiler to link programs with. Cargo runs inside that root: the checkout,
//! the target folder and the crates that this system's cargo has downloaded are shown to it there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::process::{self, Identity};
use crate::root::Root;
use crate::{files, lock, packages, paths, progress, variables};

/// Where the target folder is inside.
const TARGET: &str = "/tmp/target";

/// Rust's name for 64-bit RISC-V.
const RISCV64: &str = "riscv64gc-unknown-linux-gnu";

/// Runs in namespaces of its own: $1 is the root, $2 the checkout, $3 the target folder, $4 cargo's
/// home, $5 a folder with more for the target; what follows are variables for the environment, and cargo's
/// arguments behind `--`.
const RUN: &str = r#"
set -eu
root=$1 checkout=$2 target=$3 home=$4 more=$5
shift 5
box=$root/usr/bin/busybox
"$box" mount -o rbind /dev "$root/dev"
"$box" mount -t proc proc "$root/proc"
"$box" mount -o bind "$checkout" "$root/mnt"
"$box" mount -t tmpfs -o mode=1777 tmp "$root/tmp"
for shown in target home more; do
    "$box" mkdir "$root/tmp/$shown"
    eval "from=\$$shown"
    [ -z "$from" ] || "$box" mount -o bind "$from" "$root/tmp/$shown"
done
exec "$box" chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/tmp TMPDIR=/tmp LC_ALL=C \
    CARGO_HOME=/tmp/home CARGO_TARGET_DIR=/tmp/target CARGO_NET_OFFLINE=true \
    CARGO_TERM_PROGRESS_WHEN=never sh -euc '
        cd /mnt
        while [ "$1" != -- ]; do
            export "${1?}"
            shift
        done
        shift
        exec cargo "$@"' sh "$@"
"#;

/// Runs cargo for the guests' architecture and returns what it printed; its own words go to the user.
pub fn output(what: &str, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
    let arch = Arch::guest();
    progress::say(&format!("building {what} for {arch}"));
    let mut command = command(arch, None, &[], arguments)?;
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("building {what} for {arch} ended with {}", process::describe(output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs cargo for an architecture. Programs and tests that it starts run on an emulated processor, with
/// pages of so many bytes.
pub fn run(arch: Arch, page_size: u32, arguments: &[impl AsRef<OsStr>]) -> Result<ExitStatus> {
    let target = arch.rust_target();
    let runner = variable(arch, "RUNNER", "/tmp/more/usr/bin/qemu-aarch64-static");
    let library = format!("QEMU_LD_PREFIX=/usr/{}", arch.triple());
    let pages = format!("QEMU_PAGESIZE={page_size}");
    let variables = [runner, library, pages, format!("CARGO_BUILD_TARGET={target}")];
    let mut command = command(arch, Some(&packages::emulator()), &variables, arguments)?;
    command.status().with_context(|| format!("cannot run {command:?}"))
}

/// Checks that packages compile for RISC-V, by the compilers of the root for another architecture.
pub fn check_riscv64(packages: &[String]) -> Result<ExitStatus> {
    let arch = if Arch::host() == Arch::X86_64 { Arch::Arm64 } else { Arch::X86_64 };
    let library = format!("/tmp/more/usr/lib/rustlib/{RISCV64}/lib");
    let variables = [format!("CARGO_BUILD_TARGET={RISCV64}"), format!("RUSTFLAGS=-L {library}")];
    let mut command = command(arch, Some(&packages::riscv64()), &variables, &["check"])?;
    command.args(packages).status().with_context(|| format!("cannot run {command:?}"))
}

/// A path inside, as it is outside.
pub fn outside(path: &Path) -> Result<PathBuf> {
    let path = path.strip_prefix(TARGET).with_context(|| {
        format!("cargo has built {}, which is not in its target folder", path.display())
    })?;
    Ok(target(Arch::guest()).join(path))
}

/// The target folder.
fn target(arch: Arch) -> PathBuf {
    paths::lab().join(format!("rust-{arch}"))
}

/// A setting of cargo's for the target, as an environment variable.
fn variable(arch: Arch, name: &str, value: &str) -> String {
    let target = arch.rust_target().to_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{target}_{name}={value}")
}

fn command(
    arch: Arch,
    more: Option<&Root>,
    variables: &[String],
    arguments: &[impl AsRef<OsStr>],
) -> Result<Command> {
    fetch_crates()?;
    let ensure = |root: &Root| root.ensure(&lock::preparing()?);
    let root = ensure(&packages::build(arch))?;
    let more = more.map(ensure).transpose()?.unwrap_or_default();
    let target = target(arch);
    files::create_folder(&target)?;
    if let Err(reason) = process::namespaces() {
        bail!("building for {arch} needs namespaces, which this system does not allow ({reason})");
    }
    let mut command = process::namespaced(Identity::Root, "sh");
    command.args(["-c", RUN, "sh"]).args([&root, &paths::checkout(), &target]);
    command.arg(cargo_home()?).arg(more);
    // The name cc is made when a package is configured.
    let linkers = [(arch, arch.tool("gcc")), (Arch::host(), "gcc".to_owned())];
    command.args(linkers.map(|(arch, linker)| variable(arch, "LINKER", &linker))).args(variables);
    command.arg("--").args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Has this system's cargo download all crates, for whichever target: the one inside has no network.
fn fetch_crates() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut fetch = process::tied(cargo);
    fetch.args(["fetch", "--quiet", "--locked"]);
    process::output("cargo fetch", fetch.current_dir(paths::checkout())).map(drop)
}

/// Where this system's cargo keeps the crates.
fn cargo_home() -> Result<PathBuf> {
    let named = variables::get("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    named.or_else(usual).context("neither CARGO_HOME nor HOME says where cargo keeps its crates")
}
