//! The licences of all dependencies are among those that `deny.toml` allows.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the checkout")
}

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(checkout().join("deny.toml")).expect("it is there");
    let file: toml::Table = text.parse().expect("it is TOML");
    let allowed = file["licenses"]["allow"].as_array().expect("it is a list");
    allowed.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn is_allowed(licence: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = Expression::parse_mode(licence, ParseMode::LAX).expect("SPDX's form");
    expression
        .evaluate(|required| required.license.id().is_some_and(|id| allowed.contains(id.name)))
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1"]).current_dir(checkout());
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("they are a list");
    assert!(packages.len() > 100, "{} packages", packages.len());
    let allowed = allowed();
    let others: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|it| is_allowed(it, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn one_of_several_licences_is_enough_and_all_of_a_sum_are_needed() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Zlib".to_owned()]);
    assert!(is_allowed("MIT/Apache-2.0", &allowed));
    assert!(is_allowed("MIT AND Zlib", &allowed));
    assert!(!is_allowed("MIT AND GPL-2.0-only", &allowed));
    assert!(!is_allowed("GPL-2.0-only", &allowed));
}
