//! A device in C against QEMU's own API, as source: a file, a folder, or a patch for QEMU's tree.
//!
//! It is compiled against the headers of `qemu-device`, whose library brings the `main` of a program
//! that takes the kit's usual options.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo_build, files, lock, paths, process};

/// Files whose flags the compiler is given, in `qemu-device`.
const FLAGS: &str = "cflags";
const SANITIZERS: &str = "sanitize";
/// What is linked after the device.
const LIBRARIES: [&str; 2] = ["libqemu_device.a", "libvfio_user_device.a"];
const SYSTEM_LIBRARIES: [&str; 3] = ["-lpthread", "-ldl", "-lm"];
/// A line of a patch that names a file, and what stands for none.
const OLD_FILE: &str = "--- ";
const NEW_FILE: &str = "+++ ";
const NO_FILE: &str = "/dev/null";

/// A device's source.
#[derive(Debug, Clone)]
pub struct CDevice {
    source: PathBuf,
    /// The lab's folder for it, which no other source has.
    folder: PathBuf,
    /// Whether it is compiled with the sanitizers.
    sanitize: bool,
}

impl CDevice {
    /// Whether there is C at a path, or a patch.
    pub fn is_one(path: &Path) -> bool {
        if path.is_dir() {
            return c_files(path).is_ok_and(|files| !files.is_empty());
        }
        is_c(path) || is_patch(path)
    }

    /// The source at a path, and a folder for what is made of it.
    pub fn new(source: &Path, folder: &Path, sanitize: bool) -> Self {
        Self { source: source.to_path_buf(), folder: folder.to_path_buf(), sanitize }
    }

    /// What the author edits.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The files to compile. Those of a patch are taken out of it.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        if self.source.is_dir() {
            return c_files(&self.source);
        }
        if is_c(&self.source) {
            return Ok(vec![self.source.clone()]);
        }
        let text = files::read(&self.source)?;
        let tree = self.folder.join("tree");
        lock::remove(&tree)?;
        unpack(&String::from_utf8_lossy(&text), &tree)
            .with_context(|| format!("cannot take {} apart", self.source.display()))
    }

    /// The compiler's arguments to make a program of files.
    pub fn compiler_arguments(&self, files: &[PathBuf], program: &Path) -> Result<Vec<OsString>> {
        let api = api();
        let mut arguments = flags(FLAGS)?;
        if self.sanitize {
            arguments.extend(flags(SANITIZERS)?);
        }
        arguments.extend(["-I".into(), api.join("include").into_os_string()]);
        arguments.extend(files.iter().map(|file| file.clone().into_os_string()));
        arguments.extend(["-o".into(), program.as_os_str().to_owned()]);
        arguments.extend(libraries()?.map(PathBuf::into_os_string));
        arguments.extend(SYSTEM_LIBRARIES.map(OsString::from));
        Ok(arguments)
    }

    /// Compiles it and returns the program. What is wrong with the source, the compiler tells the
    /// user.
    pub fn build(&self) -> Result<PathBuf> {
        let files = self.files()?;
        let bin = self.folder.join("bin");
        let (program, partial) = (bin.join("device"), bin.join("new.partial"));
        files::create_folder(&bin)?;
        let mut compiler = process::tied("cc");
        compiler.args(self.compiler_arguments(&files, &partial)?);
        let status = compiler.status().context("cannot run cc, the C compiler")?;
        ensure!(
            status.success(),
            "compiling {} ended with {}",
            self.source.display(),
            process::describe(status)
        );
        // Renamed into place: the old one may be running.
        fs::rename(&partial, &program)
            .with_context(|| format!("cannot create {}", program.display()))?;
        Ok(program)
    }
}

/// Whether a device's build depends on a file.
pub fn is_source(path: &Path) -> bool {
    is_c(path) || is_patch(path) || has_extension(path, &["h"])
}

fn is_c(path: &Path) -> bool {
    has_extension(path, &["c"])
}

fn is_patch(path: &Path) -> bool {
    has_extension(path, &["patch", "diff"])
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    path.extension().is_some_and(|extension| wanted.iter().any(|wanted| extension == *wanted))
}

/// The C files in a folder, in the order of their names.
fn c_files(folder: &Path) -> Result<Vec<PathBuf>> {
    files::paths(folder, |path| is_c(path) && path.is_file())
}

/// Writes the C files and headers that a patch adds to a folder, and returns the C files. What else
/// it changes, such as lists of files, is for QEMU's own build.
fn unpack(patch: &str, tree: &Path) -> Result<Vec<PathBuf>> {
    let mut added: Vec<(PathBuf, String)> = Vec::new();
    let mut lines = patch.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(new) = line.strip_prefix(OLD_FILE).and(lines.peek()) else { continue };
        let Some(name) = new.strip_prefix(NEW_FILE) else { continue };
        let path = Path::new(name.split('\t').next().unwrap_or(name));
        if !is_source(path) {
            continue;
        }
        let is_new = line.trim_end().ends_with(NO_FILE) || line.contains(&format!("{NO_FILE}\t"));
        ensure!(
            is_new || !is_c(path),
            "it changes {name}, which is QEMU's own: only files that a patch adds can be a device"
        );
        let name = path.file_name().context("a file in the patch has no name")?;
        lines.next();
        let mut text = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(['@', '+', ' ', '\\'])) {
            if let Some(line) = line.strip_prefix('+') {
                text.push_str(line);
                text.push('\n');
            }
        }
        added.push((tree.join(name), text));
    }
    files::create_folder(tree)?;
    for (path, text) in &added {
        files::write(path, text)?;
    }
    added.retain(|(path, _)| is_c(path));
    if added.is_empty() {
        bail!("it adds no C file");
    }
    Ok(added.into_iter().map(|(path, _)| path).collect())
}

/// QEMU's device API in this checkout.
pub fn api() -> PathBuf {
    paths::checkout().join("qemu-device")
}

/// The flags in a file of it.
fn flags(name: &str) -> Result<Vec<OsString>> {
    let path = api().join(name);
    let text = files::read_text(&path)?;
    Ok(text.split_whitespace().map(OsString::from).collect())
}

/// What a device is linked with; built when something has changed.
pub fn libraries() -> Result<[PathBuf; 2]> {
    let kit = cargo_build::c_kit()?;
    let folder = paths::lab().join(format!("qemu-device-{}", paths::key(&paths::checkout())));
    let libraries = LIBRARIES.map(|name| folder.join(name));
    let _right = lock::preparing()?;
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let built = libraries.iter().map(|path| modified(path)).min().flatten();
    let changed = newest(&api()).max(modified(&kit));
    if built.is_none_or(|built| changed.is_none_or(|changed| changed > built)) {
        let mut build = process::tied(api().join("build.sh"));
        process::output("qemu-device/build.sh", build.args([&folder, &kit]))?;
    }
    Ok(libraries)
}

/// When a folder's latest change was.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let changes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().ok() }
    });
    changes.max()
}

/// The lines of a device's log that tell of a mistake in it: sentences, places, and what a sanitizer
/// found.
pub fn mistake_in(log: &str) -> String {
    let tells = |line: &&str| {
        line.starts_with("error: ") || line.starts_with("  /") || line.contains(": runtime error: ")
    };
    log.lines().filter(tells).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
--- a/hw/misc/meson.build
+++ b/hw/misc/meson.build
@@ -1,1 +1,2 @@
 x
+y
diff --git a/hw/misc/d.c b/hw/misc/d.c
new file mode 100644
--- /dev/null
+++ b/hw/misc/d.c
@@ -0,0 +1,3 @@
+#include \"d.h\"
+
+++x;
--- /dev/null
+++ b/hw/misc/d.h
@@ -0,0 +1 @@
+int x;
-- 
2.39
";

    #[test]
    fn a_patch_gives_the_files_that_it_adds() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let files = unpack(PATCH, folder.path()).expect("it adds one");
        assert_eq!(files, [folder.path().join("d.c")]);
        let text = |name| fs::read_to_string(folder.path().join(name)).expect("it is there");
        assert_eq!(text("d.c"), "#include \"d.h\"\n\n++x;\n");
        assert_eq!(text("d.h"), "int x;\n");
    }

    #[test]
    fn a_patch_of_qemus_own_files_is_rejected() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let changed = PATCH.replace("/dev/null", "a/hw/misc/d.c");
        let error = unpack(&changed, folder.path()).expect_err("it changes one").to_string();
        assert!(error.contains("it changes b/hw/misc/d.c, which is QEMU's own"), "{error}");
        let error = unpack("", folder.path()).expect_err("it is empty").to_string();
        assert_eq!(error, "it adds no C file");
    }

    #[test]
    fn the_skeleton_and_the_patch_in_the_checkout_compile() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let sources =
            ["qemu-device/examples/my-rng.c", "qemu-patches/0001-hw-misc-add-my_rng.patch"];
        for source in sources {
            let source = paths::checkout().join(source);
            assert!(CDevice::is_one(&source));
            let program = CDevice::new(&source, folder.path(), true).build().expect("it compiles");
            assert!(program.is_file());
        }
    }

    #[test]
    fn of_a_devices_log_what_tells_of_a_mistake_is_shown() {
        let log = "[2026-11-26 INFO ] client connected\n\
                   d.c:7:3: runtime error: index 9 out of bounds for type 'int [4]'\n\
                   ==1==ERROR: AddressSanitizer: heap-buffer-overflow\n    #0 0x1 in f d.c:3\n\
                   error: /a/d.c:3: f(): heap-buffer-overflow: it is not its own\n\
                   \x20 /a/d.c:4: g()\n";
        let lines = mistake_in(log);
        let expected = "d.c:7:3: runtime error: index 9 out of bounds for type 'int [4]'\n\
                        error: /a/d.c:3: f(): heap-buffer-overflow: it is not its own\n\
                        \x20 /a/d.c:4: g()";
        assert_eq!(lines, expected);
        assert_eq!(mistake_in("[INFO ] error: no line of its own\n"), "");
    }
}
