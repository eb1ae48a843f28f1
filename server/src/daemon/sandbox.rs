//! What the daemon may do: which files its configuration names, and the system calls of its threads.

use std::path::Path;

use entropy::source::{EgdAddress, Specification};
use my_rng_server::config::{Configuration, GuestSource};
use vfio_user_device::sandbox::{
    BASIC, CallGroup, FILES, NON_BLOCKING, Paths, SESSION_CALLS, THREADS, ThreadKind, calls,
};

/// What a thread needs for the threads that it starts, which enter kinds of their own.
static OTHER_THREADS: CallGroup = CallGroup {
    name: "other threads",
    reason: "threads of other kinds, which take more system calls from themselves",
    calls: calls![SYS_clone3, SYS_seccomp, SYS_prctl, SYS_prlimit64],
    old_forms: &[],
};

/// The thread that hears SIGHUP and the control socket.
pub static OVERSEER: ThreadKind = ThreadKind::new(
    "overseer",
    "reads the configuration again: new guests, sources and sockets",
    &[&BASIC, &THREADS, &OTHER_THREADS, &SESSION_CALLS, &NON_BLOCKING, &FILES],
);

/// The thread of a client of the control socket.
pub static CONTROL: ThreadKind =
    ThreadKind::new("control", "answers a client of the control socket", &[&BASIC, &NON_BLOCKING]);

/// The thread that writes the status file.
pub static STATUS_FILE: ThreadKind =
    ThreadKind::new("status file", "writes the status file anew", &[&BASIC, &FILES]);

/// The files and folders of a configuration, and of the file that it was read from.
pub fn paths(configuration: &Configuration, file: Option<&Path>) -> Paths {
    let paths = file.into_iter().fold(Paths::system(), Paths::read);
    let files = configuration.status_file.iter().chain(&configuration.state_file);
    let paths = files.fold(paths, |paths, path| paths.write(path));
    let guests = configuration.guests.iter().map(|guest| guest.socket.as_path());
    let sockets = guests.chain(configuration.control_socket.as_deref());
    let paths = sockets.fold(paths, Paths::socket);
    let own = configuration.guests.iter().filter_map(|guest| match &guest.source {
        GuestSource::Own(source) => Some(source),
        GuestSource::Shared { .. } => None,
    });
    let shared = configuration.sources.iter().map(|source| &source.source);
    own.chain(shared).fold(paths, with_source)
}

fn with_source(paths: Paths, source: &Specification) -> Paths {
    match source {
        Specification::File { path, .. } => paths.read(path),
        Specification::Egd { address: EgdAddress::Unix(path), listen: true } => paths.socket(path),
        Specification::Tested { source, .. } => with_source(paths, source),
        Specification::Egd { .. } | Specification::Getrandom | Specification::Chacha20 { .. } => {
            paths
        }
    }
}

#[cfg(test)]
mod tests;
