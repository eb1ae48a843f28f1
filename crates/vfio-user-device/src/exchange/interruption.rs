//! Getting a thread out of a system call in which it waits.
//!
//! A session waits for its client's next message in recvmsg(2), and in nothing else: a second
//! descriptor to wait for would cost each register read a system call more. A signal ends the wait
//! with EINTR. It is SIGURG, which does nothing where no handler is set, and which nothing in this
//! process asks for; its handler does nothing either.

use std::sync::Once;

use rustix::process::getpid;
use rustix::thread::Pid;

use crate::signal_action::Action;

/// Interrupts a thread of this process. A thread that has ended meanwhile is none the worse.
pub(crate) fn interrupt(thread: Pid) {
    install();
    let (process, thread) = (getpid().as_raw_nonzero().get(), thread.as_raw_nonzero().get());
    // SAFETY: tgkill(2) takes three numbers and touches no memory; the handler of the signal is
    // installed, does nothing, and so may run anywhere.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
    if result != 0 {
        log::debug!("thread {thread} is not there to be interrupted");
    }
}

/// Makes sure that there is a handler.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if let Err(error) = Action::Interrupt.set(libc::SIGURG) {
            log::error!("cannot handle SIGURG: {error}");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};

    use super::*;

    #[test]
    fn a_thread_that_waits_for_a_message_is_interrupted() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (sender, receiver) = channel();
        let waiting = thread::spawn(move || {
            sender.send(rustix::thread::gettid()).unwrap();
            recv(&ours, &mut [0; 1], RecvFlags::empty()).map(|_| ())
        });
        let thread = receiver.recv().unwrap();
        while !waiting.is_finished() {
            interrupt(thread);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waiting.join().unwrap(), Err(Errno::INTR));
        interrupt(thread);
    }
}
