//! The names that the kernel's own parts have taken: a module of one of these cannot be loaded, which
//! insmod tells as "File exists".

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The parts that are built into a kernel and show up in `/sys/module`, by the folder with its modules.
/// A kernel without these lists takes no names.
pub fn taken(folder: &Path) -> BTreeSet<String> {
    let read = |name| fs::read(folder.join(name)).unwrap_or_default();
    let files = String::from_utf8_lossy(&read("modules.builtin")).into_owned();
    let stems = files.lines().filter_map(|line| Path::new(line).file_stem());
    let mut names: BTreeSet<String> =
        stems.map(|stem| module_name(&stem.to_string_lossy())).collect();
    // `random.parm=...`, with a zero byte between them. Parts that cannot be modules are here, too.
    let tags = read("modules.builtin.modinfo");
    let tags = tags.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    names.extend(tags.filter_map(|tag| Some(module_name(tag.split_once('.')?.0))));
    names
}

/// A module's name, of that of its file.
pub fn module_name(stem: &str) -> String {
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_modules_and_other_parts_with_parameters_have_names() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let folder = folder.path();
        fs::write(folder.join("modules.builtin"), "kernel/fs/a-b.ko\n").expect("writable");
        let tags = "random.parm=x:y\0random.parmtype=x:int\0";
        fs::write(folder.join("modules.builtin.modinfo"), tags).expect("writable");
        let names = taken(folder);
        assert!(names.contains("a_b") && names.contains("random"), "{names:?}");
        assert!(!names.contains("my_rng"));
        assert!(taken(Path::new("/absent")).is_empty());
    }
}
