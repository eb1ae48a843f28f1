//! Builds the workspace's own programs: the daemon for the host, the tester for the guest.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;
use crate::process::{self, Identity};

/// Cargo's environment variable that names another target folder.
const TARGET_VARIABLE: &str = "CARGO_TARGET_DIR";

/// The daemon. An optimised build, as users run it.
pub fn server() -> Result<PathBuf> {
    static SERVER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&SERVER, || build("my-rng-server", &[]))
}

/// Links statically: the guest has no C library to speak of.
const STATIC: [&str; 3] = ["--", "-C", "target-feature=+crt-static"];

/// The tester, for the guest.
pub fn tester() -> Result<PathBuf> {
    static TESTER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&TESTER, || build("my-rng-tester", &STATIC))
}

/// The checker's exerciser, for the guest.
pub fn exerciser() -> Result<PathBuf> {
    static EXERCISER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&EXERCISER, || build("exerciser", &STATIC))
}

/// The checker's program that builds drivers. Not optimised: the checker itself is not either, and
/// shares what was compiled.
pub fn driver_builder() -> Result<PathBuf> {
    const NAME: &str = "build-driver";
    static BUILDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILDER, || {
        let built = programs(NAME, &["build", "--package", "checker", "--bin", NAME])?.pop();
        built.with_context(|| format!("cargo built {NAME} and did not say where it is"))
    })
}

fn once(
    cell: &OnceLock<Result<PathBuf, String>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    cell.get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// Builds the program of a package that has its name, and says where it is.
fn build(package: &str, rustc: &[&str]) -> Result<PathBuf> {
    let mut arguments = vec!["rustc", "--release", "--package", package, "--bin", package];
    arguments.extend(rustc);
    let built = programs(package, &arguments)?.pop();
    built.with_context(|| format!("cargo built {package} and did not say where it is"))
}

/// Runs cargo, whose own words go to the user, and returns the programs that it built. They are in
/// the checkout's target folder.
pub(crate) fn programs(what: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo has children, which would go on writing to the target folder when only it was killed.
    process::check_namespaces()?;
    let mut command = process::namespaced(Identity::Same, cargo);
    let (verb, rest) = arguments.split_first().context("cargo needs a command")?;
    command.arg(verb).arg("--message-format=json-render-diagnostics").args(rest);
    if std::env::var_os(TARGET_VARIABLE).is_none_or(|folder| folder.is_empty()) {
        command.env(TARGET_VARIABLE, paths::checkout().join("target"));
    }
    // Its progress bar would share a line with the lab's own.
    command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    command.current_dir(paths::checkout()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("building {what} ended with {}", process::describe(output.status));
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// The programs in cargo's messages, one JSON document per line.
fn executables(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
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
}
