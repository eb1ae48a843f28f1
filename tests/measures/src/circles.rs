//! Circles: files of a crate that depend on each other, by whatever way round.
//!
//! A file and those of its own modules count as one: they share what is private.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::visit::{self, Visit};

use crate::source::{attributes, is_test};

/// The name of a module from the crate on.
type Module = Vec<String>;

/// What a file names.
#[derive(Default)]
struct Names {
    /// Paths that it uses.
    used: Vec<Module>,
    /// Names that it hands on, and the paths that they stand for.
    handed_on: BTreeMap<String, Module>,
}

/// The circles among the files of a crate, each as a list of its files. Tests do not count.
///
/// # Errors
/// A file cannot be read, or is not Rust.
pub fn circles(root: &Path, files: &[PathBuf]) -> Result<Vec<Vec<String>>> {
    let modules = modules(root, files)?;
    let named: BTreeMap<_, _> =
        modules.iter().map(|(module, (_, names))| (module, names)).collect();
    let uses = |module: &Module| -> BTreeSet<&Module> {
        let targets = named[module].used.iter().filter_map(|path| target(&named, module, path, 8));
        targets.filter(|other| !other.starts_with(module) && !module.starts_with(other)).collect()
    };
    let uses: BTreeMap<_, _> = named.keys().map(|module| (*module, uses(module))).collect();
    let reached: BTreeMap<_, _> =
        uses.keys().map(|module| (*module, reach(&uses, module))).collect();
    let mut found = BTreeSet::new();
    for (module, others) in &reached {
        let circle: Vec<_> =
            others.iter().filter(|other| reached[**other].contains(module)).collect();
        if !circle.is_empty() {
            found.insert(circle.iter().map(|module| modules[**module].0.clone()).collect());
        }
    }
    Ok(found.into_iter().collect())
}

/// Each module with its file, and what that names.
fn modules(root: &Path, files: &[PathBuf]) -> Result<BTreeMap<Module, (String, Names)>> {
    let mut modules = BTreeMap::new();
    for path in files {
        let Ok(file) = path.strip_prefix(root) else { continue };
        if !file.starts_with("bin") {
            let text = fs::read_to_string(path)?;
            let parsed = syn::parse_file(&text).with_context(|| path.display().to_string())?;
            let mut names = Names::default();
            names.visit_file(&parsed);
            modules.insert(module_of(file), (file.display().to_string(), names));
        }
    }
    Ok(modules)
}

/// The module of a file.
fn module_of(file: &Path) -> Module {
    let names = file.with_extension("");
    let mut names: Module = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| ["lib", "main", "mod"].contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// All that a module depends on, by whatever way.
fn reach<'a>(
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    from: &Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = uses[from].iter().copied().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(&uses[module]);
        }
    }
    reached
}

/// The module that has what a path names, as `module` says it.
fn target<'a>(
    modules: &BTreeMap<&'a Module, &Names>,
    module: &Module,
    path: &[String],
    depth: usize,
) -> Option<&'a Module> {
    let mut place = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (place, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            place.truncate(place.len().saturating_sub(up));
            rest = &path[up..];
        }
        name => {
            modules.get_key_value(&[module.as_slice(), &[name.to_owned()]].concat()).map(drop)?
        }
    }
    while let Some((name, more)) = rest.split_first() {
        place.push(name.clone());
        if !modules.contains_key(&place) {
            place.pop();
            break;
        }
        rest = more;
    }
    let handed_on = rest.first().and_then(|name| modules.get(&place)?.handed_on.get(name));
    let elsewhere = handed_on.filter(|_| depth > 0);
    let elsewhere = elsewhere.and_then(|path| target(modules, &place, path, depth - 1));
    elsewhere.or_else(|| modules.get_key_value(&place).map(|(module, _)| *module))
}

impl Names {
    fn tree(&mut self, tree: &syn::UseTree, mut path: Module, hands_on: bool) {
        let (name, known_as) = match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                return self.tree(&part.tree, path, hands_on);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.tree(tree, path.clone(), hands_on));
            }
            syn::UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            syn::UseTree::Rename(name) => (name.ident.to_string(), name.rename.to_string()),
            syn::UseTree::Glob(_) => return self.used.push(path),
        };
        if name != "self" {
            path.push(name);
        }
        if hands_on {
            self.handed_on.insert(known_as, path);
        } else {
            self.used.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let hands_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&item.tree, Vec::new(), hands_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Module = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if ["crate", "super"].contains(&names[0].as_str()) {
            self.used.push(names);
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let write = |(name, text): &(&str, &str)| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let files: Vec<_> = files.iter().map(write).collect();
        circles(folder.path(), &files).unwrap()
    }

    #[test]
    fn a_circle_by_a_name_that_is_handed_on_is_found() {
        let files = [
            ("lib.rs", "mod bus; mod task;"),
            ("bus.rs", "use crate::task::Tasks; struct Bus(Tasks);"),
            ("task/mod.rs", "mod lend; pub use lend::Tasks;"),
            ("task/lend.rs", "pub struct Tasks(Option<Box<crate::bus::Bus>>);"),
        ];
        assert_eq!(circles_of(&files), [["bus.rs", "task/lend.rs"]]);
    }

    #[test]
    fn a_file_and_its_own_modules_and_tests_are_no_circle() {
        let files = [
            ("lib.rs", "mod bus; mod one;"),
            ("bus.rs", "mod state; use state::State; #[cfg(test)] use crate::one::One;"),
            ("bus/state.rs", "use super::Bus;"),
            ("one.rs", "use super::bus::Bus;"),
        ];
        assert!(circles_of(&files).is_empty());
    }
}
