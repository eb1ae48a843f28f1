//! Builds the workspace's own programs: the daemon for the host, the tester for the guest.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::arch::Arch;
use crate::once::{OnceResult, once};
use crate::{cross_cargo, paths, process, progress, variables};

/// Cargo's environment variable that names another target folder.
const TARGET_VARIABLE: &str = "CARGO_TARGET_DIR";
/// The environment variable by which the user asks for all that cargo says.
const VERBOSE_VARIABLE: &str = "LAB_VERBOSE";
/// How long cargo may take before the user is told.
const LONG: Duration = Duration::from_secs(2);

/// How cargo builds programs: as it built the lab, so that they share compiled crates. A first guest
/// need not wait for optimised programs, and benchmarks measure these.
pub(crate) const OPTIMISED: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };

/// The daemon.
pub fn server() -> Result<PathBuf> {
    static SERVER: OnceResult<PathBuf> = OnceResult::new();
    once(&SERVER, || build("my-rng-server", "my-rng-server", OPTIMISED, &[])).cloned()
}

/// Links statically: the guest has no C library to speak of. What only debuggers read would be most
/// of the guest's files.
const STATIC: [&str; 5] = ["--", "-C", "target-feature=+crt-static", "-C", "strip=debuginfo"];

/// The tester, for the guest.
pub fn tester() -> Result<PathBuf> {
    static TESTER: OnceResult<PathBuf> = OnceResult::new();
    once(&TESTER, || build_for_guest("my-rng-tester", OPTIMISED)).cloned()
}

/// The checker's exerciser, for the guest. Always optimised: it draws many numbers on an emulated processor.
pub fn exerciser() -> Result<PathBuf> {
    static EXERCISER: OnceResult<PathBuf> = OnceResult::new();
    once(&EXERCISER, || build_for_guest("exerciser", &["--release"])).cloned()
}

/// The checker's program that builds drivers.
pub fn driver_builder() -> Result<PathBuf> {
    static BUILDER: OnceResult<PathBuf> = OnceResult::new();
    once(&BUILDER, || build("checker", "build-driver", OPTIMISED, &[])).cloned()
}

/// The device kit for C, as a static library.
pub fn c_kit() -> Result<PathBuf> {
    const PACKAGE: &str = "vfio-user-device-c";
    static KIT: OnceResult<PathBuf> = OnceResult::new();
    once(&KIT, || {
        let mut arguments = vec!["build", "--package", PACKAGE];
        arguments.extend(OPTIMISED);
        let messages = run(PACKAGE, &arguments)?;
        let library = static_library(&messages);
        library.with_context(|| format!("cargo built {PACKAGE} and did not say where it is"))
    })
    .cloned()
}

/// Builds a program of a package, and says where it is.
fn build(package: &str, program: &str, profile: &[&str], rustc: &[&str]) -> Result<PathBuf> {
    let mut arguments = vec!["rustc", "--package", package, "--bin", program];
    arguments.extend(profile.iter().chain(rustc));
    let built = programs(program, &arguments)?.pop();
    built.with_context(|| format!("cargo built {program} and did not say where it is"))
}

/// As [`build`], for the guest: the program that has its package's name.
fn build_for_guest(package: &str, profile: &[&str]) -> Result<PathBuf> {
    let arch = Arch::guest();
    if !arch.is_foreign() {
        return build(package, package, profile, &STATIC);
    }
    let mut arguments = vec!["rustc", "--package", package, "--bin", package];
    arguments.extend(profile);
    arguments.extend(["--message-format=json-render-diagnostics", "--target", arch.rust_target()]);
    arguments.extend(STATIC);
    let messages = cross_cargo::output(package, &arguments)?;
    let inside = executables(&messages).pop();
    let inside = inside.with_context(|| format!("cargo built no {package} for {arch}"))?;
    cross_cargo::outside(&inside)
}

/// Runs cargo, whose warnings and errors go to the user, and returns the programs that it built. They are in
/// the checkout's target folder.
pub(crate) fn programs(what: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<PathBuf>> {
    Ok(executables(&run(what, arguments)?))
}

/// Runs cargo, and returns its messages.
fn run(what: &str, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo has children, which would go on writing to the target folder when only it was killed.
    let mut command = process::contained(cargo);
    let (subcommand, rest) = arguments.split_first().context("cargo needs a command")?;
    command.arg(subcommand).arg("--message-format=json-render-diagnostics");
    if variables::get(VERBOSE_VARIABLE).is_none() {
        command.arg("--quiet");
    }
    command.args(rest);
    if variables::get(TARGET_VARIABLE).is_none() {
        command.env(TARGET_VARIABLE, paths::checkout().join("target"));
    }
    // Its progress bar would share a line with the lab's own.
    command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    command.current_dir(paths::checkout()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = output_of(what, &mut command)?;
    if !output.status.success() {
        bail!("building {what} ended with {}", process::describe(output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for cargo, and says what it does when it takes its time.
fn output_of(what: &str, command: &mut Command) -> Result<Output> {
    let begun = Instant::now();
    let mut wait = None;
    let output = std::thread::scope(|scope| {
        // Cargo dies with the thread that starts it, and that one waits for it.
        let cargo = scope.spawn(|| command.output());
        while !cargo.is_finished() {
            std::thread::sleep(process::POLL);
            if begun.elapsed() > LONG {
                wait.get_or_insert_with(|| progress::Wait::new(&format!("compiling {what}")))
                    .tick();
            }
        }
        cargo.join()
    });
    if let Some(wait) = wait {
        wait.done(&format!("compiled {what}"));
    }
    let output = output.map_err(|_| anyhow!("the thread that runs cargo panicked"))?;
    output.with_context(|| format!("cannot run {command:?}"))
}

/// The last static library in cargo's messages.
fn static_library(messages: &str) -> Option<PathBuf> {
    let files = parsed(messages).filter_map(|message| message["filenames"].as_array().cloned());
    let files = files.flatten();
    let mut paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    paths.rfind(|path| path.extension().is_some_and(|extension| extension == "a"))
}

/// The programs in cargo's messages.
fn executables(messages: &str) -> Vec<PathBuf> {
    parsed(messages).filter_map(|message| Some(message["executable"].as_str()?.into())).collect()
}

/// Cargo's messages, one JSON document per line.
fn parsed(messages: &str) -> impl DoubleEndedIterator<Item = Value> {
    messages.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_no_programs() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/target/a\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [PathBuf::from("/target/a")]);
        assert!(executables("").is_empty());
    }

    #[test]
    fn a_static_library_is_found_among_other_kinds() {
        let messages = "{\"filenames\":[\"/target/libx.rlib\"]}\n\
                        {\"filenames\":[\"/target/libc.a\",\"/target/libc.so\"]}\n";
        assert_eq!(static_library(messages), Some(PathBuf::from("/target/libc.a")));
        assert_eq!(static_library("{}"), None);
    }
}
