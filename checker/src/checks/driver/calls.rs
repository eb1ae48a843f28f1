//! Calls on the driver's node by one or more processes, with what reached the device.

use exerciser::{Argument, BUFFER, Call, End, Job, Outcome, POISON, Step};

use super::session::{Session, open_hint};
use crate::access_log::Access;
use crate::errno;
use crate::profile::{Ioctl, IoctlKind};
use crate::stop::{Checked, Stop, ensure, nonsense};

/// An ioctl that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// What it returned; below 0, an error's number.
    pub result: i32,
    /// What is in its argument's memory.
    pub memory: Option<[u8; BUFFER]>,
}

/// What calls came to.
#[derive(Debug)]
pub struct Done {
    /// Those that came back, of one process after the other.
    pub returned: Vec<Returned>,
    /// What reached the device meanwhile.
    pub accesses: Vec<Access>,
}

/// Draws numbers.
pub fn draws(ioctl: &Ioctl, times: u32) -> Call {
    Call { number: ioctl.number, argument: Argument::Empty, times }
}

/// Gives a value, a seed for example.
pub fn gives(ioctl: &Ioctl, value: u64) -> Call {
    let argument = Argument::Holding { value, size: ioctl.size };
    Call { number: ioctl.number, argument, times: 1 }
}

impl Session<'_> {
    /// The numbers that calls stored. A call that stores too much is one fault, however many checks
    /// come by it: the first one fails, the others are not run and cost nothing.
    pub fn numbers(&mut self, ioctl: &Ioctl, returned: &[Returned]) -> Result<Vec<u64>, Stop> {
        let mut numbers = Vec::new();
        for one in returned {
            match stored(ioctl, *one) {
                Ok(number) => numbers.push(number),
                Err(Unstored::Nothing(hint)) => return Err(Stop::failed(hint)),
                Err(Unstored::TooMuch(hint)) => {
                    let first = self.stores_too_much.entry(ioctl.number);
                    let first = first.or_insert_with(|| self.check.clone());
                    if *first == self.check {
                        return Err(Stop::failed(hint));
                    }
                    let because = format!("{first} failed: {hint}");
                    self.costs_nothing = true;
                    return Err(Stop::not_run(because));
                }
            }
        }
        Ok(numbers)
    }

    /// Checks that a call reads no more than the program's value: here nothing is behind it.
    pub fn reads_no_more(&mut self, ioctl: &Ioctl, value: u64) -> Checked {
        let argument = Argument::AtPageEnd { value, size: ioctl.size };
        let done = self.calls(vec![Call { number: ioctl.number, argument, times: 1 }])?;
        let result = done.returned.first().map_or(0, |returned| returned.result);
        let Ioctl { name, size, .. } = ioctl;
        ensure(!errno::is_error(result), || {
            format!(
                "{name} returned {} for a value of {size} bytes at the end of a page: the driver \
                 copies more bytes than the program has there; copy sizeof(unsigned int), and not \
                 the size of a long (8) or of a structure",
                errno::returned(result)
            )
        })
    }

    /// Makes calls, one after the other.
    pub fn calls(&mut self, calls: Vec<Call>) -> Result<Done, Stop> {
        self.calls_by(calls, 1)
    }

    /// Makes the same calls in several processes at once.
    pub fn calls_by(&mut self, calls: Vec<Call>, processes: u32) -> Result<Done, Stop> {
        let node = self.node.clone().ok_or_else(|| nonsense("calls without a node"))?;
        let planned: Vec<u32> =
            calls.iter().flat_map(|call| (0..call.times).map(|_| call.number)).collect();
        let hung = planned.iter().find_map(|number| Some((*number, self.hung.get(number)?)));
        if let Some((number, check)) = hung {
            let because = format!("{} did not come back in {check}", self.call_name(number));
            return Err(Stop::not_run(because));
        }
        let mark = self.bench.log_length();
        let job = Job::Calls { node: node.clone(), calls };
        let outcomes = self.bench.exercise(job, processes, self.profile.seconds.call);
        if !self.bench.is_live() {
            // Which one it was is not known.
            self.hang(&planned);
        }
        let mut returned = Vec::new();
        for outcome in &outcomes? {
            self.ended_well(outcome, &node, &planned)?;
            for step in &outcome.steps {
                if let Step::Called { result, memory } = step {
                    returned.push(Returned { result: *result, memory: *memory });
                }
            }
        }
        Ok(Done { returned, accesses: self.bench.accesses_since(mark) })
    }

    fn ended_well(&mut self, outcome: &Outcome, node: &str, planned: &[u32]) -> Checked {
        if let Some(Step::NotOpened { reason, errno }) = outcome.steps.first() {
            return Err(Stop::failed(open_hint(node, *errno, reason)));
        }
        // The first step is the open.
        let what = match (outcome.steps.len(), planned.get(outcome.steps.len().wrapping_sub(1))) {
            (0, _) => format!("open({node})"),
            (_, Some(number)) => self.call_name(*number),
            (_, None) => format!("close of {node}"),
        };
        let came_back = self.came_back(outcome, &what);
        if !self.bench.is_live() || matches!(outcome.end, End::Killed(_)) {
            let number = planned.get(outcome.steps.len().wrapping_sub(1));
            self.hang(number);
        }
        came_back?;
        if outcome.end == End::Exited(0) && outcome.steps.len() == planned.len() + 1 {
            return Ok(());
        }
        Err(nonsense(&format!("{outcome:?}")))
    }

    /// Remembers ioctls that did not come back, with the check that is on.
    fn hang<'a>(&mut self, numbers: impl IntoIterator<Item = &'a u32>) {
        for number in numbers {
            self.hung.entry(*number).or_insert_with(|| self.check.clone());
        }
    }

    /// An ioctl by its name, when it has one.
    pub fn call_name(&self, number: u32) -> String {
        match self.profile.ioctls.iter().find(|ioctl| ioctl.number == number) {
            Some(ioctl) => format!("ioctl {}", ioctl.name),
            None => format!("ioctl {number:#x}"),
        }
    }
}

/// Why there is no value, in words.
#[derive(Debug, PartialEq, Eq)]
pub enum Unstored {
    /// None was stored.
    Nothing(String),
    /// One was, and more behind it.
    TooMuch(String),
}

impl From<Unstored> for Stop {
    fn from(reason: Unstored) -> Self {
        let (Unstored::Nothing(hint) | Unstored::TooMuch(hint)) = reason;
        Self::failed(hint)
    }
}

/// The value that a call stored, or a hint when it stored none.
pub fn stored(ioctl: &Ioctl, returned: Returned) -> Result<u64, Unstored> {
    let name = &ioctl.name;
    if errno::is_error(returned.result) {
        return Err(Unstored::Nothing(refused(ioctl, returned.result)));
    }
    let memory = returned.memory.unwrap_or([POISON; BUFFER]);
    let (value, behind) = memory.split_at(ioctl.size);
    if behind.iter().any(|byte| *byte != POISON) {
        let extra = behind.iter().rposition(|byte| *byte != POISON).map_or(0, |at| at + 1);
        return Err(Unstored::TooMuch(format!(
            "{name} stored {} bytes where the program has room for {}: it has to copy an unsigned \
             int, not a pointer or a long",
            ioctl.size + extra,
            ioctl.size
        )));
    }
    if value.iter().all(|byte| *byte == POISON) {
        return Err(Unstored::Nothing(format!(
            "{name} returned {} and stored nothing: the number goes to the address in the \
             argument, with copy_to_user or put_user",
            returned.result
        )));
    }
    if returned.result != 0 {
        return Err(Unstored::Nothing(format!(
            "{name} returned {} instead of 0: a number goes to the address in the argument, and \
             bytes that copy_to_user has not copied are an error, -EFAULT",
            returned.result
        )));
    }
    let mut bytes = [0; 8];
    bytes[..ioctl.size].copy_from_slice(value);
    Ok(u64::from_le_bytes(bytes))
}

/// A hint for a call that is refused and should not be.
pub fn refused(ioctl: &Ioctl, result: i32) -> String {
    let Ioctl { name, number, size, kind, .. } = ioctl;
    let macro_name = if kind.fills() { "_IOR" } else { "_IOW" };
    let returned = errno::returned(result);
    let hint = match errno::name(-result).as_str() {
        "ENOTTY" | "EINVAL" => format!(
            "the driver does not know the number {number:#x}; is it made by {macro_name}, with \
             the same letter, number and type (of {size} bytes), and is .unlocked_ioctl set?"
        ),
        "EFAULT" => "the address is good; is it the third argument that is used?".to_owned(),
        _ if *kind == IoctlKind::Seed => {
            "a process that may write has to be able to seed".to_owned()
        }
        _ => "look for what returns that".to_owned(),
    };
    format!("{name} returned {returned}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn stored_hint(result: i32, bytes: &[u8]) -> Result<u64, Unstored> {
        let profile = Profile::published().expect("it is a profile");
        let mut memory = [POISON; BUFFER];
        memory[..bytes.len()].copy_from_slice(bytes);
        let ioctl = profile.ioctl(IoctlKind::Random).expect("there is one");
        stored(ioctl, Returned { result, memory: Some(memory) })
    }

    #[test]
    fn a_number_is_found_in_memory() {
        assert_eq!(stored_hint(0, &[1, 2, 3, 4]), Ok(0x0403_0201));
    }

    #[test]
    fn each_way_to_miss_has_its_hint() {
        let hint = |result, bytes| match stored_hint(result, bytes).expect_err("it is wrong") {
            Unstored::Nothing(hint) | Unstored::TooMuch(hint) => hint,
        };
        let nine = stored_hint(0, &[0; 9]).expect_err("it is wrong");
        assert!(matches!(nine, Unstored::TooMuch(_)), "{nine:?}");
        assert!(hint(0, &[0; 8]).contains("stored 8 bytes where the program has room for 4"));
        assert!(hint(77, &[]).contains("returned 77 and stored nothing"));
        assert!(hint(-70_000, &[]).contains("returned -70000 and stored nothing"));
        assert!(hint(4, &[1, 2, 3, 4]).contains("returned 4 instead of 0"));
        assert!(hint(-25, &[]).contains("the driver does not know the number 0x80047101"));
    }
}
