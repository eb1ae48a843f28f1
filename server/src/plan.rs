//! From the command line to what the daemon is to do.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use my_rng_server::config::{Configuration, Guest, GuestSource};
use my_rng_server::devices::{self, Settings};
use my_rng_server::limiter::Limit;
use my_rng_server::source::Specification;
use vfio_user_kit::program::PassedSocket;

use crate::cli::Arguments;
use crate::daemon::{Start, path_of};

/// What the command line asks for, and the sockets that the process was given.
///
/// # Errors
/// A wrong configuration file, options that do not fit together, or no socket.
pub fn start(arguments: &Arguments, passed: Vec<PassedSocket>) -> Result<Start> {
    let configuration = match &arguments.config {
        Some(file) => Configuration::load(file)?,
        None => {
            let sockets = sockets(arguments, &passed)?;
            Configuration {
                control_socket: arguments.control_socket.clone(),
                guests: guests(arguments, sockets)?,
                ..Configuration::default()
            }
        }
    };
    let listeners: BTreeMap<PathBuf, _> =
        passed.into_iter().map(|passed| (path(&passed), passed.socket)).collect();
    let unknown = |path: &&PathBuf| configuration.guests.iter().all(|guest| guest.socket != **path);
    if let Some(path) = listeners.keys().find(unknown) {
        bail!("a socket was passed for {}, and no guest has it", path.display());
    }
    Ok(Start {
        configuration,
        file: arguments.config.clone(),
        listeners,
        busy_poll: arguments.program.options().busy_poll,
    })
}

/// Where a socket that was passed is, or what it is called without a path.
fn path(passed: &PassedSocket) -> PathBuf {
    path_of(&passed.socket, &passed.name)
}

/// Where to serve.
fn sockets(arguments: &Arguments, passed: &[PassedSocket]) -> Result<Vec<PathBuf>> {
    match (&arguments.program.socket_path, passed) {
        (Some(path), []) => Ok(match arguments.socket_count {
            None => vec![path.clone()],
            Some(count) => (0..count).map(|number| with_number(path, number)).collect(),
        }),
        (Some(_), _) => bail!("--socket-path, and sockets were passed: one or the other"),
        (None, []) => bail!("LISTEN_FDS names no socket, and neither does --socket-path"),
        (None, passed) => Ok(passed.iter().map(path).collect()),
    }
}

/// A path with a number at its end.
fn with_number(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(number.to_string());
    name.into()
}

/// The guests of the command line: all alike, each at a socket.
fn guests(arguments: &Arguments, sockets: Vec<PathBuf>) -> Result<Vec<Guest>> {
    let count = u64::try_from(sockets.len())?;
    let limit = arguments.max_bytes.map(|bytes| Limit::new(bytes / count, arguments.period));
    let settings = Settings {
        generator: arguments.generator,
        seed: arguments.seed,
        keep_state: arguments.keep_state,
        interface: arguments.virtio,
        packed: arguments.packed,
        msix: arguments.vectors != "0",
        limit: limit.transpose().with_context(|| format!("--max-bytes for {count} sockets"))?,
    };
    let device = devices::find(&arguments.device).context("no such device")?.name;
    let source = source(arguments)?;
    let (mut guests, mut names) = (Vec::new(), HashSet::new());
    for socket in sockets {
        let name = socket.file_name().unwrap_or(socket.as_os_str()).to_string_lossy().into_owned();
        ensure!(
            names.insert(name.clone()),
            "two sockets are called {name:?}; a file for --config can give them names"
        );
        guests.push(Guest {
            name,
            socket,
            socket_mode: arguments.program.socket_mode,
            transport: arguments.transport,
            device,
            settings: settings.clone(),
            source: GuestSource::Own(source.clone()),
            disconnect: false,
        });
    }
    Ok(guests)
}

/// Where the bytes come from.
fn source(arguments: &Arguments) -> Result<Specification> {
    let source = match &arguments.filename {
        Some(path) => Specification::File { path: path.clone(), repeat: false },
        None => arguments.source.clone(),
    };
    Ok(if arguments.file_loop { source.repeating()? } else { source })
}
