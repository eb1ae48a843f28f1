//! Unpacks archives, which anybody can have made: what leads out of them or is a link is left out,
//! and however much is packed in them, no more is unpacked than a submission may have.

use std::io::{Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

use super::Failure;
use super::copy::{Copied, MAX_BYTES};

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

/// Unpacks an archive into a folder.
pub fn unpack(
    copied: &mut Copied,
    kind: Kind,
    bytes: &[u8],
    name: &str,
    folder: &Path,
    packed: usize,
) -> Result<(), Failure> {
    let done = match kind {
        Kind::Zip => zip(copied, bytes, folder, packed),
        Kind::Tar => tar(copied, bytes, folder, packed),
        Kind::TarGz => tar(copied, MultiGzDecoder::new(bytes), folder, packed),
        Kind::TarXz => match Stream::new_stream_decoder(MAX_DECODER_MEMORY, 0) {
            Ok(stream) => tar(copied, XzDecoder::new_stream(bytes, stream), folder, packed),
            Err(error) => Err(Broken::Archive(error.to_string())),
        },
    };
    match done {
        Ok(()) => {
            copied.notes.push(format!("{name} was unpacked"));
            Ok(())
        }
        Err(Broken::Failed(failure)) => Err(failure),
        Err(Broken::Archive(error)) => {
            copied.passed_over.push(format!(
                "{name}: the archive cannot be unpacked ({error}); pack the sources again, as .zip \
                 or .tar.gz"
            ));
            Ok(())
        }
    }
}

/// Why an archive is not unpacked to its end.
enum Broken {
    Archive(String),
    Failed(Failure),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Archive(error.to_string())
    }
}

impl From<zip::result::ZipError> for Broken {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Archive(error.to_string())
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn tar(copied: &mut Copied, stream: impl Read, to: &Path, packed: usize) -> Result<(), Broken> {
    let mut archive = tar::Archive::new(stream.take(MAX_UNPACKED));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_file() {
            copied.put(to, &name, &mut entry, packed)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            copied.notes.push(format!("{} is a link, and was left out", name.display()));
        }
    }
    Ok(())
}

fn zip(copied: &mut Copied, bytes: &[u8], to: &Path, packed: usize) -> Result<(), Broken> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.name().to_owned();
        if file.is_symlink() {
            copied.notes.push(format!("{name} is a link, and was left out"));
        } else if file.is_file() {
            copied.put(to, Path::new(&name), &mut file, packed)?;
        }
    }
    Ok(())
}
