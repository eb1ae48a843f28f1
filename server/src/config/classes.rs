//! Whether the bandwidths of a configuration are valid: the classes are added to trees, as the daemon
//! will do it.

use std::collections::HashMap;
use std::time::Instant;

use super::{Configuration, GuestSource};
use entropy::bandwidth::{Bandwidth, ClassId, ClassIdAllocator, Tree};
use entropy::source::SharedError;

/// What is wrong with a class.
pub(super) struct ClassError {
    /// `source or group`, or `guest`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// What it is.
    pub reason: String,
}

/// All invalid classes.
///
/// Floors of guests count as if all of them were connected, unless their class is one that may be
/// overcommitted; then each of them has to fit alone, and a guest that connects too late is rejected.
pub(super) fn class_errors(configuration: &Configuration) -> Vec<ClassError> {
    let mut trees = Trees { now: Instant::now(), classes: HashMap::new(), trees: Vec::new() };
    let mut class_errors = Vec::new();
    let overcommitted = configuration.overcommitted();
    let mut note = |kind, name: &str, result: Result<(), SharedError>| {
        if let Err(error) = result {
            let reason = error.to_string();
            class_errors.push(ClassError { kind, name: name.to_owned(), reason });
        }
    };
    for source in &configuration.sources {
        note("source or group", &source.name, trees.plant(source));
    }
    for group in &configuration.groups {
        let added = trees.add(&group.parent, &group.name, group.bandwidth);
        if let Ok(Some(place)) = added {
            trees.classes.insert(&group.name, place);
        }
        note("source or group", &group.name, added.map(|_| ()));
    }
    for guest in &configuration.guests {
        let GuestSource::Shared { parent, bandwidth } = &guest.source else { continue };
        let added = trees.add(parent, &guest.name, *bandwidth);
        if let (Ok(Some(place)), true) = (&added, overcommitted.contains(parent.as_str())) {
            trees.remove(*place);
        }
        note("guest", &guest.name, added.map(|_| ()));
    }
    class_errors
}

/// A class: its tree, and its number in there.
type Place = (usize, ClassId);

struct Trees<'a> {
    now: Instant,
    /// Where the sources and groups are.
    classes: HashMap<&'a str, Place>,
    trees: Vec<(Tree, ClassIdAllocator)>,
}

impl<'a> Trees<'a> {
    fn plant(&mut self, source: &'a super::SharedSource) -> Result<(), SharedError> {
        let mut class_ids = ClassIdAllocator::default();
        let id = class_ids.allocate()?;
        let tree = Tree::new(id, &source.name, source.bandwidth, self.now)?;
        self.classes.insert(&source.name, (self.trees.len(), id));
        self.trees.push((tree, class_ids));
        Ok(())
    }

    /// Adds a class. Nothing is added below an invalid one, which is noted already.
    fn add(
        &mut self,
        parent: &str,
        name: &str,
        bandwidth: Bandwidth,
    ) -> Result<Option<Place>, SharedError> {
        let Some((index, parent)) = self.classes.get(parent).copied() else { return Ok(None) };
        let Some((tree, class_ids)) = self.trees.get_mut(index) else { return Ok(None) };
        let id = class_ids.allocate()?;
        tree.add(parent, id, name, bandwidth, self.now)?;
        Ok(Some((index, id)))
    }

    fn remove(&mut self, (index, id): Place) {
        if let Some((tree, class_ids)) = self.trees.get_mut(index) {
            // It was added a moment ago, and nothing is below it.
            let _ = tree.remove(id, self.now);
            class_ids.release(id);
        }
    }
}
