//! Builds a kernel module out of what students hand in: with their Kbuild or Makefile when it
//! names a module, else with one that is made for their single C file.
//!
//! Many exercises are written for a driver that is compiled into the kernel. Such a driver has no
//! licence line and does not include `<linux/module.h>`; both are added.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lab::kernel::Kernel;
use lab::sandbox::{Limits, Sandbox};
use lab::{Arch, files};

use super::c_source::Source;
use super::copy::{self, Copied};
use super::kernel_names::{module_name, taken};
use super::{Module, fits, kernel_hints, not_compiled, shown, warnings};
use crate::report::Failure;
use crate::stop::Stop;

/// Where the submission is inside the sandbox.
const INSIDE: &str = "/work";

/// Builds a module for a kernel. `source` is a folder or a single `.c` file, `work` an empty folder
/// of this submission's own.
pub fn driver(source: &Path, work: &Path, kernel: &Kernel) -> Result<Module, Stop> {
    let top = work.join("driver");
    let copied = copy::sources(source, &top)?;
    let plan = plan(&copied, &top)?;
    let mut notes = [copied.notes, copied.passed_over, plan.notes.clone()].concat();
    let mut said = make(&plan, &top, kernel)?;
    let mut file = only_module(&top)?;
    let stem = stem(&file);
    if taken(&kernel.modules).contains(&module_name(&stem)) {
        rename(&plan, &file, &stem)?;
        said = make(&plan, &top, kernel)?;
        file = only_module(&top)?;
        notes.push(format!(
            "a part of the kernel is named {stem} already, so the module was built as {}: as \
             {stem} it could not be loaded",
            module_name(&self::stem(&file))
        ));
    }
    notes.extend(warnings(&said));
    fits(&file)?;
    let name = module_name(&self::stem(&file));
    Ok(Module { name, unloadable: has_exit(&file)?, file, notes })
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Has the next build make the same module with another name: a Kbuild, which comes before a
/// Makefile, makes it of the same parts.
fn rename(plan: &Plan, module: &Path, stem: &str) -> Result<(), Stop> {
    let folder = module.parent().unwrap_or(&plan.folder);
    let kbuild = folder.join("Kbuild");
    let mut theirs = "Makefile";
    let move_away = |from: &Path, to: &Path| {
        fs::rename(from, to).with_context(|| format!("cannot move {}", from.display()))
    };
    if kbuild.is_file() {
        theirs = "Kbuild.handed-in";
        move_away(&kbuild, &folder.join(theirs))?;
    }
    let text = format!(
        "include $(src)/{theirs}\n\
         driver_{stem}-y := $(or $(strip $({stem}-y) $({stem}-objs)),{stem}.o)\n\
         obj-m := driver_{stem}.o\nobj-y :=\n"
    );
    files::write(&kbuild, text)?;
    Ok(fs::remove_file(module).with_context(|| format!("cannot remove {}", module.display()))?)
}

/// What is said about a device where a driver is looked for.
const QEMU_DEVICE: &str = "a device against QEMU's API is no driver; check.sh --device takes it";
/// What is said about a driver in Rust.
pub const RUST_DRIVER: &str =
    "a driver in Rust is not built by this checker yet; hand in the driver in C";

/// Whether a file is a kernel module's in Rust.
pub fn is_rust_driver(path: &Path) -> bool {
    let rust = path.extension().is_some_and(|extension| extension == "rs");
    rust && fs::read(path).is_ok_and(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        text.contains("use kernel::") || text.contains("kernel::prelude")
    })
}

/// What is to be built, and how.
#[derive(Debug)]
struct Plan {
    /// The folder that kbuild is given.
    folder: PathBuf,
    /// Variables for make.
    variables: Vec<String>,
    notes: Vec<String>,
}

fn plan(copied: &Copied, top: &Path) -> Result<Plan, Stop> {
    let sources = Source::read_all(&copied.files)?;
    let (qemu, sources): (Vec<_>, Vec<_>) = sources.into_iter().partition(Source::is_qemu);
    if sources.is_empty() {
        let mut why = vec!["there is no C file (.c) of a driver in what was handed in".to_owned()];
        why.extend(
            qemu.iter().map(|source| format!("{}: {QEMU_DEVICE}", shown(&source.path, top))),
        );
        let rust = copied.files.iter().filter(|path| is_rust_driver(path));
        why.extend(rust.map(|path| format!("{}: {RUST_DRIVER}", shown(path, top))));
        why.extend(copied.passed_over.iter().cloned());
        return Err(Stop::failed(why.join("; ")));
    }
    let mut plan = match with_own_kbuild(copied, top)? {
        Some(plan) => plan,
        None => with_our_kbuild(&sources, top)?,
    };
    complete_sources(&sources, &mut plan, top)?;
    Ok(plan)
}

/// The student's Kbuild or Makefile, when it names a module.
fn with_own_kbuild(copied: &Copied, top: &Path) -> Result<Option<Plan>, Stop> {
    let mut found: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for path in &copied.files {
        let name = path.file_name().unwrap_or_default();
        if name != "Kbuild" && name != "Makefile" {
            continue;
        }
        let bytes = files::read(path)?;
        let Some(variables) = module_variables(&String::from_utf8_lossy(&bytes)) else { continue };
        let folder = path.parent().unwrap_or(top).to_path_buf();
        // Kbuild comes first, also for the kernel's make.
        if found.iter().all(|(other, _)| *other != folder) {
            found.push((folder, variables));
        }
    }
    if found.len() > 1 {
        let folders: Vec<String> = found.iter().map(|(folder, _)| shown(folder, top)).collect();
        return Err(Stop::failed(format!(
            "several folders have a Makefile with obj-m ({}): name the one with the driver",
            folders.join(", ")
        )));
    }
    Ok(found.pop().map(|(folder, variables)| {
        let notes = variables.iter().map(|variable| format!("built with {variable}")).collect();
        Plan { folder, variables, notes }
    }))
}

/// Whether a makefile names a module, and which of the kernel's options it has to be told: a
/// driver that was made in the kernel's tree has `obj-$(CONFIG_MY_RNG)`.
fn module_variables(makefile: &str) -> Option<Vec<String>> {
    let lines = || makefile.lines().map(str::trim_start);
    if lines().any(|line| line.starts_with("obj-m")) {
        return Some(Vec::new());
    }
    let options: Vec<String> = lines()
        .filter_map(|line| line.strip_prefix("obj-$(")?.split_once(')'))
        .map(|(option, _)| format!("{option}=m"))
        .collect();
    if options.is_empty() { None } else { Some(options) }
}

/// The only C file in which a module begins.
fn only_beginning<'a>(sources: &'a [Source], top: &Path) -> Result<&'a Source, Stop> {
    let names = |sources: &[&Source]| {
        sources.iter().map(|source| shown(&source.path, top)).collect::<Vec<_>>().join(", ")
    };
    let (modules, others): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|source| source.begins_module());
    match &modules[..] {
        [module] => Ok(module),
        [] => Err(Stop::failed(format!(
            "no module begins in {}: a driver needs module_init(), or a macro such as \
             module_pci_driver()",
            names(&others)
        ))),
        several => Err(Stop::failed(format!(
            "modules begin in several C files ({}), and there is no Kbuild that says which is the \
             driver: add one with `obj-m := NAME.o`, or hand in one file",
            names(several)
        ))),
    }
}

/// A Kbuild for that file.
fn with_our_kbuild(sources: &[Source], top: &Path) -> Result<Plan, Stop> {
    let module = only_beginning(sources, top)?;
    let folder = module.path.parent().unwrap_or(top).to_path_buf();
    let stem = module.path.file_stem().unwrap_or_default().to_string_lossy();
    let mut notes = Vec::new();
    let plain = plain_name(&stem);
    if *plain != *stem {
        let to = folder.join(format!("{plain}.c"));
        // The first one stays: the compiler's messages are about the copy.
        fs::copy(&module.path, &to).with_context(|| format!("cannot write {}", to.display()))?;
        notes.push(format!("{stem}.c was built as {plain}.c: kbuild takes no such names"));
    }
    let kbuild = folder.join("Kbuild");
    files::write(&kbuild, format!("obj-m := {plain}.o\n"))?;
    notes.push(format!("no Kbuild with obj-m: {plain}.c was built as a module"));
    Ok(Plan { folder, variables: Vec::new(), notes })
}

/// A file's name that make, kbuild and modprobe can live with.
fn plain_name(stem: &str) -> String {
    let plain: String = stem
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
        .collect();
    // The file that kbuild writes for the module is NAME.mod.c, and a name cannot be an option.
    if plain.starts_with('-') { format!("module{plain}") } else { plain }
}

/// Adds to the sources what a module needs and a driver inside the kernel does not.
fn complete_sources(sources: &[Source], plan: &mut Plan, top: &Path) -> Result<(), Stop> {
    let licensed = sources.iter().any(|source| source.calls("MODULE_LICENSE"));
    for source in sources.iter().filter(|source| source.begins_module()) {
        let header = !source.includes("linux/module.h");
        if licensed && !header {
            continue;
        }
        let name = shown(&source.path, top);
        let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
        let path = source.path.with_file_name(format!("{}.c", plain_name(&stem)));
        let path = if path.is_file() { path } else { source.path.clone() };
        let mut text = files::read(&path)?;
        if header {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let start = format!("#include <linux/module.h>\n#line 1 \"{file}\"\n");
            text.splice(0..0, start.into_bytes());
            plan.notes.push(format!("{name} does not include <linux/module.h>: added"));
        }
        if !licensed {
            text.extend_from_slice(b"\nMODULE_LICENSE(\"GPL\");\n");
            plan.notes.push(format!("{name} has no MODULE_LICENSE: \"GPL\" added"));
        }
        files::write(&path, text)?;
    }
    Ok(())
}

/// Builds, with make's arguments. Without debug information a module is a twentieth as large.
const BUILD: &str = r#"make "$@" && find /work -type f -name '*.ko' -exec cp {} {}.debug ';' -exec "$STRIP" --strip-debug {} ';'"#;

/// Runs kbuild in the sandbox, and returns what it said.
fn make(plan: &Plan, top: &Path, kernel: &Kernel) -> Result<String, Stop> {
    let inside = Path::new(INSIDE);
    let folder = inside.join(shown(&plan.folder, top));
    let sandbox = Sandbox::with_kernel(kernel, Limits::BUILD)?;
    let sandbox = sandbox.writable(top, inside).folder(inside);
    let sandbox = sandbox.environment("STRIP", Arch::guest().tool("strip"));
    let build = format!("/usr/lib/modules/{}/build", kernel.release);
    let module = format!("M={}", folder.display());
    let mut arguments = ["-c", BUILD, "sh", "-C", &build, &module].map(str::to_owned).to_vec();
    arguments.extend(Arch::guest().make_variables());
    arguments.extend(plan.variables.iter().cloned());
    arguments.push("modules".to_owned());
    let outcome = sandbox.run("/usr/bin/sh", &arguments)?;
    let said = outcome.text();
    if outcome.end.success() {
        return Ok(said);
    }
    if plan.folder.to_string_lossy().contains(char::is_whitespace) {
        return Err(Stop::failed("kbuild cannot build in a folder with a blank in its name"));
    }
    let known = kernel_hints::find(&said).map(|hint| format!(" ({hint})")).unwrap_or_default();
    Err(not_compiled(&said, &known, format!("the build {}", outcome.end.describe())))
}

/// The module that a build has made.
fn only_module(top: &Path) -> Result<PathBuf, Stop> {
    let mut modules = Vec::new();
    find_modules(top, &mut modules)?;
    modules.sort();
    match &modules[..] {
        [module] => Ok(module.clone()),
        [] => Err(Stop::failed(
            "the build made no module (.ko): does the Makefile's obj-m name the C file?",
        )),
        several => {
            let names: Vec<String> = several.iter().map(|path| shown(path, top)).collect();
            Err(Stop::failed(format!(
                "the build made several modules ({}): hand in one",
                names.join(", ")
            )))
        }
    }
}

/// Files named `.ko`. A build is an untrusted program: what it made is not followed if a link.
fn find_modules(folder: &Path, modules: &mut Vec<PathBuf>) -> Result<(), Stop> {
    for entry in files::entries(folder)? {
        let kind = entry.file_type().context("cannot read a folder's entry")?;
        let path = entry.path();
        if kind.is_dir() {
            find_modules(&path, modules)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "ko") {
            modules.push(path);
        }
    }
    Ok(())
}

/// Whether a module has the function by which the kernel unloads it: `module_exit` and its
/// relatives all give theirs this name, too.
fn has_exit(module: &Path) -> Result<bool, Stop> {
    let inside = Path::new("/module.ko");
    let outcome = Sandbox::with_build_root(Limits::PROGRAM)?
        .shows(module, inside)
        .run(&format!("/usr/bin/{}", Arch::guest().tool("nm")), &[inside])?;
    if !outcome.end.success() {
        return Err(Failure::new("what the build made is no module").with(outcome.text()).into());
    }
    Ok(outcome.text().lines().any(|line| line.ends_with(" cleanup_module")))
}

#[cfg(test)]
mod tests;
