//! What a program in the sandbox sees of the host's files.

use std::path::{Path, PathBuf};

/// The files, in the order in which they were asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub places: Vec<Place>,
}

/// Something that is seen at a path.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
        /// Where it is.
        inside: PathBuf,
    },
    /// A file or folder of the host.
    Bound {
        /// Where the host has it.
        path: PathBuf,
        /// Where the program sees it.
        inside: PathBuf,
        /// Whether the program may write to it.
        writable: bool,
    },
}

impl View {
    pub fn link(&mut self, target: &Path, inside: &Path) {
        self.places.push(Place::Link { target: target.to_owned(), inside: inside.to_owned() });
    }

    pub fn show(&mut self, path: &Path, inside: &Path) {
        self.bind(path, inside, false);
    }

    pub fn writable(&mut self, path: &Path, inside: &Path) {
        self.bind(path, inside, true);
    }

    fn bind(&mut self, path: &Path, inside: &Path, writable: bool) {
        let (path, inside) = (path.to_owned(), inside.to_owned());
        self.places.push(Place::Bound { path, inside, writable });
    }

    /// The host's paths that the program may write to.
    pub fn writable_folders(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().filter_map(|place| match place {
            Place::Bound { path, writable: true, .. } => Some(path.as_path()),
            _ => None,
        })
    }
}
