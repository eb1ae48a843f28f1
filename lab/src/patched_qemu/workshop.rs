//! A copy of the patched QEMU's source and build, to try changes of the device in.
//!
//! It is how long a person waits who has the device inside QEMU: edit the file, compile it, link
//! QEMU. The patched QEMU itself is not touched, so that nothing else notices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::patched_qemu::tree::{DEVICE_SOURCE, Tree};
use crate::patched_qemu::{self, Built};
use crate::run_dir::RunDir;
use crate::{lock, process};

/// The copy; removed with the value.
#[derive(Debug)]
pub struct Workshop {
    folder: TempDir,
    tree: Tree,
}

impl Workshop {
    /// Copies the patched QEMU into the folder of a run, building it if need be.
    pub fn open(run: &RunDir) -> Result<Self> {
        patched_qemu::get()?;
        let right = lock::preparing()?;
        let folder = tempfile::Builder::new()
            .prefix("qemu-my_rng-")
            .tempdir_in(run.path())
            .context("cannot make a folder for a copy of QEMU's source")?;
        let mut copy = process::tied("cp");
        copy.args(["--archive", "--reflink=auto"]).arg(patched_qemu::folder().join("."));
        process::output("copying QEMU's source", copy.arg(folder.path()))?;
        let tree = Tree::new(&patched_qemu::tools().path(), folder.path(), &right)?;
        Ok(Self { folder, tree })
    }

    /// The device's source, to begin with.
    pub fn device_source(&self) -> PathBuf {
        self.folder.path().join("source").join(DEVICE_SOURCE)
    }

    /// Takes an edited `my_rng.c` and builds a QEMU of it; also says how long from the copy to the
    /// program.
    pub fn rebuild(&self, device: &Path) -> Result<Built> {
        self.tree.replace_device(device)?;
        let took = self.tree.compile()?;
        Ok(Built { qemu: self.tree.qemu()?, took })
    }
}
