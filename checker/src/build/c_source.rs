//! What can be told about a C file without compiling it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lab::files;

/// The macros that make a function or a driver a module's beginning.
const BEGINNINGS: [&str; 12] = [
    "module_init",
    "device_initcall",
    "late_initcall",
    "subsys_initcall",
    "fs_initcall",
    "module_driver",
    "module_pci_driver",
    "module_misc_device",
    "module_platform_driver",
    "builtin_driver",
    "builtin_pci_driver",
    "init_module",
];

/// A C file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, without comments.
    code: String,
}

impl Source {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let code = without_comments(&String::from_utf8_lossy(&bytes));
        Ok(Self { path: path.to_path_buf(), code })
    }

    /// Reads all C files among these.
    pub fn read_all(files: &[PathBuf]) -> Result<Vec<Self>> {
        files.iter().filter(|path| is_c(path)).map(|path| Self::read(path)).collect()
    }

    /// Whether it is the file of a kernel module in which the module begins.
    pub fn begins_module(&self) -> bool {
        !self.is_qemu() && BEGINNINGS.iter().any(|name| self.calls(name))
    }

    /// Whether it is a kernel's source at all.
    pub fn is_kernel(&self) -> bool {
        !self.is_qemu()
            && (self.code.contains("<linux/module.h>")
                || self.begins_module()
                || self.calls("MODULE_LICENSE"))
    }

    /// Whether it is a part of QEMU.
    pub fn is_qemu(&self) -> bool {
        let headers = ["qemu/osdep.h", "qemu/module.h", "hw/pci/", "qom/object.h"];
        let mut includes = self.code.lines().filter_map(|line| {
            line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")
        });
        includes.any(|line| {
            let name = line.trim_start().trim_start_matches(['<', '"']);
            headers.iter().any(|header| name.starts_with(header))
        })
    }

    /// Whether an application begins in it.
    pub fn has_main(&self) -> bool {
        !self.is_qemu() && self.calls("main")
    }

    /// Whether a macro or function of that name is used or defined.
    pub fn calls(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + name.len()..].trim_start();
            after.starts_with('(') && !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    }

    /// Whether it includes a header in angle brackets.
    pub fn includes(&self, header: &str) -> bool {
        self.code.contains(&format!("<{header}>"))
    }
}

/// Whether a path is that of a C file.
pub fn is_c(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "c")
}

/// Replaces comments by blanks; text in quotation marks stays.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + "/**/".len())
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' || first == '\'' {
            let length = quoted(rest, first);
            code.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

/// The length of a string or character at the start of a text.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            // An apostrophe in an `#error` line has no end.
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(code: &str) -> Source {
        Source { path: "a.c".into(), code: without_comments(code) }
    }

    #[test]
    fn comments_do_not_count_and_strings_do() {
        assert_eq!(without_comments("a/* b */c // d\n\"/* e */\"f"), "a c  \n\"/* e */\"f");
        assert_eq!(without_comments("'\"' /* x"), "'\"'  ");
        assert_eq!(without_comments("\"\\\"//\"// x"), "\"\\\"//\" ");
        assert!(!source("// module_init(x)\n").begins_module());
    }

    #[test]
    fn modules_and_applications_are_told_apart() {
        assert!(source("device_initcall (my_init);").begins_module());
        assert!(!source("int my_module_init(void);").begins_module());
        assert!(source("int main(void) {}").has_main());
        assert!(!source("int domain(void) {}").has_main());
        assert!(source("#include <linux/module.h>").is_kernel());
        let qemu =
            source("#include \"qemu/osdep.h\"\ntype_init(f)\nmodule_init(f);\nint main() {}");
        assert!(qemu.is_qemu() && !qemu.is_kernel() && !qemu.has_main());
        assert!(!source("// #include <qemu/osdep.h>\nint main() {}").is_qemu());
    }
}
