//! A profile that says what is different from another one: `extends = "my_rng"`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use toml::{Table, Value};

use super::PUBLISHED;

/// The key with the other profile: the built-in one's name, or a file beside this one.
const KEY: &str = "extends";
/// The name of the built-in profile.
const BUILT_IN: &str = "my_rng";
/// How many profiles can extend one another.
const MAX_DEPTH: usize = 8;

/// A profile with what it has from the one that it extends; nothing when it extends none.
pub fn merged(text: &str, path: &Path) -> Result<Option<Table>> {
    let Ok(table) = text.parse::<Table>() else {
        // What is wrong is said by the caller, with the line.
        return Ok(None);
    };
    if !table.contains_key(KEY) {
        return Ok(None);
    }
    Ok(Some(extended(table, path, 0)?))
}

fn extended(mut table: Table, path: &Path, depth: usize) -> Result<Table> {
    ensure!(depth < MAX_DEPTH, "more than {MAX_DEPTH} profiles extend one another");
    let base = match table.remove(KEY) {
        None => return Ok(table),
        Some(Value::String(base)) => base,
        Some(_) => bail!("`extends` names a profile: \"{BUILT_IN}\", or a file beside this one"),
    };
    let (mut merged, from) = if base == BUILT_IN {
        (PUBLISHED.parse::<Table>().context("the built-in profile is right")?, PathBuf::new())
    } else {
        let file = path.parent().unwrap_or(Path::new(".")).join(&base);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "`extends = \"{base}\"`: cannot read {}; expected \"{BUILT_IN}\" or a file",
                file.display()
            )
        })?;
        let table = text.parse().with_context(|| format!("{} is no TOML", file.display()))?;
        (extended(table, &file, depth + 1)?, file)
    };
    for (part, key) in [("device", "source"), ("app", "driver")] {
        absolute(&mut merged, part, key, &from)?;
    }
    merge(&mut merged, table);
    Ok(merged)
}

/// A path of a profile, for one that is somewhere else.
fn absolute(table: &mut Table, part: &str, key: &str, profile: &Path) -> Result<()> {
    let part = table.get_mut(part).and_then(Value::as_table_mut);
    if let Some(Value::String(path)) = part.and_then(|part| part.get_mut(key)) {
        let whole = std::path::absolute(profile.with_file_name(&*path));
        *path = whole.context("no current folder")?.to_string_lossy().into_owned();
    }
    Ok(())
}

/// Puts what a table has over what another one has. Lists of things with names are put together by
/// name.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (Some(Value::Array(under)), Value::Array(over)) if over.iter().all(is_named) => {
                for value in over {
                    let same = |other: &&mut Value| other.get("name") == value.get("name");
                    match under.iter_mut().find(same) {
                        Some(other) => *other = value,
                        None => under.push(value),
                    }
                }
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

fn is_named(value: &Value) -> bool {
    value.get("name").is_some()
}
