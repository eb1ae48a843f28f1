//! Runs that are put together, without guests.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::batch::check_with;
use crate::report::examples;
use crate::submission::Found;
use crate::table;

/// A class of seven.
const NAMES: [&str; 7] = ["ann", "ann.zip", "bob", "cleo", "dan", "eve", "=fay"];

/// Has a shard of the class checked, as the checker does it, with a report for each but dan, and
/// returns what came out.
fn run(folder: &Path, shard: Shard) -> Vec<Checked> {
    let found: Vec<Found> =
        NAMES.map(|name| Found { name: name.to_owned(), path: name.into() }).into();
    let check = |found: &Found| match found.name.as_str() {
        "dan" => Err(anyhow!("no\ndisk")),
        name => {
            let mut report = examples::report();
            report.submission = name.to_owned();
            report.entries.truncate(1 + name.len() % 4);
            Ok(report)
        }
    };
    check_with(&found, shard, 2, "my_rng", Some(folder), &check).expect("writable")
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    let file = |entry: fs::DirEntry| {
        let mut text = fs::read_to_string(entry.path()).expect("it is text");
        if entry.file_name() == "run.jsonl" {
            // In the order in which they were done.
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            text = lines.join("\n");
        }
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(file).collect()
}

fn folders(count: u32) -> (tempfile::TempDir, Vec<PathBuf>) {
    let top = tempfile::tempdir().expect("a folder can be made");
    let folders: Vec<PathBuf> =
        (1..=count).map(|number| top.path().join(format!("reports-{number}"))).collect();
    (top, folders)
}

fn shards(folders: &[PathBuf], of: u32) {
    for (number, folder) in (1..=of).zip(folders) {
        run(folder, Shard::new(number, of).expect("it is one"));
    }
}

/// What was not checked, with the reason.
fn lost(all: &[Checked]) -> Vec<(&str, String)> {
    let lost = |one: &Checked| one.report.as_ref().err().map(|error| format!("{error:#}"));
    all.iter().filter_map(|one| Some((one.name.as_str(), lost(one)?))).collect()
}

#[test]
fn merged_shards_are_the_reports_and_the_tables_of_one_run() {
    let (top, parts) = folders(3);
    let whole = top.path().join("whole");
    let expected = run(&whole, Shard::WHOLE);
    table::write(&whole, &expected).expect("writable");
    shards(&parts, 3);
    let into = top.path().join("merged");
    let merged = merge(&parts, Some(&into)).expect("they fit");
    table::write(&into, &merged).expect("writable");
    assert_eq!(table::text(&merged), table::text(&expected));
    let (expected, found) = (files(&whole), files(&into));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, text) in &expected {
        assert_eq!(found[name], *text, "{name}");
    }
}

#[test]
fn a_lost_shard_and_one_that_was_ended_are_named() {
    let (_top, parts) = folders(3);
    shards(&parts, 3);
    // The second ended after its first submission: that is ann.zip.
    let journal = journal::path(&parts[1]);
    let text = fs::read_to_string(&journal).expect("readable");
    let begun = text.lines().next().expect("it has a head");
    let first = text.lines().find(|line| line.ends_with("\"ann.zip\"}")).expect("it was done");
    fs::write(&journal, format!("{begun}\n{first}\n{{\"submi")).expect("writable");
    let all = merge(&parts[..2], None).expect("they fit");
    let ended = format!("the run of {} ended before it was done", parts[1].display());
    assert_eq!(
        lost(&all),
        [
            ("bob", "shard 3/3 is missing".to_owned()),
            ("dan", ended),
            ("eve", "shard 3/3 is missing".to_owned()),
        ]
    );
}

#[test]
fn a_repeated_shard_counts_once_and_fills_what_the_first_one_lacks() {
    let (top, mut parts) = folders(2);
    shards(&parts, 2);
    let expected = merge(&parts, None).expect("they fit");
    let again = top.path().join("again");
    run(&again, Shard::new(1, 2).expect("it is one"));
    // The first try was ended at once.
    let journal = journal::path(&parts[0]);
    let text = fs::read_to_string(&journal).expect("readable");
    fs::write(&journal, text.lines().next().expect("it has a head")).expect("writable");
    parts.push(again);
    let all = merge(&parts, None).expect("they fit");
    assert_eq!(table::text(&all), table::text(&expected));
    assert_eq!(all.len(), NAMES.len());
}

#[test]
fn runs_that_do_not_fit_are_told_apart() {
    let (top, parts) = folders(2);
    shards(&parts, 2);
    let other = top.path().join("other");
    run(&other, Shard::new(2, 3).expect("it is one"));
    let error = |folders: &[PathBuf]| merge(folders, None).expect_err("it cannot be").to_string();
    assert!(error(&[parts[0].clone(), other]).contains("one of 2 shards"));
    let change = |from: &str, to: &str| {
        let changed = top.path().join("changed");
        fs::create_dir_all(&changed).expect("writable");
        let text = fs::read_to_string(journal::path(&parts[1])).expect("readable");
        fs::write(journal::path(&changed), text.replace(from, to)).expect("writable");
        error(&[parts[0].clone(), changed])
    };
    assert!(change("\"my_rng\"", "\"mode\"").contains("of the profile my_rng,"));
    let said = change("\"cleo\"", "\"zoe\"");
    assert!(said.contains("reports-1 has the submission cleo: all shards have to"), "{said}");
    assert!(change("\"cleo\"", "\"../cleo\"").contains("\"../cleo\" is no submission's name"));
    assert!(change("\"of\":2", "\"of\":0").contains("no part of a folder"));
}

#[test]
fn the_merged_reports_go_to_a_folder_of_their_own() {
    let (_top, parts) = folders(1);
    shards(&parts, 1);
    let before = files(&parts[0]);
    let error = merge(&parts, Some(&parts[0])).expect_err("it would overwrite").to_string();
    assert!(error.contains("name another one with --reports"), "{error}");
    assert_eq!(files(&parts[0]), before);
}
