//! Guest memory that all executions of a target use, one after the other: new memory costs more than
//! most of them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user_device::TestBench;

use crate::driver::{MEMORY, UNTOUCHED};

thread_local! {
    static FILE: File = {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, MEMORY).unwrap();
        File::from(file)
    };
}

/// Gives a bench this memory, as nothing has touched it.
pub fn give(bench: TestBench) -> TestBench {
    FILE.with(|file| {
        file.write_all_at(&[UNTOUCHED; MEMORY as usize], 0).unwrap();
        bench.with_memory_of(file.try_clone().unwrap().into(), MEMORY).unwrap()
    })
}
