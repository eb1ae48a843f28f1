//! The pages of the project: every link leads to a file and a heading, and every path that a page
//! names exists. So does every test that the threat model names.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::paths;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What a page says.
#[derive(Default)]
struct Page {
    /// Targets of its links.
    links: Vec<String>,
    /// Headings, as anchors.
    anchors: Vec<String>,
    /// Text between backticks.
    code: Vec<String>,
}

/// The files of the checkout that git knows by this pattern: their paths in the checkout and their text.
fn files(pattern: &str) -> Vec<(PathBuf, String)> {
    let listed = Command::new("git")
        .args(["ls-files", pattern])
        .current_dir(paths::checkout())
        .output()
        .expect("git can be run");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let read = |path: &str| {
        let text = fs::read_to_string(paths::checkout().join(path)).expect("it can be read");
        (PathBuf::from(path), text)
    };
    listed.lines().map(read).collect()
}

/// Every page of the checkout, by its path in the checkout.
fn pages() -> HashMap<PathBuf, Page> {
    files("*.md").into_iter().map(|(path, text)| (path, parse(&text))).collect()
}

fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                page.anchors.extend(heading.take().map(|title| anchor(&title)));
            }
            Event::Code(code) => match &mut heading {
                Some(title) => title.push_str(&code),
                None => page.code.push(code.into_string()),
            },
            Event::Text(words) => {
                if let Some(title) = &mut heading {
                    title.push_str(&words);
                }
            }
            _ => {}
        }
    }
    page
}

/// A heading's anchor, as forges make it.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 8, "the checkout has {} pages", pages.len());
    let mut broken = Vec::new();
    for (path, page) in &pages {
        let folder = path.parent().unwrap_or(Path::new(""));
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            // Links of Rust's documentation, which rustdoc checks.
            if link.contains("::") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { normal(&folder.join(file)) };
            let missing = match pages.get(&target) {
                Some(page) => !heading.is_empty() && !page.anchors.iter().any(|it| it == heading),
                None => !paths::checkout().join(&target).exists(),
            };
            if missing {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0], "broken links");
}

#[test]
fn every_path_that_the_maps_name_exists() {
    let pages = pages();
    let mut missing = Vec::new();
    for map in ["CONTRIBUTING.md", "docs/architecture.md", "docs/device.md", "README.md"] {
        let page = &pages[Path::new(map)];
        for code in page.code.iter().filter(|code| is_path(code)) {
            let named = code.trim_end_matches('/').split(':').next().unwrap_or_default();
            if !paths::checkout().join(named).exists() {
                missing.push(format!("{map}: {code}"));
            }
        }
    }
    assert_eq!(missing, [""; 0], "paths that do not exist");
}

/// Whether text between backticks is a path in the checkout.
fn is_path(code: &str) -> bool {
    let roots = ["crates/", "server/", "lab/", "checker/", "guest-driver/", "tests/", "docs/"];
    let others = ["course/", "scripts/", "qemu-patches/", "qemu-device/"];
    let of_the_checkout = roots.iter().chain(&others).any(|root| code.starts_with(root));
    of_the_checkout && !code.contains([' ', '*', '{', '<']) && !code.contains("NAME")
}

/// The names of all tests in some Rust code.
fn tests(code: &str) -> impl Iterator<Item = String> + '_ {
    code.split("#[test]").skip(1).filter_map(|rest| {
        let (_, from_name) = rest.split_once("fn ")?;
        Some(from_name.split_once('(')?.0.to_owned())
    })
}

#[test]
fn each_line_of_the_threat_model_names_a_test_that_exists() {
    let known: HashSet<String> = files("*.rs").iter().flat_map(|(_, code)| tests(code)).collect();
    let page = fs::read_to_string(paths::checkout().join("docs/security.md")).expect("the page");
    let (_, model) = page.split_once("## Who can do what").expect("the threat model");
    let (model, _) = model.split_once("\n## ").expect("the section after it");
    let lines: Vec<&str> = model.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(lines.len() > 20, "the threat model has {} lines", lines.len());
    let is_tested = |line: &&str| {
        let named = line.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let named = named.trim().strip_prefix('`').and_then(|named| named.strip_suffix('`'));
        named.is_some_and(|named| known.contains(named))
    };
    let untested: Vec<&str> = lines.into_iter().filter(|line| !is_tested(line)).collect();
    assert_eq!(untested, [""; 0], "lines without a test");
}
