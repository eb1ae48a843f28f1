//! Who asks for an exchange, and how it is done: by a signal, or by another thread.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::causes::with_causes;
use crate::exchange::{Exchange, ExchangeError};

/// Says how a program is exchanged, by another binary than its own if one is named.
type How = Box<dyn Fn(Option<&Path>) -> Exchange + Send>;
/// Is told the number of the new process, or why there is none.
type Told = Box<dyn FnOnce(&Result<u32, ExchangeError>) + Send>;

/// Most requests that wait.
const MAX_REQUESTS: usize = 16;

/// The requests, and how to carry them out.
pub(super) struct ExchangeRequests {
    /// Readable when one was made.
    requested: UnixStream,
    request: UnixStream,
    queue: Mutex<VecDeque<(Option<PathBuf>, Told)>>,
    how: Mutex<Option<How>>,
    /// The process that has all servers; 0 while there is none.
    successor: AtomicU32,
    /// systemd has all servers.
    stored: AtomicBool,
}

impl ExchangeRequests {
    /// None yet.
    pub fn new() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (requested, request) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(ExchangeRequests {
            requested: requested.into(),
            request: request.into(),
            queue: Mutex::default(),
            how: Mutex::new(None),
            successor: AtomicU32::new(0),
            stored: AtomicBool::new(false),
        })
    }

    /// What becomes readable when there is one.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.requested.as_fd()
    }

    /// The process that has all servers since one was carried out.
    pub fn successor(&self) -> Option<u32> {
        Some(self.successor.load(Ordering::Acquire)).filter(|process| *process != 0)
    }

    /// systemd has all servers from now on.
    #[cfg(feature = "cli")]
    pub fn set_stored(&self) {
        self.stored.store(true, Ordering::Release);
    }

    /// Sets how they are carried out; not at all without that.
    pub fn set_how(&self, how: Option<How>) {
        *lock(&self.how) = how;
    }

    /// Makes one. `told` is told what came of it.
    pub fn ask(&self, binary: Option<PathBuf>, told: Told) {
        let mut queue = lock(&self.queue);
        if queue.len() >= MAX_REQUESTS {
            drop(queue);
            return told(&Err(ExchangeError::Program("too many exchanges are asked for".into())));
        }
        queue.push_back((binary, told));
        drop(queue);
        // When it is full, it has been told already.
        let _ = (&self.request).write(&[0]);
    }

    /// A byte that is written to this is a request without a binary.
    pub fn trigger(&self) -> std::io::Result<OwnedFd> {
        Ok(self.request.try_clone()?.into())
    }

    /// Whether systemd has all servers.
    pub fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Acquire)
    }

    /// Carries them out, one after the other, until one succeeds.
    pub fn carry_out(&self, exchange: impl Fn(Exchange) -> Result<u32, ExchangeError>) -> bool {
        // A signal leaves a byte and no request.
        let signals = (&self.requested).read(&mut [0; 64]).unwrap_or(0);
        let mut requests = std::mem::take(&mut *lock(&self.queue));
        if requests.is_empty() && signals > 0 {
            requests.push_back((None, Box::new(|_| {})));
        }
        for (binary, told) in requests {
            let how = lock(&self.how).as_ref().map(|how| how(binary.as_deref()));
            let result = how.ok_or(ExchangeError::NotPossible).and_then(&exchange);
            if let Err(error) = &result {
                log::error!("no exchange, this process goes on: {}", with_causes(error));
            }
            told(&result);
            if let Ok(process) = result {
                self.successor.store(process, Ordering::Release);
                return true;
            }
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
