//! How far an access to guest memory has come, and the copies that take it further.

use std::sync::atomic::{Ordering, fence};

use super::completion::DmaError;
use super::space::{DmaSpace, Place};
use crate::protocol::wire::{Command, DmaMapFlags};

/// What each piece counts at least in a step, however few bytes it has.
const PIECE_LEN: usize = 256;

/// A place in guest memory, one of several that an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: usize,
}

/// The device's side of an access: as many bytes as the access has, or more than its places hold.
#[derive(Debug)]
pub(crate) enum Buffer<'b> {
    /// Takes bytes from guest memory.
    Read(&'b mut [u8]),
    /// Has bytes for guest memory.
    Write(&'b [u8]),
}

/// What an access goes on with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// It is complete.
    Nothing,
    /// More copies.
    Copy,
    /// The client has to be asked for the next bytes.
    Ask {
        /// Where they are.
        address: u64,
        /// How many.
        count: usize,
    },
}

/// The place of the next byte of an access.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Which of the segments it is in.
    segment: usize,
    /// Bytes of that segment before it.
    within: usize,
    /// Bytes of the buffer before it.
    done: usize,
}

impl Buffer<'_> {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Buffer::Read(bytes) => bytes.len(),
            Buffer::Write(bytes) => bytes.len(),
        }
    }

    /// What the access needs of guest memory.
    pub fn permission(&self) -> DmaMapFlags {
        match self {
            Buffer::Read(_) => DmaMapFlags::READ,
            Buffer::Write(_) => DmaMapFlags::WRITE,
        }
    }

    /// Copies `count` bytes from or to a file, or from or to memory as it was recorded.
    pub fn transfer(
        &mut self,
        space: &DmaSpace,
        (done, count): (usize, usize),
        address: u64,
        (file, offset): Place<'_>,
    ) -> Result<(), DmaError> {
        let range = done..done + count;
        let truncated = |_| DmaError::Truncated { address };
        match self {
            Buffer::Read(bytes) => {
                let to = bytes.get_mut(range).unwrap_or_default();
                match &space.replayed {
                    Some(memory) => memory.read(address, to),
                    None => file.read(offset, to).map_err(truncated)?,
                }
                fence(Ordering::Acquire);
                space.recorder.memory(Command::DmaRead, address, to);
            }
            Buffer::Write(bytes) => {
                let from = bytes.get(range).unwrap_or_default();
                space.log_write(address, count);
                fence(Ordering::Release);
                match &space.replayed {
                    Some(memory) => memory.write(address, from),
                    None => file.write(offset, from).map_err(truncated)?,
                }
                space.recorder.memory(Command::DmaWrite, address, from);
            }
        }
        Ok(())
    }
}

impl Cursor {
    /// Bytes of the buffer that are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// That many bytes of the present segment are done.
    pub fn advance(&mut self, count: usize) {
        self.done += count;
        self.within += count;
    }

    /// The places that are left, as far as they are for `bytes` bytes.
    pub fn rest(&self, segments: &[Segment], mut bytes: usize) -> Vec<Segment> {
        let mut rest = segments.get(self.segment..).unwrap_or_default().to_vec();
        if let Some(first) = rest.first_mut() {
            // An address past the end stays past the end: there is no memory at either.
            first.address = first.address.saturating_add(self.within as u64);
            first.length = first.length.saturating_sub(self.within);
        }
        for segment in &mut rest {
            segment.length = segment.length.min(bytes);
            bytes -= segment.length;
        }
        rest
    }

    /// Copies as far as memory is mapped, but no more than the budget, which gets less.
    ///
    /// A guest on another processor sees accesses, and the segments of one, in their order; rings
    /// in memory are built on that.
    pub fn copy(
        &mut self,
        space: &DmaSpace,
        segments: &[Segment],
        buffer: &mut Buffer<'_>,
        budget: &mut usize,
    ) -> Result<Ahead, DmaError> {
        if matches!(buffer, Buffer::Read(_)) {
            fence(Ordering::SeqCst);
        }
        while self.done < buffer.len() {
            let Some(segment) = segments.get(self.segment) else { break };
            let left = segment.length.saturating_sub(self.within).min(buffer.len() - self.done);
            if left == 0 {
                (self.segment, self.within) = (self.segment + 1, 0);
                continue;
            }
            let address = segment.address.checked_add(self.within as u64);
            let address = address.ok_or(DmaError::NotMapped { address: 0 })?;
            let (place, count) = space.locate(address, left, buffer.permission())?;
            let Some(place) = place.filter(|_| space.uses_files()) else {
                return Ok(Ahead::Ask { address, count });
            };
            if *budget == 0 {
                return Ok(Ahead::Copy);
            }
            let count = count.min(*budget);
            *budget = budget.saturating_sub(count.max(PIECE_LEN));
            buffer.transfer(space, (self.done, count), address, place)?;
            self.advance(count);
        }
        Ok(Ahead::Nothing)
    }
}

#[cfg(test)]
mod tests;
