//! The crate's public API, compared with `public-api.txt`: a change of it shows in a review.
//!
//! The sources are parsed, so that this needs nothing but a stable compiler. Types are listed as
//! they are written; a type that a macro defines is listed by its name alone. After an intended
//! change: `UPDATE_PUBLIC_API=1 cargo test -p vfio-user-device --test public_api`.

mod sources;
mod text;

use std::collections::BTreeSet;
use std::path::Path;

use sources::{Module, Sources};
use syn::{Item, UseTree, Visibility};

/// What the API of a device author must not hold: types of crates that the kit may replace.
/// (serde is no such crate: a device's state is a value that it can write and read.)
const FOREIGN: [&str; 6] = ["Errno", "vm_memory", "clap", "serde_json", "bitflags", "rustix"];
/// Modules that are not for device authors.
const OTHER_MODULES: [&str; 6] = ["server", "cli", "wire", "rust_vmm", "exchange", "recording"];

#[test]
fn public_api_is_the_one_that_was_reviewed() {
    let listing = listing();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("public-api.txt");
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        std::fs::write(&path, &listing).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let (now, before): (BTreeSet<&str>, BTreeSet<&str>) =
        (listing.lines().collect(), reviewed.lines().collect());
    let added: Vec<_> = now.difference(&before).collect();
    let removed: Vec<_> = before.difference(&now).collect();
    assert!(
        added.is_empty() && removed.is_empty(),
        "the public API has changed.\nadded: {added:#?}\nremoved: {removed:#?}\nIf that is intended: \
         UPDATE_PUBLIC_API=1 cargo test -p vfio-user-device --test public_api"
    );
}

#[test]
fn a_device_author_sees_no_type_of_another_crate() {
    let listing = listing();
    let is_other = |line: &&str| OTHER_MODULES.iter().any(|module| starts_in(line, module));
    let lines: Vec<&str> = listing.lines().filter(|line| !is_other(line)).collect();
    assert!(lines.iter().any(|line| line.starts_with("Bus::set_timer: ")), "{listing}");
    for line in lines {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        assert!(!FOREIGN.iter().any(|foreign| words.contains(foreign)), "{line}");
    }
}

#[test]
fn the_operators_api_and_the_wire_are_modules_of_their_own() {
    let listing = listing();
    for part in ["server::ServerSet::run: ", "wire::Header.id: ", "cli::Program::start: "] {
        assert!(listing.lines().any(|line| line.starts_with(part)), "{part}\n{listing}");
    }
}

fn starts_in(line: &str, module: &str) -> bool {
    line.strip_prefix(module).is_some_and(|rest| rest.starts_with("::") || rest.starts_with(": "))
}

/// One line for each public item, method, field and variant.
fn listing() -> String {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut lines = BTreeSet::new();
    list_module(&sources, &sources.root, "", &mut lines);
    lines.into_iter().fold(String::new(), |text, line| text + &line + "\n")
}

fn list_module(sources: &Sources, module: &Module, prefix: &str, lines: &mut BTreeSet<String>) {
    for item in &module.items {
        match item {
            Item::Use(item) if is_public(&item.vis) => {
                list_use(sources, module, &[], &item.tree, prefix, lines);
            }
            Item::Mod(item) if is_public(&item.vis) && !sources::is_test(&item.attrs) => {
                let name = item.ident.to_string();
                // Doors for the fuzz targets are no part of the API.
                if let Some(inner) = module.modules.get(&name).filter(|_| name != "fuzzing") {
                    let prefix = format!("{prefix}{name}::");
                    list_module(sources, inner, &prefix, lines);
                }
            }
            other => {
                if let Some((name, _)) = sources::named(other).filter(|(_, vis)| is_public(vis)) {
                    text::list_item(sources, other, &format!("{prefix}{name}"), lines);
                }
            }
        }
    }
}

/// Lists what a `pub use` names.
fn list_use(
    sources: &Sources,
    module: &Module,
    path: &[String],
    tree: &UseTree,
    prefix: &str,
    lines: &mut BTreeSet<String>,
) {
    match tree {
        UseTree::Path(part) => {
            let path = [path, &[part.ident.to_string()]].concat();
            list_use(sources, module, &path, &part.tree, prefix, lines);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                list_use(sources, module, path, tree, prefix, lines);
            }
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let listed = format!("{prefix}{name}");
            match sources.find(module, path, &name) {
                Some(sources::Found::Item(item)) => text::list_item(sources, item, &listed, lines),
                Some(sources::Found::Module(inner)) => {
                    list_module(sources, inner, &format!("{listed}::"), lines);
                }
                None => {
                    lines.insert(format!("{listed}: of a macro, or another crate"));
                }
            }
        }
        UseTree::Rename(_) | UseTree::Glob(_) => panic!("pub use without a name: {prefix}"),
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
