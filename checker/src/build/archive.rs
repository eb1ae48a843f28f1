//! Unpacks untrusted archives: however much is packed in them, no more is unpacked than a submission
//! may have.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

use super::MAX_BYTES;
use crate::stop::Stop;

/// The most bytes that are unpacked of a stream: the files and what an archive has around them.
const MAX_UNPACKED: u64 = 2 * MAX_BYTES;
/// The most memory for a decoder.
const MAX_DECODER_MEMORY: u64 = 128 << 20;

/// The kinds that are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tar,
    TarGz,
    TarXz,
    Zip,
}

const ENDS: [(&str, Kind); 6] = [
    (".tar", Kind::Tar),
    (".tar.gz", Kind::TarGz),
    (".tgz", Kind::TarGz),
    (".tar.xz", Kind::TarXz),
    (".txz", Kind::TarXz),
    (".zip", Kind::Zip),
];

impl Kind {
    /// That of a file with this name, in small letters.
    pub fn of(name: &str) -> Option<Self> {
        ENDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| *kind)
    }

    /// An archive's name without what says that it is one.
    pub fn stem(self, name: &str) -> String {
        let lower = name.to_lowercase();
        let end = ENDS.iter().find(|(end, _)| lower.ends_with(end)).map_or("", |(end, _)| end);
        let stem = name.get(..name.len() - end.len()).unwrap_or_default();
        if stem.is_empty() { "archive".to_owned() } else { stem.to_owned() }
    }
}

/// What an archive has under a name.
pub enum Member<'a> {
    File(&'a mut dyn Read),
    Link,
}

/// Gets the files and links of an archive, one by one.
type Take<'a> = &'a mut dyn FnMut(&Path, Member<'_>) -> Result<(), Stop>;

/// Unpacks an archive, and hands on what is in it.
pub fn unpack(kind: Kind, bytes: &[u8], take: Take<'_>) -> Result<(), Broken> {
    match kind {
        Kind::Zip => zip(bytes, take),
        Kind::Tar => tar(bytes, take),
        Kind::TarGz => tar(MultiGzDecoder::new(bytes), take),
        Kind::TarXz => {
            let stream = Stream::new_stream_decoder(MAX_DECODER_MEMORY, 0)?;
            tar(XzDecoder::new_stream(bytes, stream), take)
        }
    }
}

/// Why an archive is not unpacked to its end.
pub enum Broken {
    Archive(String),
    Stopped(Stop),
}

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Archive(error.to_string())
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

fn tar(stream: impl Read, take: Take<'_>) -> Result<(), Broken> {
    let mut archive = tar::Archive::new(stream.take(MAX_UNPACKED));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_file() {
            take(&name, Member::File(&mut entry))?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            take(&name, Member::Link)?;
        }
    }
    Ok(())
}

fn zip(bytes: &[u8], take: Take<'_>) -> Result<(), Broken> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = PathBuf::from(file.name());
        if file.is_symlink() {
            take(&name, Member::Link)?;
        } else if file.is_file() {
            take(&name, Member::File(&mut file))?;
        }
    }
    Ok(())
}
