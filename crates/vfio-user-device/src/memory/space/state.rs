//! The regions of guest memory, as a value.

use serde::{Deserialize, Serialize};

use super::DmaSpace;
use crate::memory::region_file::RegionFile;
use crate::memory::sharing::SharingState;
use crate::protocol::wire::DmaMapFlags;
use crate::state::{Descriptors, FdNumber, StateError};

/// Guest memory: where it is, and the files behind it. Its bytes are the guest's.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryState {
    files: Vec<FdNumber>,
    regions: Vec<RegionState>,
    sharing: SharingState,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionState {
    address: u64,
    size: u64,
    readable: bool,
    writable: bool,
    /// Which of the files, and where in it; `None` is reached by messages.
    file: Option<(usize, u64)>,
    /// The file is read and written, and not mapped.
    file_io: bool,
}

impl DmaSpace {
    /// Saves all regions.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&self, fds: &mut Descriptors) -> Result<MemoryState, StateError> {
        let files = self.files.iter().map(|file| fds.add_shared(&file));
        let files = files.collect::<Result<_, StateError>>()?;
        let regions = self.regions.iter().map(|(address, region)| RegionState {
            address: *address,
            size: region.size,
            readable: region.access.contains(DmaMapFlags::READ),
            writable: region.access.contains(DmaMapFlags::WRITE),
            file: region.file.as_ref().and_then(|file| {
                let (file, offset) = file.origin();
                Some((self.files.position(file)?, offset))
            }),
            file_io: region.file.as_ref().is_some_and(RegionFile::is_by_file_io),
        });
        let regions = regions.collect();
        Ok(MemoryState { files, regions, sharing: self.sharing.save() })
    }

    /// Announces all regions anew.
    ///
    /// # Errors
    /// One cannot be mapped, as when its file has been truncated.
    pub fn restore(&mut self, state: MemoryState, fds: &mut Descriptors) -> Result<(), StateError> {
        self.disconnect();
        let files = state.files.into_iter().map(|number| fds.take(number));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        for RegionState { address, size, readable, writable, file, file_io } in state.regions {
            let mut access = DmaMapFlags::empty();
            access.set(DmaMapFlags::FILE_IO, file_io);
            access.set(DmaMapFlags::READ, readable);
            access.set(DmaMapFlags::WRITE, writable);
            let file = file.map(|(number, offset)| {
                let file = files.get(number);
                let file = file.ok_or_else(|| StateError::Content(format!("no file {number}")))?;
                Ok::<_, StateError>((file.try_clone()?, offset))
            });
            self.map(address, size, access, file.transpose()?)
                .map_err(|error| StateError::Memory { address, reason: error.to_string() })?;
        }
        self.sharing.restore(state.sharing);
        Ok(())
    }
}
