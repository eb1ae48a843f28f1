//! The program around a device, and the loop without one.

use std::ffi::{CStr, OsString, c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser};
use rustix::io::Errno;
use vfio_user_device::cli::{Action, Arguments, Program, ProgramError};
use vfio_user_device::log;
use vfio_user_device::server::{Options, Server, ServerError, ServerSet, descriptors_remedy};

use crate::abi::{self, CConfig, COps};
use crate::device::CDevice;
use crate::error::fail;

/// Serve a PCI device to a virtual machine over vfio-user.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    program: Arguments,
    #[command(subcommand)]
    action: Option<Action>,
}

/// The `main` of a program that serves one device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_main(
    argc: c_int,
    argv: *const *const c_char,
    config: *const CConfig,
    ops: *const COps,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the header: they are those of `main`.
    let CommandLine { program: arguments, action } =
        match parse(unsafe { command_line(argc, argv) }) {
            Ok(line) => line,
            Err(error) => {
                // There is nothing to be done about a closed standard error.
                let _ = error.print();
                return error.exit_code();
            }
        };
    // SAFETY: the header.
    let device = match unsafe { device(config, ops, opaque) } {
        Ok(device) => device,
        Err(message) => return told(&message),
    };
    let done = match action {
        Some(action) => action.run(device),
        None => Program::start(&arguments).and_then(|program| program.serve(device)),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            let remedy = descriptors_remedy(&error).map(|remedy| format!("; {remedy}"));
            told(&format!("{}{}", with_causes(&error), remedy.unwrap_or_default()))
        }
    }
}

/// The keeper, before anything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_begin(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the header: they are those of `main`.
    match parse(unsafe { command_line(argc, argv) }).map(begin) {
        Ok(Ok(kept)) => kept.into(),
        Ok(Err(error)) => fail(Errno::INVAL, &with_causes(&error)),
        // The main function says what is wrong.
        Err(_) => 0,
    }
}

fn begin(line: CommandLine) -> Result<bool, ProgramError> {
    // A replay needs no keeper.
    if line.action.is_some() { Ok(false) } else { Program::begin(&line.program) }
}

fn parse(words: Vec<OsString>) -> Result<CommandLine, clap::Error> {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    let name = name.map_or("device".into(), |name| name.to_string_lossy().into_owned());
    let mut command = CommandLine::command().bin_name(name);
    let matches = command.try_get_matches_from_mut(words)?;
    let line = CommandLine::from_arg_matches(&matches)?;
    if line.action.is_none() {
        line.program.check(&mut command)?;
    }
    Ok(line)
}

/// Says why the program ends, and returns its status.
fn told(message: &str) -> c_int {
    fail(Errno::INVAL, message);
    eprintln!("error: {message}");
    1
}

/// The loop for a program of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_serve(
    socket_path: *const c_char,
    stop_fd: c_int,
    config: *const CConfig,
    ops: *const COps,
    opaque: *mut c_void,
) -> c_int {
    if socket_path.is_null() || stop_fd < 0 {
        return fail(Errno::INVAL, "a socket's path and a descriptor to stop by are needed");
    }
    // SAFETY: the header: a C string.
    let path = OsString::from_vec(unsafe { CStr::from_ptr(socket_path) }.to_bytes().to_vec());
    // SAFETY: the header: it stays open until the loop has ended.
    let stop = unsafe { BorrowedFd::borrow_raw(stop_fd) };
    // SAFETY: the header.
    let device = match unsafe { device(config, ops, opaque) } {
        Ok(device) => device,
        Err(message) => return fail(Errno::INVAL, &message),
    };
    match serve(Path::new(&path), stop, device) {
        Ok(()) => 0,
        Err(error) => fail(errno(&error), &with_causes(&error)),
    }
}

fn serve(path: &Path, stop: BorrowedFd<'_>, device: CDevice) -> Result<(), ServerError> {
    let servers = ServerSet::new()?;
    servers.add(Server::bind(path, device, Options::default())?)?;
    servers.run(stop)
}

fn errno(error: &ServerError) -> Errno {
    match error {
        ServerError::InUse(_) => Errno::ADDRINUSE,
        ServerError::Bind { source, .. } | ServerError::Listen(source) => {
            Errno::from_io_error(source).unwrap_or(Errno::INVAL)
        }
        _ => Errno::INVAL,
    }
}

/// # Safety
/// As the header has it.
unsafe fn device(
    config: *const CConfig,
    ops: *const COps,
    opaque: *mut c_void,
) -> Result<CDevice, String> {
    // SAFETY: the caller's promise.
    unsafe {
        let config = abi::copy(config)?;
        let ops = abi::copy(ops)?;
        Ok(CDevice::new(config.device_config()?, ops, opaque))
    }
}

/// # Safety
/// They are those of `main`.
unsafe fn command_line(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    let word = |index: usize| {
        // SAFETY: the caller's promise: as many C strings as `argc` says.
        let word = unsafe { CStr::from_ptr(*argv.add(index)) };
        OsString::from_vec(word.to_bytes().to_vec())
    };
    (0..count).map(word).collect()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}

/// Writes a line to the log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_log(level: c_int, message: *const c_char) {
    if message.is_null() {
        return;
    }
    let level = match level {
        ..=1 => log::Level::Error,
        2 => log::Level::Warn,
        3 => log::Level::Info,
        _ => log::Level::Debug,
    };
    // SAFETY: the header: a C string.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    log::log!(level, "{}", message.trim_end());
}
