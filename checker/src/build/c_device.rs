//! Builds a device in C against QEMU's device API.

use std::path::{Path, PathBuf};

use lab::c_device::{self, CDevice};
use lab::sandbox::{Limits, Sandbox};

use super::c_source::Source;
use super::{first_error, not_compiled, shown};
use crate::stop::Stop;

/// Where the submission's folder is inside of the sandbox.
const INSIDE: &str = "/work";
/// The program in it.
const PROGRAM: &str = "device.out";
/// What the compiler says of a header that is not offered, and what is said about that.
const NO_HEADER: &str = "No such file or directory";
const NOT_OFFERED: &str = ". A header of QEMU's that is not offered belongs to a part of QEMU that a \
                           device in a process of its own does not have";

/// The C files of a device, if there is one: those that use QEMU's headers, and others beside them
/// that are neither a driver nor a program.
pub fn files(all: &[PathBuf]) -> Result<Option<Vec<PathBuf>>, Stop> {
    let sources = Source::read_all(all)?;
    let folders: Vec<&Path> = sources
        .iter()
        .filter(|source| source.is_qemu())
        .filter_map(|source| source.path.parent())
        .collect();
    let is_part = |source: &&Source| {
        let beside = source.path.parent().is_some_and(|folder| folders.contains(&folder));
        source.is_qemu() || beside && !source.is_kernel() && !source.has_main()
    };
    let files: Vec<PathBuf> =
        sources.iter().filter(is_part).map(|source| source.path.clone()).collect();
    Ok((!folders.is_empty()).then_some(files))
}

/// Compiles a device's files, which are in the folder `top` inside of `work`.
pub fn build(files: &[PathBuf], work: &Path, top: &Path) -> Result<PathBuf, Stop> {
    // With a folder before it, no name is an option.
    let names: Vec<PathBuf> =
        files.iter().map(|file| Path::new(".").join(shown(file, top))).collect();
    let inside = Path::new(INSIDE);
    let device = CDevice::new(top, work, true);
    let arguments = device.compiler_arguments(&names, &inside.join(PROGRAM))?;
    let folder = inside.join(top.strip_prefix(work).unwrap_or(top));
    let mut sandbox =
        Sandbox::with_host_programs(Limits::BUILD)?.writable(work, inside).folder(&folder);
    let headers = c_device::api().join("include");
    for path in c_device::libraries()?.iter().chain([&headers]) {
        sandbox = sandbox.shows(path, path);
    }
    let outcome = sandbox.run("cc", &arguments)?;
    let program = work.join(PROGRAM);
    // What an untrusted build has made is not followed if it is a link.
    let made = program.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    if outcome.end.success() && made {
        return Ok(program);
    }
    let said = outcome.text().replace("./", "");
    let no_header = first_error(&said).is_some_and(|error| error.contains(NO_HEADER));
    let known = if no_header { NOT_OFFERED } else { "" };
    Err(not_compiled(&said, known, format!("the compiler {}", outcome.end.describe())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_devices_files_are_told_from_a_drivers_and_a_programs() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
            fs::write(&path, text).expect("writable");
            path
        };
        let device = file("d/device.c", "#include \"qemu/osdep.h\"\n");
        let helper = file("d/helper.c", "int x;\n");
        let all = [
            device.clone(),
            helper.clone(),
            file("d/driver.c", "#include <linux/module.h>\n"),
            file("d/main.c", "int main(void) {}\n"),
            file("d/device.h", "int x;\n"),
            file("elsewhere.c", "int x;\n"),
        ];
        assert_eq!(files(&all).expect("readable"), Some(vec![device, helper]));
        assert_eq!(files(&all[2..]).expect("readable"), None);
    }
}
