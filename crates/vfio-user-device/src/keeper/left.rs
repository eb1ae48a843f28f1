//! Descriptors that a process has left open which is no more.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use rustix::fs::fstat;
use rustix::io::fcntl_getfd;

use crate::raw_fds::{by_number, own};

/// Standard error; it and those below it are every process's own.
const LAST_STANDARD_STREAM: RawFd = 2;

/// A descriptor that the keeper had when it began, and which file it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    number: RawFd,
    file: (u64, u64),
}

/// The descriptors of this process that are open now, but for the standard streams.
///
/// # Errors
/// There is no /proc.
pub(super) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > LAST_STANDARD_STREAM).collect();
    // The folder itself was one of them.
    Ok(numbers.into_iter().filter(|number| is_open(*number)).collect())
}

/// Those without an owner here: they were open before the keeper opened any.
#[cfg(feature = "cli")]
pub(super) fn foreign_descriptors() -> io::Result<Vec<Foreign>> {
    let foreign = |number| Some(Foreign { number, file: file_of(number)? });
    Ok(open_descriptors()?.into_iter().filter_map(foreign).collect())
}

impl Foreign {
    /// Whether a descriptor is still the same.
    pub fn is(&self, number: RawFd) -> bool {
        self.number == number && file_of(number) == Some(self.file)
    }
}

/// fstat(2) cannot tell: it fails for a folder of a process that has ended.
fn is_open(number: RawFd) -> bool {
    by_number(number).is_ok_and(|fd| fcntl_getfd(&*fd).is_ok())
}

fn file_of(number: RawFd) -> Option<(u64, u64)> {
    let status = fstat(&*by_number(number).ok()?).ok()?;
    Some((status.st_dev, status.st_ino))
}

/// Closes descriptors that a process has left which is no more.
pub(super) fn close_left(left: &[RawFd]) {
    for number in left {
        // Its owner has ended, and it was open before this process opened any of its own: the number
        // is none of theirs. What was needed of it was duplicated.
        drop(own(*number));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::raw_fds::duplicate;

    #[test]
    fn duplicates_are_of_open_descriptors_alone() {
        let file = tempfile::tempfile().unwrap();
        let copy = duplicate(file.as_raw_fd()).unwrap();
        assert_eq!(file_of(copy.as_raw_fd()), file_of(file.as_raw_fd()));
        assert!(open_descriptors().unwrap().contains(&copy.as_raw_fd()));
        for closed in [-1, 777_777] {
            assert!(duplicate(closed).is_err(), "{closed}");
        }
    }
}
