//! Names by which a guest's table can ask for something.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::devices::{self, DeviceFactory};

/// Names by which a guest can ask for something.
pub(super) struct KnownNames<'a> {
    /// The options of all devices.
    pub options: BTreeSet<String>,
    /// The same by device.
    pub options_of: HashMap<&'static str, Vec<String>>,
    /// The shared sources and groups.
    pub classes: HashSet<&'a str>,
}

impl<'a> KnownNames<'a> {
    /// These shared sources and groups, and the options that there are.
    pub fn new(classes: HashSet<&'a str>) -> Self {
        let factories = devices::ALL.iter();
        let options_of: HashMap<_, _> =
            factories.map(|factory| (factory.name, factory.option_names())).collect();
        let options = options_of.values().flatten().cloned().collect();
        KnownNames { options, options_of, classes }
    }

    /// Whether a device has that option.
    pub fn has_option(&self, factory: &DeviceFactory, name: &str) -> bool {
        self.options_of.get(factory.name).is_some_and(|all| all.iter().any(|one| one == name))
    }
}
