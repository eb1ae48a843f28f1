//! The crate's modules, parsed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use syn::{Attribute, Ident, Item, ItemImpl, Visibility};

/// All of them, and every impl block by the name of its type.
pub struct Sources {
    pub root: Module,
    pub impls: HashMap<String, Vec<ItemImpl>>,
}

/// One module.
pub struct Module {
    pub items: Vec<Item>,
    pub modules: HashMap<String, Module>,
}

/// What a path leads to.
pub enum Found<'s> {
    Item(&'s Item),
    Module(&'s Module),
}

impl Sources {
    pub fn read(folder: &Path) -> Self {
        let mut impls = HashMap::new();
        let root = Module::read(&folder.join("lib.rs"), folder, &mut impls);
        Sources { root, impls }
    }

    /// What a path in a `use` of a module names; nothing if a macro or another crate defines it.
    pub fn find<'s>(&'s self, from: &'s Module, path: &[String], name: &str) -> Option<Found<'s>> {
        let (mut module, path) = match path.split_first() {
            Some((first, rest)) if first == "crate" => (&self.root, rest),
            // All `super` in this crate's re-exports lead to a sibling in the same folder.
            Some((first, rest)) if first == "super" => (self.parent_of(from)?, rest),
            _ => (from, path),
        };
        for part in path {
            module = module.modules.get(part)?;
        }
        self.find_in(module, name)
    }

    fn find_in<'s>(&'s self, module: &'s Module, name: &str) -> Option<Found<'s>> {
        let defined = |item: &&Item| named(item).is_some_and(|(found, _)| found == name);
        if let Some(item) = module.items.iter().find(defined) {
            return Some(Found::Item(item));
        }
        if let Some(inner) = module.modules.get(name) {
            return Some(Found::Module(inner));
        }
        // Passed on from a module below.
        module.items.iter().find_map(|item| {
            let Item::Use(item) = item else { return None };
            // A crate by its name alone leads nowhere.
            let path = path_to(&item.tree, name).filter(|path| !path.is_empty())?;
            self.find(module, &path, name)
        })
    }

    fn parent_of(&self, module: &Module) -> Option<&Module> {
        fn search<'m>(parent: &'m Module, wanted: &Module) -> Option<&'m Module> {
            let is_wanted = |inner: &Module| std::ptr::eq(inner, wanted);
            if parent.modules.values().any(is_wanted) {
                return Some(parent);
            }
            parent.modules.values().find_map(|inner| search(inner, wanted))
        }
        search(&self.root, module)
    }
}

impl Module {
    fn read(file: &Path, folder: &Path, impls: &mut HashMap<String, Vec<ItemImpl>>) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        Module::new(syn::parse_file(&text).unwrap().items, folder, impls)
    }

    fn new(items: Vec<Item>, folder: &Path, impls: &mut HashMap<String, Vec<ItemImpl>>) -> Self {
        let mut modules = HashMap::new();
        for item in &items {
            match item {
                Item::Mod(item) if !is_test(&item.attrs) => {
                    let name = item.ident.to_string();
                    let inner = match &item.content {
                        Some((_, items)) => Module::new(items.clone(), &folder.join(&name), impls),
                        None => Module::read(&file_of(folder, &name), &folder.join(&name), impls),
                    };
                    modules.insert(name, inner);
                }
                Item::Impl(item) => {
                    if let Some(name) = type_name(&item.self_ty) {
                        impls.entry(name).or_default().push(item.clone());
                    }
                }
                _ => {}
            }
        }
        Module { items, modules }
    }
}

fn file_of(folder: &Path, module: &str) -> PathBuf {
    let file = folder.join(format!("{module}.rs"));
    if file.exists() { file } else { folder.join(module).join("mod.rs") }
}

/// The name of a type without its path and parameters.
pub fn type_name(ty: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = ty else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// The name of an item that has one, and who sees it.
pub fn named(item: &Item) -> Option<(&Ident, &Visibility)> {
    match item {
        Item::Struct(item) => Some((&item.ident, &item.vis)),
        Item::Enum(item) => Some((&item.ident, &item.vis)),
        Item::Trait(item) => Some((&item.ident, &item.vis)),
        Item::Fn(item) => Some((&item.sig.ident, &item.vis)),
        Item::Const(item) => Some((&item.ident, &item.vis)),
        Item::Type(item) => Some((&item.ident, &item.vis)),
        _ => None,
    }
}

/// Whether an item is there for tests alone.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Ident>().is_ok_and(|ident| ident == "test")
    })
}

/// The path before a name in a `use`.
fn path_to(tree: &syn::UseTree, name: &str) -> Option<Vec<String>> {
    match tree {
        syn::UseTree::Path(part) => {
            let rest = path_to(&part.tree, name)?;
            Some([vec![part.ident.to_string()], rest].concat())
        }
        syn::UseTree::Name(found) => (found.ident == name).then(Vec::new),
        syn::UseTree::Group(group) => group.items.iter().find_map(|tree| path_to(tree, name)),
        syn::UseTree::Rename(_) | syn::UseTree::Glob(_) => None,
    }
}
