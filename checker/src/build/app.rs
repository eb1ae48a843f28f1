//! Builds an application: one C program, linked statically for guests without a C library.

use std::path::{Path, PathBuf};

use lab::Arch;
use lab::sandbox::{Limits, Sandbox};

use super::c_source::Source;
use super::{copy, fits, not_compiled, shown};
use crate::stop::Stop;

/// Where the submission is inside the sandbox.
const INSIDE: &str = "/work";
/// The program's name.
const PROGRAM: &str = "student-app";

/// How a program gets the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// It has what it needs of it.
    Static,
    /// The guest has it, as one with tools does. The program is small.
    Dynamic,
}

/// Builds an application for the guest. `source` is a C file, or a folder with one program's C
/// files; `work` an empty folder of this submission's own.
pub fn app(source: &Path, work: &Path, linking: Linking) -> Result<PathBuf, Stop> {
    let top = work.join("app");
    let copied = copy::sources(source, &top)?;
    let mut sources = Source::read_all(&copied.files)?;
    // A folder may have the driver in it, too, and a device.
    sources.retain(|source| !source.is_kernel() && !source.is_qemu());
    let mains = sources.iter().filter(|source| source.has_main());
    let mains: Vec<String> = mains.map(|source| shown(&source.path, &top)).collect();
    match &mains[..] {
        [_] => {}
        [] => return Err(Stop::failed("there is no C file with a main function")),
        several => {
            return Err(Stop::failed(format!(
                "several C files have a main function ({}): name the one with the application",
                several.join(", ")
            )));
        }
    }
    compile(&sources, &top, linking)?;
    let program = top.join(PROGRAM);
    if program.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        fits(&program)?;
        return Ok(program);
    }
    Err(Stop::failed("the compiler made no program"))
}

fn compile(sources: &[Source], top: &Path, linking: Linking) -> Result<(), Stop> {
    let inside = Path::new(INSIDE);
    let sandbox = Sandbox::with_build_root(Limits::BUILD)?.writable(top, inside).folder(inside);
    let mut arguments: Vec<String> =
        ["-O1", "-Wall", "-pthread", "-o", PROGRAM].map(str::to_owned).into();
    arguments.extend(match linking {
        Linking::Static => vec!["-static".to_owned()],
        // What is not used of the libraries is not looked for in the guest.
        Linking::Dynamic => vec!["-s".to_owned(), "-Wl,--as-needed".to_owned()],
    });
    // With a folder before it, no name is an option.
    arguments.extend(sources.iter().map(|source| format!("./{}", shown(&source.path, top))));
    arguments.push("-lm".to_owned());
    let compiler = format!("/usr/bin/{}", Arch::guest().tool("gcc"));
    let outcome = sandbox.run(&compiler, &arguments)?;
    if outcome.end.success() {
        return Ok(());
    }
    let otherwise = format!("the compiler {}", outcome.end.describe());
    Err(not_compiled(&outcome.text(), "", otherwise))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Builds what is in a file, in its own environment.
    fn build(files: &[(&str, &str)]) -> Result<PathBuf, String> {
        let source = tempfile::tempdir().expect("a folder can be made");
        let work = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in files {
            fs::write(source.path().join(name), text).expect("writable");
        }
        app(source.path(), &work.keep(), Linking::Static).map_err(|failure| match failure {
            Stop::Verdict(verdict) => verdict.message(),
            Stop::Lab(error) => panic!("{error:#}"),
        })
    }

    #[test]
    fn a_program_beside_a_driver_is_built() {
        let program = build(&[
            ("my app.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"),
            ("driver.c", "#include <linux/module.h>\n"),
        ])
        .expect("it compiles");
        let output = std::process::Command::new(&program).output().expect("it runs");
        assert_eq!(output.stdout, b"hello\n");
    }

    #[test]
    fn failures_have_hints() {
        let hint = build(&[("a.c", "int main(void) { return x; }\n")]).expect_err("no x");
        assert!(hint.contains("a.c:1:25: error:"), "{hint}");
        let hint = build(&[("a.c", "int x;\n")]).expect_err("no main");
        assert!(hint.contains("no C file with a main"), "{hint}");
        let big = "char big[40 << 20] = {1};\nint main(void) { return big[1]; }\n";
        assert!(build(&[("a.c", big)]).expect_err("too large").contains("32 are the most"));
        let two = [("a.c", "int main(void) {}\n"), ("b.c", "int main(void) {}\n")];
        assert!(build(&two).expect_err("two mains").contains("(a.c, b.c)"));
    }
}
