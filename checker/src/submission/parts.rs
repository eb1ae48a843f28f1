//! Which files of what was handed in are which part.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Submission;
use crate::build::c_source::{Source, is_c};
use crate::build::copy::Copied;
use crate::build::{self, shown};
use crate::handed_in::{HandedIn, PARTS};

/// How many names are listed of what was passed over.
const SHOWN: usize = 12;
/// Names, in small letters, that stand for themselves: they are not expected to be checked.
const KNOWN: [&str; 16] = [
    "kbuild",
    "makefile",
    "kconfig",
    "readme",
    "license",
    "licence",
    "copying",
    ".h",
    ".md",
    ".txt",
    ".pdf",
    ".toml",
    ".lock",
    ".gitignore",
    ".gitattributes",
    ".json",
];

/// The files, by what is in them.
#[derive(Default)]
struct Sorted {
    drivers: Vec<PathBuf>,
    programs: Vec<PathBuf>,
    /// Rust files that use the device kit.
    devices: Vec<PathBuf>,
    /// C files that use QEMU's device API.
    c_devices: Vec<PathBuf>,
    /// Folders with a manifest.
    crates: Vec<PathBuf>,
    /// Names with why they are passed over.
    passed_over: Vec<String>,
}

/// Finds the parts in the copy of what was handed in.
pub fn find(copied: &Copied, top: &Path) -> Result<Submission> {
    let mut sorted = sort(copied, top)?;
    let driver =
        inside(top, "driver").or_else(|| (!sorted.drivers.is_empty()).then(|| top.to_owned()));
    let (app, device) = (sorted.app(top), sorted.device(top));
    let driver_name = driver.as_ref().map(|driver| match &sorted.drivers[..] {
        [] => shown(driver, top),
        drivers => names(drivers, top),
    });
    let named = |path: &Option<PathBuf>| path.as_ref().map(|path| place(path, top));
    let device_name = match (&device, &sorted.c_devices[..]) {
        (Some(device), [_, ..]) if device == top => Some(names(&sorted.c_devices, top)),
        _ => named(&device),
    };
    let places = [driver_name, named(&app), device_name];
    let parts = || PARTS.into_iter().zip(&places);
    let handed_in = HandedIn {
        found: parts().filter_map(|(part, place)| Some((part, place.clone()?))).collect(),
        missing: parts().filter(|(_, place)| place.is_none()).map(|(part, _)| part).collect(),
        notes: copied.notes.clone(),
        passed_over: bounded(sorted.passed_over),
    };
    Ok(Submission { driver, app, device, handed_in, ..Submission::default() })
}

fn sort(copied: &Copied, top: &Path) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    let mut others = Vec::new();
    for path in &copied.files {
        let name = shown(path, top);
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if is_c(path) {
            sorted.sort_c(path)?;
        } else if build::is_rust_driver(path) {
            sorted.passed_over.push(format!("{name}: {}", build::RUST_DRIVER));
        } else if extension == "rs" {
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            // The second is the kit's former name.
            if text.contains("vfio_user_device") || text.contains("vfio_user_kit") {
                sorted.devices.push(path.clone());
            }
        } else if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            sorted.crates.extend(path.parent().map(Path::to_path_buf));
        } else if matches!(extension.as_str(), "cpp" | "cc" | "cxx") {
            sorted
                .passed_over
                .push(format!("{name}: a program in C++ is not built; hand it in in C"));
        } else if !is_known(&name) {
            others.push(format!("{name}: no source that this checker knows, not looked at"));
        }
    }
    sorted.passed_over.extend(copied.passed_over.iter().cloned());
    sorted.passed_over.append(&mut others);
    Ok(sorted)
}

impl Sorted {
    fn sort_c(&mut self, path: &Path) -> Result<()> {
        let source = Source::read(path)?;
        let list = if source.is_qemu() {
            &mut self.c_devices
        } else if source.is_kernel() {
            &mut self.drivers
        } else if source.has_main() {
            &mut self.programs
        } else {
            return Ok(());
        };
        list.push(path.to_owned());
        Ok(())
    }

    /// The application, if there is no more than one that could be it.
    fn app(&mut self, top: &Path) -> Option<PathBuf> {
        let app = inside(top, "app").or_else(|| inside(top, "app.c"));
        let app =
            app.or_else(|| if let [one] = &self.programs[..] { Some(one.clone()) } else { None });
        if app.is_none() && self.programs.len() > 1 {
            let names = names(&self.programs, top);
            self.passed_over.push(format!(
                "{names}: several C files have a main function; name the application app.c"
            ));
        }
        app
    }

    /// The device, if there is no more than one that could be it.
    fn device(&mut self, top: &Path) -> Option<PathBuf> {
        let device = inside(top, "device").or_else(|| inside(top, "device.rs")).or_else(|| {
            match (&self.crates[..], &self.devices[..], &self.c_devices[..]) {
                ([one], _, []) | ([], [one], []) => Some(one.clone()),
                // Which files belong to it is found out when it is built.
                ([], [], [_, ..]) => Some(top.to_owned()),
                _ => None,
            }
        });
        if device.is_none() && self.crates.len() + self.devices.len() > 0 {
            let devices = self.crates.iter().chain(&self.devices).chain(&self.c_devices);
            let names = names(devices, top);
            self.passed_over.push(format!(
                "{names}: several devices; put the one that counts into a folder `device`"
            ));
        }
        device
    }
}

/// A file or folder that has the name of a part.
fn inside(top: &Path, name: &str) -> Option<PathBuf> {
    Some(top.join(name)).filter(|path| path.exists())
}

fn is_known(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    KNOWN.iter().any(|known| name.ends_with(known) || name.starts_with(known))
}

fn names<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, top: &Path) -> String {
    paths.into_iter().map(|path| place(path, top)).collect::<Vec<_>>().join(", ")
}

/// A place for a person; what was handed in as a whole is its name.
fn place(path: &Path, top: &Path) -> String {
    let place = shown(path, top);
    if place.is_empty() { "all of it".to_owned() } else { place }
}

fn bounded(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}
