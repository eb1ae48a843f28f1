//! `/dev/my_rng_driver`, as a program sees it.

use crate::sys;
use anyhow::{Context as _, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io;
use std::path::Path;

/// The open device.
#[derive(Debug)]
pub struct CharacterDevice(OwnedFd);

impl CharacterDevice {
    /// Opens it as the published programs do.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlags::RDWR)
    }

    /// Opens it with other flags.
    pub fn open_with(path: &Path, flags: OFlags) -> Result<Self> {
        let opened = open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let fd = opened.with_context(|| {
            format!("opening {}: is my_rng.ko loaded and the device there?", path.display())
        })?;
        Ok(Self(fd))
    }

    /// Draws a number by ioctl.
    pub fn random(&self) -> Result<u32> {
        sys::random(self.fd()).context("ioctl for a random number")
    }

    /// Draws several numbers by ioctl.
    pub fn randoms(&self, count: usize) -> Result<Vec<u32>> {
        (0..count).map(|_| self.random()).collect()
    }

    /// Seeds the generator.
    pub fn seed(&self, seed: u32) -> Result<()> {
        sys::seed(self.fd(), seed).with_context(|| format!("ioctl to seed with {seed}"))
    }

    /// One read(2), which may return less than asked for.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::read(&self.0, buffer)
    }

    /// The descriptor, for calls of no general use.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
