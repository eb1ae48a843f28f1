//! Tells the program which commit it is built from, for `--version`.

use std::path::Path;
use std::process::Command;

/// Where the commit of a source that is no checkout is named, such as a package's.
const VARIABLE: &str = "MY_RNG_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let version = env!("CARGO_PKG_VERSION");
    let commit = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    let version = match commit.or_else(head) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=MY_RNG_VERSION={version}");
}

/// The commit of the checkout, which changes with its log.
fn head() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    let log = Path::new(&log).canonicalize().ok()?;
    println!("cargo::rerun-if-changed={}", log.display());
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
