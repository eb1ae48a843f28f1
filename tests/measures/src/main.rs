//! Prints the size of each crate of the workspace. `scripts/measures.sh` runs it.

mod circles;
mod source;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tabwriter::TabWriter;

use circles::circles;
use source::{Function, Source};

/// The longest that a function or a file should be, in lines.
const MAX_FUNCTION_LEN: usize = 60;
const MAX_FILE_LEN: usize = 400;

#[derive(Deserialize)]
struct Workspace {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    kind: Option<String>,
}

/// What is printed of a crate.
struct Measures {
    name: String,
    /// The shortest first.
    functions: Vec<Function>,
    long_files: Vec<String>,
    circles: Vec<Vec<String>>,
    unsafe_blocks: usize,
    dependencies: usize,
    lines: usize,
}

fn main() -> Result<()> {
    let root = env::current_dir()?;
    let crates = workspace()?.packages;
    let folders: HashSet<_> = crates.iter().map(Package::folder).map(Path::to_owned).collect();
    let measured: Result<Vec<_>> =
        crates.iter().map(|package| measure(package, &folders, &root)).collect();
    print(&measured?)
}

/// The crates of the workspace, as cargo knows them.
fn workspace() -> Result<Workspace> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output = Command::new("cargo").args(arguments).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Package {
    fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }
}

fn measure(package: &Package, crates: &HashSet<PathBuf>, root: &Path) -> Result<Measures> {
    let mut files = Vec::new();
    rust_files(package.folder(), crates, &mut files)?;
    let production = package.folder().join("src");
    let mut sources = Vec::new();
    let mut long_files = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file);
        let lines = fs::read_to_string(file)?.lines().count();
        if lines > MAX_FILE_LEN {
            long_files.push(format!("{} {lines}", name.display()));
        }
        if file.starts_with(&production) {
            sources.push((name, Source::read(name)?));
        }
    }
    let tests: HashSet<_> =
        sources.iter().flat_map(|(_, source)| source.test_files.iter().cloned()).collect();
    let is_test = |file: &Path| {
        file.ancestors().any(|place| tests.contains(place) || tests.contains(&place.join("mod.rs")))
    };
    sources.retain(|(file, _)| !is_test(file));
    let production_files: Vec<_> = sources.iter().map(|(file, _)| root.join(file)).collect();
    let circles = circles(&production, &production_files)?;
    let unsafe_blocks = sources.iter().map(|(_, source)| source.unsafe_blocks).sum();
    let lines = sources.iter().map(|(_, source)| source.lines).sum();
    let mut functions: Vec<_> =
        sources.into_iter().flat_map(|(_, source)| source.functions).collect();
    functions.sort_by_key(|function| function.lines);
    let of_production = |dependency: &&Dependency| dependency.kind.is_none();
    let dependencies = package.dependencies.iter().filter(of_production).count();
    let name = package.name.clone();
    Ok(Measures { name, functions, long_files, circles, unsafe_blocks, dependencies, lines })
}

/// The sources below a folder, without those of other crates and of submissions.
fn rust_files(folder: &Path, crates: &HashSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let skipped = ["target", "fuzz", "submissions"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !skipped && !crates.contains(&path) {
            rust_files(&path, crates, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

impl Measures {
    /// The length that so many hundredths of the functions do not exceed.
    fn percentile(&self, hundredths: usize) -> usize {
        let index = self.functions.len().saturating_sub(1) * hundredths / 100;
        self.functions.get(index).map_or(0, |function| function.lines)
    }
}

fn print(measured: &[Measures]) -> Result<()> {
    print_table(measured)?;
    println!("\nLines are those of code in src, without tests, comments and empty ones.");
    for function in measured.iter().flat_map(|measures| &measures.functions) {
        if function.lines > MAX_FUNCTION_LEN {
            println!("over {MAX_FUNCTION_LEN} lines: {} {}", function.place, function.lines);
        }
    }
    for Measures { name, circles, .. } in measured {
        for circle in circles {
            println!("circle of files: {name}: {}", circle.join(", "));
        }
    }
    for file in measured.iter().flat_map(|measures| &measures.long_files) {
        println!("over {MAX_FILE_LEN} lines: {file}");
    }
    Ok(())
}

fn print_table(measured: &[Measures]) -> Result<()> {
    let mut table = TabWriter::new(stdout().lock()).minwidth(4);
    writeln!(table, "crate\tlines\tfunctions\tmedian\tp90\tlongest\tunsafe\tdependencies")?;
    for crate_ in measured.iter().filter(|measures| measures.lines > 0) {
        let [median, ninth, longest] =
            [50, 90, 100].map(|hundredths| crate_.percentile(hundredths));
        let Measures { name, functions, unsafe_blocks, dependencies, lines, .. } = crate_;
        let count = functions.len();
        writeln!(
            table,
            "{name}\t{lines}\t{count}\t{median}\t{ninth}\t{longest}\t{unsafe_blocks}\t{dependencies}"
        )?;
    }
    let lines: usize = measured.iter().map(|measures| measures.lines).sum();
    writeln!(table, "all\t{lines}")?;
    Ok(table.flush()?)
}
