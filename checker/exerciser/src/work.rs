//! What a process of the exerciser's does: calls and accesses, one after the other. Each result is
//! printed at once, so that it is known how far the process came.

use std::ffi::CString;
use std::io::Write;

use anyhow::{Context, Result};
use exerciser::{Call, Job, RegisterAccess, Step};
use my_rng_tester::pci;
use my_rng_tester::registers::{self, Access};
use my_rng_tester::sys::Mapping;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::system::{delete_module, finit_module};

use crate::memory::Memory;

/// Does the job.
pub fn work(job: &Job) -> Result<()> {
    match job {
        Job::Calls { node, calls } => make_calls(node, calls),
        Job::Registers { vendor, device, size, accesses } => {
            access_registers((*vendor, *device), *size, accesses)
        }
        Job::Loads { file, name, times } => report(&Step::Loads(loads(file, name, *times)?)),
        Job::Program { .. } => Ok(()),
    }
}

/// Loads and unloads a module so many times; where that fails, when it does.
fn loads(file: &str, name: &str, times: u32) -> Result<Option<String>> {
    let module = open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open {file}"))?;
    let name = CString::new(name).context("a module's name has no zeros")?;
    let flags = OFlags::NONBLOCK | OFlags::EXCL;
    let flags = i32::try_from(flags.bits()).context("flags are small")?;
    for number in 1..=times {
        if let Err(errno) = finit_module(&module, c"", 0) {
            return Ok(Some(format!("at load {number}: {errno}")));
        }
        if let Err(errno) = delete_module(&name, flags) {
            return Ok(Some(format!("at unload {number}: {errno}")));
        }
    }
    Ok(None)
}

fn report(step: &Step) -> Result<()> {
    let line = serde_json::to_string(step).context("a step is plain data")?;
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

fn make_calls(node: &str, calls: &[Call]) -> Result<()> {
    let device = match open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) => device,
        Err(errno) => {
            let errno = Some(errno.raw_os_error());
            return report(&Step::NotOpened { reason: format!("cannot open {node}"), errno });
        }
    };
    report(&Step::Opened)?;
    for call in calls {
        for _ in 0..call.times {
            let memory = Memory::new(call.argument).context("no memory for an argument")?;
            let result = memory.ioctl(device.as_fd(), call.number);
            report(&Step::Called { result, memory: memory.read() })?;
        }
    }
    Ok(())
}

fn access_registers(id: (u16, u16), size: usize, accesses: &[RegisterAccess]) -> Result<()> {
    let function = pci::first(id.0, id.1)?;
    let granted = match registers::map(function.as_ref(), size) {
        Ok(Access::Granted(granted)) => granted,
        Ok(Access::Refused(reason)) => return report(&Step::NotOpened { reason, errno: None }),
        Err(error) => {
            return report(&Step::NotOpened { reason: format!("{error:#}"), errno: None });
        }
    };
    for access in accesses {
        report(&match *access {
            RegisterAccess::Read { offset, width } => Step::Read(read(&granted.bar, offset, width)),
            RegisterAccess::Write { offset, width, value } => {
                write(&granted.bar, offset, width, value);
                Step::Written
            }
            RegisterAccess::ReadRange { from, to } => {
                // All of them, whatever the first ones are: a read may have an effect.
                let read = |offset| (offset, granted.bar.read::<u32>(offset));
                let values: Vec<_> = (from..to).step_by(4).map(read).collect();
                Step::RangeRead(values.into_iter().find(|(_, value)| *value != 0))
            }
            RegisterAccess::WriteRange { from, to, value } => {
                (from..to).step_by(4).for_each(|offset| granted.bar.write(offset, value));
                Step::Written
            }
        })?;
    }
    Ok(())
}

fn read(bar: &Mapping, offset: usize, width: usize) -> u64 {
    match width {
        1 => bar.read::<u8>(offset).into(),
        2 => bar.read::<u16>(offset).into(),
        4 => bar.read::<u32>(offset).into(),
        _ => bar.read::<u64>(offset),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the value's low bytes are what is asked for")]
fn write(bar: &Mapping, offset: usize, width: usize, value: u64) {
    match width {
        1 => bar.write(offset, value as u8),
        2 => bar.write(offset, value as u16),
        4 => bar.write(offset, value as u32),
        _ => bar.write(offset, value),
    }
}
