//! A driver in its guest: whether it is loaded, where its node is, and what the kernel said.

use std::collections::{BTreeMap, BTreeSet};

use exerciser::{End, Job, Outcome};

use super::Needs;
use crate::build::Module;
use crate::checks::state::State;
use crate::errno;
use crate::guest::{Bench, quoted};
use crate::kernel_log::Trouble;
use crate::profile::Profile;
use crate::report::Failure;
use crate::stop::{Checked, Stop};

/// A driver in its guest.
pub struct Session<'run> {
    /// Its guest.
    pub bench: Bench<'run>,
    /// The exercise.
    pub profile: &'run Profile,
    /// The driver.
    pub module: &'run Module,
    /// What is worth telling, beside the verdicts.
    pub notes: Vec<String>,
    /// The guest's state before the module was loaded.
    pub before: State,
    /// Whether it is loaded.
    pub loaded: bool,
    /// Whether it was loaded in this guest before.
    pub was_loaded: bool,
    /// Its node, when there is one that can be opened.
    pub node: Option<String>,
    /// The node that was made for it, which is not its own to remove.
    made_node: Option<String>,
    /// Whether there will never be one.
    pub no_node: bool,
    /// Whether unloading it does no good.
    pub no_unload: bool,
    /// The ioctls that did not come back, with the check that found it. They would not another time,
    /// and each costs a guest.
    pub hung: BTreeMap<u32, String>,
    /// The check that is on.
    pub check: String,
    /// The checks that failed.
    pub failed: BTreeSet<String>,
    /// The ioctls that store more than they should, with the check that found it.
    pub stores_too_much: BTreeMap<u32, String>,
    /// Whether the check that is on found a fault that another one was failed for.
    pub costs_nothing: bool,
    /// The worst that the kernel said in each check, with the lines around it.
    pub complaints: Vec<(Trouble, Failure)>,
}

impl<'run> Session<'run> {
    /// A driver that is not loaded yet.
    pub fn new(bench: Bench<'run>, profile: &'run Profile, module: &'run Module) -> Self {
        Self {
            bench,
            profile,
            module,
            notes: Vec::new(),
            before: State::default(),
            loaded: false,
            was_loaded: false,
            node: None,
            made_node: None,
            no_node: false,
            no_unload: false,
            hung: BTreeMap::new(),
            check: String::new(),
            failed: BTreeSet::new(),
            stores_too_much: BTreeMap::new(),
            costs_nothing: false,
            complaints: Vec::new(),
        }
    }

    /// Loads the module.
    pub fn load(&mut self) -> Checked {
        self.before = State::take(&mut self.bench, self.profile)?;
        self.insmod()
    }

    /// Loads the module, without looking at the guest before.
    pub fn insmod(&mut self) -> Checked {
        let name = &self.module.name;
        let outcome = self.program(&["insmod", &format!("/root/{name}.ko")])?;
        self.came_back(&outcome, "insmod")?;
        if outcome.end != End::Exited(0) {
            return Err(Failure::new(insmod_hint(&outcome.said)).into());
        }
        self.loaded = true;
        self.was_loaded = true;
        Ok(())
    }

    /// Unloads the module.
    pub fn rmmod(&mut self) -> Checked {
        let outcome = self.program(&["rmmod", &self.module.name])?;
        self.came_back(&outcome, "rmmod")?;
        if outcome.end != End::Exited(0) {
            return Err(Failure::new(format!(
                "rmmod refuses: {}. The module still has a user: is .owner = THIS_MODULE set, and \
                 is each try_module_get or open given back?",
                outcome.said.trim()
            ))
            .into());
        }
        self.loaded = false;
        self.node = None;
        Ok(())
    }

    /// Finds the node of the loaded driver, or makes it, and opens it.
    pub fn open_node(&mut self) -> Checked {
        let found = self.find_node();
        self.no_node = !matches!(found, Ok(_) | Err(Stop::Lab(_)));
        let (path, wrong_name) = found?;
        self.node = Some(path.clone());
        if let Err(stop) = self.calls(Vec::new()) {
            self.node = None;
            self.no_node = true;
            return Err(stop);
        }
        self.bench.shell(&format!("chmod 666 {}", quoted(&path)))?;
        wrong_name.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// The node's path, and what is wrong with that.
    fn find_node(&mut self) -> Result<(String, Option<Failure>), Stop> {
        let wanted = self.profile.driver.node.clone();
        let now = State::take_names(&mut self.bench, self.profile)?;
        if now.nodes.contains(&wanted) {
            return Ok((wanted, None));
        }
        if let Some(other) = now.nodes_beyond(&self.before).first() {
            let hint = format!("the driver made {other}; programs open {wanted}");
            return Ok(((*other).to_owned(), Some(Failure::new(hint))));
        }
        let majors = now.majors_beyond(&self.before);
        let Some((major, name)) = majors.first() else {
            return Err(Stop::failed(format!(
                "there is no {wanted}, and the driver has no major number in /proc/devices: \
                 register a character device (alloc_chrdev_region and cdev_add, register_chrdev, \
                 or misc_register)"
            )));
        };
        let mut note =
            format!("the driver makes no node: made {wanted} for its major {major} ({name})");
        if *major != self.profile.driver.major {
            note += &format!("; the published one is {}", self.profile.driver.major);
        }
        self.notes.push(note);
        self.bench.shell(&format!("mknod {} c {major} 0", quoted(&wanted)))?;
        self.made_node = Some(wanted.clone());
        Ok((wanted, None))
    }

    /// Removes a node that was made for the driver.
    pub fn remove_made_node(&mut self) -> Checked {
        if let Some(node) = self.made_node.take() {
            self.bench.shell(&format!("rm -f {}", quoted(&node)))?;
        }
        Ok(())
    }

    /// Sees to what a check needs, in a new guest if the last one is gone.
    pub fn restore(&mut self, needs: Needs) -> Checked {
        if needs == Needs::Node && self.no_node {
            return Err(Stop::not_run("driver-node failed"));
        }
        if needs == Needs::Unload && self.no_unload {
            return Err(Stop::not_run("driver-unload failed"));
        }
        if !self.bench.is_live() {
            self.bench.boot()?;
            self.before = State::take(&mut self.bench, self.profile)?;
        }
        if needs != Needs::Unload && !self.loaded {
            self.insmod()?;
        }
        if needs == Needs::Node && self.node.is_none() {
            self.reopen_node()?;
        }
        Ok(())
    }

    /// Opens the node again. What is wrong with its name was said when it was found first.
    pub fn reopen_node(&mut self) -> Checked {
        let told = self.notes.len();
        let opened = self.open_node();
        self.notes.truncate(told);
        if self.node.is_none() || !self.bench.is_live() { opened } else { Ok(()) }
    }

    /// The guest is gone, and all that was in it.
    pub fn forget(&mut self) {
        self.loaded = false;
        self.was_loaded = false;
        self.made_node = None;
        self.node = None;
    }

    /// Runs a program of the guest's.
    fn program(&mut self, command: &[&str]) -> Result<Outcome, Stop> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let job = Job::Program { command, input: String::new(), confined: false };
        self.bench.exercise_once(job, self.profile.seconds.load)
    }

    /// Checks that something came back from the kernel.
    pub fn came_back(&mut self, outcome: &Outcome, what: &str) -> Checked {
        let hint = match &outcome.end {
            End::Exited(_) => return Ok(()),
            End::Killed(signal) => format!(
                "{what} was killed by signal {signal}: the kernel does that to a process that it \
                 fails in, and the driver may have overwritten the program's memory"
            ),
            End::TooMuchOutput => format!("{what} printed without end"),
            End::TimedOut => format!(
                "{what} does not come back; it could be killed. Does the driver wait for \
                 something that never comes?"
            ),
            End::Stuck { state: 'R', .. } => {
                self.bench.discard();
                format!("{what} does not come back: a loop in the driver does not end")
            }
            End::Stuck { stack, .. } => {
                self.bench.discard();
                let hint = format!(
                    "{what} does not come back and cannot be killed: it waits for a lock that is \
                     not given back (locked twice, or not unlocked on an error), or sleeps \
                     uninterruptibly"
                );
                return Err(Failure::new(hint).with(format!("it waits in\n{stack}")).into());
            }
        };
        Err(Failure::new(hint).with(outcome.said.as_str()).into())
    }
}

/// What to do about what insmod said.
fn insmod_hint(said: &str) -> String {
    let said = said.trim();
    let hint = if said.contains("unknown symbol") || said.contains("Unknown symbol") {
        "the driver uses a function that the kernel does not give to modules; the kernel's line \
         names it"
    } else if said.contains("invalid module format") || said.contains("Exec format error") {
        "the module is for another kernel"
    } else if said.contains("File exists") || said.contains("busy") {
        "something that it asks for is taken: a major number or name that is in use, or the \
         device's addresses, which it claims twice"
    } else if said.contains("No such device") {
        "it did not find its device: pci_get_device and pci_device_id take the vendor id first"
    } else {
        "its init function returned an error: look for the call that fails in it"
    };
    format!("{said}: {hint}")
}

/// What to do when the node cannot be opened.
pub fn open_hint(node: &str, number: Option<i32>, reason: &str) -> String {
    let Some(number) = number else { return reason.to_owned() };
    let hint = match errno::name(number).as_str() {
        "ENXIO" | "ENODEV" => {
            "there is a number but no driver behind it: was cdev_add called with that number, and \
             are the file operations set?"
        }
        "EBUSY" => "the driver lets one process open it at a time, or takes it for open already",
        _ => "look at the driver's open function",
    };
    format!("open({node}) fails with {}: {hint}", errno::name(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_fit_what_insmod_and_open_say() {
        let hint = insmod_hint("insmod: can't insert 'x.ko': unknown symbol in module\n");
        assert!(hint.contains("does not give to modules"), "{hint}");
        let hint = insmod_hint("insmod: can't insert 'x.ko': Operation not permitted");
        assert!(hint.contains("init function returned an error"), "{hint}");
        let hint = open_hint("/dev/x", Some(6), "");
        assert!(hint.starts_with("open(/dev/x) fails with ENXIO: there is a number"), "{hint}");
    }
}
