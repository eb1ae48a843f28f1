//! The tasks of a device, and which of them can go on.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use super::ready::{AnyReady, Ready};
use super::reply::Reply;
use super::worker::Worker;

/// Most tasks at a time. A device starts as many as its guest makes it start.
const MAX_TASKS: usize = 1024;
/// Bytes that all tasks together copy in one round, so that a register need not wait for them.
const ROUND_BYTES: usize = 64 << 10;

thread_local! {
    /// Its address tells threads apart.
    static THREAD: u8 = const { 0 };
}

/// A number that no other living thread has.
fn this_thread() -> usize {
    THREAD.with(|place| std::ptr::from_ref(place) as usize)
}

/// What a device's wakers share.
#[derive(Debug, Default)]
struct Shared {
    ready: AnyReady,
    /// Wakes the thread that polls them out of its sleep, once another thread works for a task.
    session: OnceLock<crate::waker::Waker>,
}

/// What wakes one task.
struct Flag {
    ready: Ready,
    shared: Arc<Shared>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.ready.wake(&self.shared.ready, this_thread()) {
            if let Some(session) = self.shared.session.get() {
                session.wake();
            }
        }
    }
}

/// A task that has not ended.
struct Running {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    flag: Arc<Flag>,
    waker: Waker,
}

impl Running {
    /// Goes on with it if it was woken. Returns whether it has ended.
    fn poll(&mut self) -> bool {
        self.flag.ready.take()
            && self.future.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
    }
}

/// A task that sleeps.
struct Sleeper {
    due: Instant,
    reply: Arc<Reply<()>>,
}

/// The tasks of a device.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Vec<Running>,
    shared: Arc<Shared>,
    /// Where what is lent to the tasks is while they are polled.
    slot: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// Tasks that wait until the device says that something has changed.
    parked: Vec<Waker>,
    sleepers: Vec<Sleeper>,
    worker: Option<Worker>,
    /// How often all tasks were cancelled.
    cancelled: u64,
    /// Bytes that may still be copied in this round.
    budget: usize,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

/// The tasks while they are polled.
pub(crate) struct Round {
    running: Vec<Running>,
    cancelled: u64,
}

impl Round {
    /// Polls every task that was woken, once.
    pub fn poll(&mut self) {
        self.running.retain_mut(|task| !task.poll());
    }
}

impl Tasks {
    /// Starts a task, which is polled for the first time in the next round.
    pub fn spawn(&mut self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if self.running.len() >= MAX_TASKS {
            log::warn!("task is not started: {MAX_TASKS} others of the device have not ended");
            return;
        }
        let ready = Ready::new(&self.shared.ready);
        let flag = Arc::new(Flag { ready, shared: self.shared.clone() });
        self.running.push(Running { future, waker: Waker::from(Arc::clone(&flag)), flag });
    }

    /// Where tasks find what is lent to them. It is of one type.
    pub fn slot<S: Any + Default + Send + Sync>(&self) -> Arc<S> {
        let slot = self.slot.get_or_init(|| Arc::new(S::default()));
        Arc::clone(slot).downcast().unwrap_or_default()
    }

    /// Whether a task can go on.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.is_set()
    }

    /// Takes the tasks out to poll them.
    pub fn begin_round(&mut self) -> Round {
        self.shared.ready.begin_round(this_thread());
        self.budget = ROUND_BYTES;
        Round { running: mem::take(&mut self.running), cancelled: self.cancelled }
    }

    /// Takes the tasks back, unless they were cancelled meanwhile.
    pub fn end_round(&mut self, mut round: Round) {
        if round.cancelled == self.cancelled {
            round.running.append(&mut self.running);
            self.running = round.running;
        }
    }

    /// Bytes that may still be copied in this round.
    pub fn budget(&mut self) -> &mut usize {
        &mut self.budget
    }

    /// Keeps a task's waker until [`Tasks::wake_parked`].
    pub fn park(&mut self, waker: &Waker) {
        if !self.parked.iter().any(|parked| parked.will_wake(waker)) {
            self.parked.push(waker.clone());
        }
    }

    /// Wakes the tasks that wait for a change of the device.
    pub fn wake_parked(&mut self) {
        self.parked.drain(..).for_each(Waker::wake);
    }

    /// Wakes a task at that time; never if it is `None`.
    pub fn sleep_until(&mut self, due: Option<Instant>) -> Arc<Reply<()>> {
        let reply = Reply::new();
        self.sleepers.retain(|sleeper| !sleeper.reply.is_abandoned());
        if let Some(due) = due {
            self.sleepers.push(Sleeper { due, reply: Arc::clone(&reply) });
        }
        reply
    }

    /// Lets all tasks that sleep do so for that time longer.
    pub fn postpone(&mut self, time: Duration) {
        for sleeper in &mut self.sleepers {
            sleeper.due = sleeper.due.checked_add(time).unwrap_or(sleeper.due);
        }
    }

    /// When the next task wakes up.
    pub fn next_due(&self) -> Option<Instant> {
        self.sleepers.iter().map(|sleeper| sleeper.due).min()
    }

    /// Wakes the task whose time has come first. Returns false if there is none.
    pub fn wake_sleeper(&mut self, now: Instant) -> bool {
        let first = self.sleepers.iter().enumerate().min_by_key(|(_, sleeper)| sleeper.due);
        let Some((place, _)) = first.filter(|(_, sleeper)| sleeper.due <= now) else {
            return false;
        };
        self.sleepers.remove(place).reply.give(());
        true
    }

    /// Wakes the task up that is to wake up first, whenever that is. Returns whether one sleeps.
    pub fn wake_first_sleeper(&mut self) -> bool {
        let first = self.sleepers.iter().map(|sleeper| sleeper.due).min();
        first.is_some_and(|due| self.wake_sleeper(due))
    }

    /// The thread for blocking work, which is started when it is first needed.
    pub(super) fn worker(&mut self) -> io::Result<&Worker> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(&self.shared.session)?,
        };
        Ok(self.worker.insert(worker))
    }

    /// Is readable when another thread has woken a task.
    pub fn session_waker(&self) -> Option<&crate::waker::Waker> {
        self.shared.session.get()
    }

    /// Drops every task.
    pub fn clear(&mut self) {
        self.cancelled += 1;
        self.running.clear();
        self.parked.clear();
        self.sleepers.clear();
        self.shared.ready.clear();
    }
}
