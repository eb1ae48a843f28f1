//! Builds the workspace's own programs: the daemon for the host, the tester for the guest.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;
use crate::process::{self, Identity};

/// The daemon. An optimised build, as users run it.
pub fn server() -> Result<PathBuf> {
    static SERVER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&SERVER, || build("my-rng-server", &[]))
}

/// The tester, linked statically: the guest has no C library to speak of.
pub fn tester() -> Result<PathBuf> {
    static TESTER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&TESTER, || build("my-rng-tester", &["--", "-C", "target-feature=+crt-static"]))
}

fn once(
    cell: &OnceLock<Result<PathBuf, String>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    cell.get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// Builds the program of a package that has its name, and says where it is. Cargo's own words go
/// to the user.
fn build(package: &str, rustc: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo has children, which would go on writing to the target folder when only it was killed.
    process::check_namespaces()?;
    let mut command = process::namespaced(Identity::Same, cargo);
    command.args(["rustc", "--release", "--package", package, "--bin", package]);
    command.arg("--message-format=json-render-diagnostics").args(rustc);
    command.current_dir(paths::checkout()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("building {package} ended with {}", process::describe(output.status));
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("cargo built {package} and did not say where it is"))
}

/// The program in cargo's messages, one JSON document per line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_no_programs() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/target/a\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some("/target/a".into()));
        assert_eq!(executable(""), None);
    }
}
