//! Rust in the sandbox, and the device kit compiled once for all.
//!
//! Cargo and rustc come from this system, without a network: the sources of the kit's dependencies
//! are those that were downloaded when the checker itself was built. Every submission would compile
//! the kit and its dependencies anew, for half a minute; so that is done once, with a program that
//! does nothing, and each submission begins with a copy of what came of it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::device_crate::{self, DeviceCrate};
use lab::once::{OnceResult, once};
use lab::sandbox::{Limits, Outcome, Sandbox};
use lab::{files, lock, paths, process, progress};

/// Where the crate is inside the sandbox.
const INSIDE: &str = "/work";
/// Where cargo's own folder is inside the sandbox.
const CARGO_HOME: &str = "/cargo";
/// The same for all crates, whatever their manifests say: what was compiled before only fits when
/// nothing of this differs.
const PROFILE: [(&str, &str); 8] = [
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_PANIC", "unwind"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    // A student's arithmetic that overflows shall be noticed.
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false"),
];
/// The package that only exists to have the kit compiled.
const NOTHING: &str = "nothing";

/// How long the kit may take, on a machine that does much else.
const KIT_TIME: Duration = Duration::from_secs(1800);

/// Runs cargo on the crate in `work/crate`, with `work/target` for what it makes.
pub fn cargo(work: &Path, limits: Limits) -> Result<Outcome> {
    let mut sandbox = sandbox(work, limits)?;
    if let Some(sources) = replaced_sources()? {
        let config = work.join("cargo-config.toml");
        files::write(&config, sources)?;
        sandbox = sandbox.shows(&config, &Path::new(CARGO_HOME).join("config.toml"));
    }
    let mut arguments: Vec<std::ffi::OsString> =
        ["build", "--release", "--bins", "--offline"].map(Into::into).into();
    arguments.extend(device_crate::kit_arguments(&work.join("crate/Cargo.toml")));
    sandbox.run("cargo", &arguments)
}

fn sandbox(work: &Path, limits: Limits) -> Result<Sandbox> {
    let sysroot = sysroot()?;
    let checkout = paths::checkout();
    let registry = cargo_home()?.join("registry");
    let mut sandbox = Sandbox::with_host_programs(limits)?
        .writable(work, Path::new(INSIDE))
        .folder(&Path::new(INSIDE).join("crate"))
        .shows(&registry, &Path::new(CARGO_HOME).join("registry"));
    // The kit, and the manifest of the workspace that it takes its dependencies' versions from.
    for path in ["crates/vfio-user-device", "Cargo.toml"].map(|path| checkout.join(path)) {
        sandbox = sandbox.shows(&path, &path);
    }
    if !sysroot.starts_with("/usr") {
        sandbox = sandbox.shows(&sysroot, &sysroot);
    }
    let path = format!("{}/bin:/usr/bin:/bin", sysroot.display());
    sandbox = sandbox
        .environment("PATH", path)
        .environment("CARGO_HOME", CARGO_HOME)
        .environment("CARGO_TARGET_DIR", Path::new(INSIDE).join("target"))
        .environment("CARGO_TERM_COLOR", "never");
    Ok(PROFILE.iter().fold(sandbox, |sandbox, (name, value)| sandbox.environment(name, value)))
}

/// Fills `work/target` with the compiled kit.
pub fn begin(work: &Path) -> Result<()> {
    let kit = compiled_kit()?;
    copy(&kit.join("target"), &work.join("target"))
}

/// The folder with the compiled kit, which is made when there is none yet or another one.
pub fn compiled_kit() -> Result<PathBuf> {
    // A lab's folder can be shared by several checkouts.
    let mut hasher = DefaultHasher::new();
    paths::checkout().hash(&mut hasher);
    let folder = paths::lab().join(format!("device-kit-{:08x}", hasher.finish() >> 32));
    let stamp = stamp()?;
    let current = || fs::read_to_string(folder.join("stamp")).is_ok_and(|text| text == stamp);
    if current() {
        return Ok(folder);
    }
    // Before the lock, which this may need itself.
    drop(Sandbox::with_host_programs(Limits::BUILD)?);
    let _right = lock::preparing()?;
    if current() {
        return Ok(folder);
    }
    let wait = progress::Wait::new("compiling the device kit for the devices to come");
    fetch()?;
    lock::remove(&folder)?;
    write_nothing(&folder)?;
    let outcome = cargo(&folder, Limits { time: KIT_TIME, ..Limits::BUILD })?;
    if !outcome.end.success() {
        bail!("the device kit {}:\n{}", outcome.end.describe(), outcome.text());
    }
    for part in ["", "deps", ".fingerprint"] {
        remove_nothing(&folder.join("target/release").join(part))?;
    }
    files::write(folder.join("stamp"), stamp)?;
    wait.done("compiled the device kit");
    Ok(folder)
}

/// Makes sure that the sources of all dependencies are on this system.
fn fetch() -> Result<()> {
    let mut command = process::tied(sysroot()?.join("bin/cargo"));
    command.args(["fetch", "--locked", "--quiet"]).current_dir(paths::checkout());
    process::output("cargo fetch", &mut command)?;
    Ok(())
}

/// A crate whose program does nothing, and which needs the kit.
fn write_nothing(folder: &Path) -> Result<()> {
    let krate = folder.join("crate");
    let file = format!("{NOTHING}.rs");
    DeviceCrate::open_in(Path::new(&file), &krate)?;
    files::write(krate.join(&file), "use vfio_user_device as _;\nfn main() {}\n")?;
    files::create_folder(folder.join("target"))
}

/// Removes what is the program's own and no part of the kit.
fn remove_nothing(folder: &Path) -> Result<()> {
    for entry in files::entries(folder)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(NOTHING);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.'])) {
            lock::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// What the compiled kit was made of.
fn stamp() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    rustc(&["-vV"])?.hash(&mut hasher);
    PROFILE.hash(&mut hasher);
    let checkout = paths::checkout();
    let mut files = vec![checkout.join("Cargo.lock"), checkout.join("Cargo.toml")];
    files.push(checkout.join("crates/vfio-user-device/Cargo.toml"));
    add_files(&checkout.join("crates/vfio-user-device/src"), &mut files)?;
    files.sort();
    for path in files {
        files::read(&path)?.hash(&mut hasher);
        // Cargo goes by the time, too.
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        modified.with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in files::entries(folder)? {
        let path = entry.path();
        if path.is_dir() { add_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Copies a folder with all in it. The times stay: by them cargo sees what is up to date.
fn copy(from: &Path, to: &Path) -> Result<()> {
    files::create_folder(to)?;
    for entry in files::entries(from)? {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
            continue;
        }
        let copied = fs::copy(&from, &to)
            .and_then(|_| from.metadata()?.modified())
            .and_then(|time| fs::File::options().append(true).open(&to)?.set_modified(time));
        copied.with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// The programs that cargo has made.
pub fn programs(work: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for entry in files::entries(work.join("target/release"))? {
        // What an untrusted build has made is not followed if it is a link.
        let metadata = entry.metadata().context("cannot read a folder's entry")?;
        let library = entry.path().extension().is_some();
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 && !library {
            programs.push(entry.path());
        }
    }
    Ok(programs)
}

/// The folder of the Rust compiler in use.
fn sysroot() -> Result<PathBuf> {
    static SYSROOT: OnceResult<PathBuf> = OnceResult::new();
    once(&SYSROOT, || Ok(rustc(&["--print", "sysroot"])?.trim().into())).cloned()
}

/// What rustc answers, in the checkout, which may ask for a version of its own.
fn rustc(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("rustc");
    command.args(arguments).current_dir(paths::checkout());
    Ok(String::from_utf8_lossy(&process::output("rustc", &mut command)?).into_owned())
}

/// The user's replacements of crates.io, by whose names the downloaded sources are found. The rest
/// of the user's configuration stays out of the sandbox.
fn replaced_sources() -> Result<Option<String>> {
    let home = cargo_home()?;
    let text = ["config.toml", "config"].map(|name| fs::read_to_string(home.join(name)));
    let Some(text) = text.into_iter().find_map(Result::ok) else {
        return Ok(None);
    };
    let config: toml::Table = toml::from_str(&text)
        .with_context(|| format!("cargo's configuration in {} is not TOML", home.display()))?;
    Ok(only_sources(config))
}

fn only_sources(mut config: toml::Table) -> Option<String> {
    let sources = config.remove("source")?;
    Some(toml::Table::from_iter([("source".to_owned(), sources)]).to_string())
}

/// Cargo's folder with the sources of dependencies.
fn cargo_home() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CARGO_HOME").filter(|path| !path.is_empty()) {
        return Ok(named.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_cargos_configuration_only_replaced_sources_are_shown() {
        let text = "[registry]\ntoken = 'secret'\n[source.crates-io]\nreplace-with = 'near'\n\
                    [source.near]\nregistry = 'sparse+file:///mirror/'\n";
        let shown = only_sources(toml::from_str(text).unwrap()).unwrap();
        assert!(shown.contains("replace-with = \"near\"") && shown.contains("mirror"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(only_sources(toml::from_str("[registry]\ntoken = 'secret'\n").unwrap()), None);
    }
}
