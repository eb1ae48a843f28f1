//! From the command line to what the daemon is to do.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use entropy::source::Specification;
use my_rng_server::config::{Configuration, Guest, GuestSource};
use my_rng_server::devices::DeviceOptions;
use vfio_user_device::cli::PassedSocket;
use vfio_user_device::recording::Recording;

use crate::cli::Arguments;
use crate::daemon::Start;

/// What the command line asks for, and the sockets that the process was given. `inherited` are the
/// names of those that it takes over.
///
/// # Errors
/// A wrong configuration file, options that do not fit together, or no socket.
pub fn start(
    arguments: &Arguments,
    passed: Vec<PassedSocket>,
    inherited: &[String],
    recording: Option<Recording>,
) -> Result<Start> {
    let configuration = match &arguments.config {
        Some(file) => Configuration::load(file)?,
        None => {
            let sockets = sockets(arguments, &passed, inherited)?;
            Configuration {
                control_socket: arguments.control_socket.clone(),
                state_file: arguments.state_file.clone(),
                guests: guests(arguments, sockets)?,
                ..Configuration::default()
            }
            .with_states_kept()
        }
    };
    let listeners: BTreeMap<PathBuf, _> =
        passed.into_iter().map(|passed| (path(&passed), passed.socket)).collect();
    let unknown = |path: &&PathBuf| configuration.guests.iter().all(|guest| guest.socket != **path);
    if let Some(path) = listeners.keys().find(unknown) {
        bail!("a socket was passed for {}, which is not the socket of any guest", path.display());
    }
    Ok(Start {
        configuration,
        file: arguments.config.clone(),
        listeners,
        busy_poll: arguments.program.options().busy_poll,
        recording,
    })
}

/// Where a socket that was passed is, or what it is called without a path.
fn path(passed: &PassedSocket) -> PathBuf {
    let address = passed.socket.try_clone().map(UnixListener::from);
    let address = address.and_then(|listener| listener.local_addr());
    let path = address.ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    path.unwrap_or_else(|| passed.name.clone().into())
}

/// Where to serve. Without a path, that is at the sockets that were passed, or at those that were
/// passed to the process whose place this one takes.
fn sockets(
    arguments: &Arguments,
    passed: &[PassedSocket],
    inherited: &[String],
) -> Result<Vec<PathBuf>> {
    match (&arguments.program.socket_path, passed) {
        (Some(path), []) => Ok(match arguments.socket_count {
            None => vec![path.clone()],
            Some(count) => (0..count).map(|number| with_number(path, number)).collect(),
        }),
        (Some(_), _) => bail!(
            "invalid --socket-path: sockets were passed to this process; give one or the other"
        ),
        (None, []) if !inherited.is_empty() => Ok(inherited.iter().map(PathBuf::from).collect()),
        (None, []) => bail!("no socket: give --socket-path, or pass one (LISTEN_FDS)"),
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
    let (device, source) = device(arguments, sockets.len())?;
    let (mut guests, mut names) = (Vec::new(), HashSet::new());
    for socket in sockets {
        let name = socket.file_name().unwrap_or(socket.as_os_str()).to_string_lossy().into_owned();
        ensure!(
            names.insert(name.clone()),
            "the name {name:?} is in use by two sockets; name the guests in a file for --config"
        );
        guests.push(Guest {
            name,
            socket,
            socket_mode: arguments.program.socket_mode,
            transport: arguments.transport,
            device: device.clone(),
            source: GuestSource::Own(source.clone()),
            disconnect: false,
        });
    }
    Ok(guests)
}

/// The device of each of so many guests, and where its bytes come from.
fn device(arguments: &Arguments, guests: usize) -> Result<(DeviceOptions, Specification)> {
    let mut device = arguments.device_options.clone().context("no such device")?;
    let mut source = Specification::default();
    if let DeviceOptions::VirtioRng(options) = &mut device {
        source = options.specification()?;
        if let Some(max_bytes) = &mut options.max_bytes {
            let share = max_bytes.get() / u64::try_from(guests)?;
            *max_bytes =
                share.try_into().with_context(|| format!("--max-bytes for {guests} sockets"))?;
        }
    }
    Ok((device, source))
}
