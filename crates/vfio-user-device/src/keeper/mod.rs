//! What makes a crash an exchange without an announcement.
//!
//! A keeper starts the process that serves, and shares its table of descriptors with it (clone(2) with
//! CLONE_FILES): sockets, guest memory and eventfds stay open when the process is killed. What is not a
//! descriptor is in state pages, files in memory that the process writes by plain stores. The keeper then
//! starts a process anew, which finds both and goes on.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `map` | the memory of a page: its areas with one writer each, and the commit |
//! | `layout` | where what is in a page |
//! | `ledger` | the state of a device and all around it, part by part |
//! | `journal` | messages that are not carried out yet, and the answer that is being sent |
//! | `directory` | which pages there are |
//! | `left` | descriptors that a process has left |
//! | `recovery` | the servers of a process that was killed, out of their pages |
//! | `process` | the keeper |
//!
//! The order of things for a message: it is received into the journal, carried out, its answer written to
//! the journal and the changed parts to the ledger; one store commits all of this; the answer is sent.
//! Killed before the commit, the message is carried out again, on the state before it. Killed after it, the
//! answer is sent, or what is left of it. An eventfd that was signalled before the commit is signalled
//! again: drivers bear an interrupt too many, and none too few.

mod directory;
mod journal;
mod layout;
mod ledger;
mod left;
mod map;
mod message_call;
#[cfg(feature = "cli")]
pub(crate) mod process;
mod recovery;

#[cfg(feature = "cli")]
pub(crate) use directory::Directory;
pub(crate) use directory::{directory, set_finished};
pub(crate) use journal::{Journal, Pending};
pub(crate) use layout::Part;
pub(crate) use ledger::Ledger;
pub(crate) use map::{Map, Unkept};
#[cfg(feature = "cli")]
pub(crate) use recovery::{Crash, keep_program};
pub(crate) use recovery::{Recovered, ServerPart, Servers};
