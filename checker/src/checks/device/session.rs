//! A device with its guest, and accesses to its registers.

use anyhow::Context;
use exerciser::{End, Job, RegisterAccess, Step};
use lab::RunDir;

use crate::build::BuiltDevice;
use crate::device_program::DeviceProgram;
use crate::guest::{Attached, Bench, Kind, Setup, saved};
use crate::profile::{Profile, Register, RegisterValue};
use crate::report::Failure;
use crate::stop::{Checked, Stop, nonsense};
use crate::tools::Tools;

/// Where the checker's module is in the guest, if the tools have it.
pub const TEST_MODULE: &str = "usr/lib/irq_dma_test.ko";

/// A device with its guest.
pub struct Session<'run> {
    tools: &'run Tools,
    run: &'run RunDir,
    device: BuiltDevice,
    bench: Option<Bench<'run>>,
    /// How often the program was started.
    starts: u32,
    /// Whether every read was a new number; until then it is not known.
    pub draws: bool,
    /// Whether the same seed gave the same numbers; until then it is not known.
    pub repeats: bool,
}

/// How often a program is started.
const MAX_STARTS: u32 = 4;

impl<'run> Session<'run> {
    /// A device that is not started yet.
    pub fn new(tools: &'run Tools, run: &'run RunDir, device: BuiltDevice) -> Self {
        Self { tools, run, device, bench: None, starts: 0, draws: false, repeats: false }
    }

    /// Ends a check that compares numbers after a seed, when there are none to compare.
    pub fn ensure_repeats(&self) -> Checked {
        if self.repeats {
            return Ok(());
        }
        let because = "device-seed failed: this check compares numbers after a seed";
        Err(Stop::not_run(because))
    }

    /// The exercise.
    pub fn profile(&self) -> &'run Profile {
        &self.tools.profile
    }

    /// Starts device and guest unless they are there.
    pub fn restore(&mut self) -> Checked {
        if self.bench.as_ref().is_some_and(Bench::is_live) {
            return Ok(());
        }
        self.bench = None;
        if self.starts == MAX_STARTS {
            return Err(Stop::not_run(format!("the device was lost {MAX_STARTS} times")));
        }
        self.starts += 1;
        let program = DeviceProgram::start(self.run, self.starts, &self.device)?;
        let module = self.tools.test_module.as_deref().map(|file| (TEST_MODULE, file));
        let mut setup = Setup::of(self.tools, self.run, module.as_slice());
        setup.resets = true;
        setup.saved = saved(self.tools, Kind::WithoutDevice)?;
        let mut bench = Bench::new(setup, Attached::Program(program));
        bench.number_from(self.starts - 1);
        bench.boot()?;
        self.bench = Some(bench);
        Ok(())
    }

    /// Ends guest and device.
    pub fn end(self) -> anyhow::Result<()> {
        self.bench.map_or(Ok(()), Bench::end)
    }

    /// The guest.
    pub fn bench(&mut self) -> Result<&mut Bench<'run>, Stop> {
        Ok(self.bench.as_mut().context("there is a guest")?)
    }

    /// Accesses registers, and returns what came of each.
    pub fn accesses(&mut self, accesses: Vec<RegisterAccess>) -> Result<Vec<Step>, Stop> {
        let device = &self.tools.profile.device;
        let count = accesses.len();
        let job = Job::Registers {
            vendor: device.vendor,
            device: device.device,
            size: device.bar_size,
            accesses,
        };
        let seconds = self.tools.profile.seconds.call;
        let outcome = self.bench()?.exercise_once(job, seconds)?;
        self.bench()?.device_lives()?;
        match (&outcome.end, outcome.steps.first()) {
            (_, Some(Step::NotOpened { reason, .. })) => {
                Err(Stop::failed(format!("its BAR 0 cannot be mapped: {reason}")))
            }
            (End::Exited(0), _) if outcome.steps.len() == count => Ok(outcome.steps),
            (End::TimedOut | End::Stuck { .. }, _) => {
                let tail = self.bench()?.device_tail();
                self.bench()?.discard();
                let number = outcome.steps.len() + 1;
                let hint = format!(
                    "access {number} of {count} is not answered in time: a callback of a device \
                     never waits, and a loop in it has to end"
                );
                Err(Failure::new(hint).with(tail).into())
            }
            _ => Err(nonsense(&format!("{outcome:?}"))),
        }
    }

    /// Accesses registers, and returns the values that were read.
    pub fn values(&mut self, accesses: Vec<RegisterAccess>) -> Result<Vec<u64>, Stop> {
        let steps = self.accesses(accesses)?;
        let value = |step: &Step| if let Step::Read(value) = step { Some(*value) } else { None };
        Ok(steps.iter().filter_map(value).collect())
    }

    /// Makes a write that the profile has.
    pub fn write(&mut self, write: &RegisterValue) -> Checked {
        let register = self.profile().register(&write.register)?;
        self.values(vec![set(register, write.value)])?;
        Ok(())
    }
}

/// A read.
pub fn read(offset: usize, width: usize) -> RegisterAccess {
    RegisterAccess::Read { offset, width }
}

/// A write.
pub fn write(offset: usize, width: usize, value: u64) -> RegisterAccess {
    RegisterAccess::Write { offset, width, value }
}

/// A read of all of a register.
pub fn get(register: &Register) -> RegisterAccess {
    read(register.offset, register.width)
}

/// A write of all of a register.
pub fn set(register: &Register, value: u64) -> RegisterAccess {
    write(register.offset, register.width, value & register.bits())
}
