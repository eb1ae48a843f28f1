//! The archive format of an initramfs: cpio, "newc".
//!
//! Each entry is a header of fixed-width hexadecimal numbers, a name and the contents, each
//! padded to four bytes; an entry named `TRAILER!!!` ends the archive.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive in the making. Folders come by themselves.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// Adds a folder and those it is in; the path has no slash at its start or end.
    pub fn folder(&mut self, path: &str) {
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, (0, 0), &[]);
        }
    }

    /// Adds a file with its permissions.
    pub fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        self.entry(path, REGULAR | (permissions & 0o7777), (0, 0), contents);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// Adds something, and the folders that it is in.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        // Nothing that goes into a guest comes near 4 GiB.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (size, name_size) = (length(contents.len()), length(name.len() + 1));
        let (inode, owner, time, checksum) = (self.entries, 0, 0, 0);
        let numbers = [
            inode, mode, owner, owner, links, time, size, 0, 0, device.0, device.1, name_size,
            checksum,
        ];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = Archive::default().finish();
        let text = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(text.len(), 124);
        assert!(text.starts_with("07070100000001"));
        assert!(text[94..].starts_with("0000000B00000000TRAILER!!!\0"));
    }

    #[test]
    fn folders_come_once_and_before_their_files() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o755, b"1");
        archive.file("a/b/two", 0o644, b"22");
        archive.link("a/three", "b/one");
        let text = String::from_utf8(archive.finish()).expect("ASCII");
        let names = ["\0a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "a/three\0", "TRAILER!!!\0"];
        let places: Vec<_> =
            names.iter().skip(1).map(|name| text.find(name).expect("in the archive")).collect();
        assert!(places.is_sorted());
        assert_eq!(text.matches("a/b\0").count(), 1);
        assert_eq!(text.len() % 4, 0);
    }
}
