//! Tasks: device code that waits, written from top to bottom.
//!
//! A callback never waits. A [`Task`] does, between two of its steps, and the session serves
//! registers meanwhile: the session's thread polls tasks between two messages. The device and its
//! bus are lent to the tasks for as long as they are polled, and a task borrows them in
//! [`Task::with`].

mod executor;
mod lend;
mod ready;
mod reply;
mod worker;

use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::{Arc, TryLockError, atomic};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::bus::Bus;
use crate::device::Device;
use crate::memory::{Ahead, Buffer, Cursor, DmaError, Owner, Segment};
pub(crate) use executor::Tasks;
use lend::find;
pub(crate) use lend::{Lent, Slot};
pub(crate) use reply::Reply;

/// What a task of the device `D` does with guest memory, time, blocking work and its device.
///
/// [`Bus::spawn`] gives one to a new task. A task goes on until it ends, or is dropped at its next
/// `await` by a reset, by the client's disconnect or by [`Bus::cancel_tasks`].
///
/// A task goes on when something happens that it waits for by these methods. Another thread cannot wake
/// it by the waker of a future alone (of a channel, say): the session may sleep until the client's next
/// message. Such a thread uses a [`Waker`](crate::Waker), for which the device waits with
/// [`Bus::wait_for`]; [`Device::on_wake`](crate::Device::on_wake) then calls [`Bus::wake_tasks`], and the
/// task waits in [`Task::until`]. Work that only has to be done elsewhere is for [`Task::offload`].
///
/// Its methods are for the task's own code. They panic anywhere else: in a callback, in another
/// thread, or in the function that is given to [`Task::with`].
pub struct Task<D> {
    slot: Arc<Slot>,
    device: PhantomData<fn() -> D>,
}

/// Guest memory as a task reaches it.
///
/// This is the part of a [`Task`] that code needs which reads structures in guest memory (a
/// virtqueue, say), so that it can be tried against any memory.
pub trait GuestMemory: Sync {
    /// Fills the buffer from several places, one after the other.
    ///
    /// The bytes of a place are at least as new as those of the places before it. Memory that is
    /// shared with the guest is copied at once, without an allocation. Places elsewhere are
    /// requested from the client together, in their order.
    fn gather(
        &self,
        segments: &[Segment],
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send;

    /// Writes data to several places, each of which takes as many bytes as it holds.
    ///
    /// The guest sees the places change in their order. Where messages are needed they are sent
    /// together: if one place cannot be written, those after it may have changed.
    fn scatter(
        &self,
        segments: &[Segment],
        data: &[u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send;

    /// Writes data to some places as [`GuestMemory::scatter`] does, and then fills the buffer from others
    /// as [`GuestMemory::gather`] does. Where messages are needed, those for both are sent together.
    fn scatter_then_gather(
        &self,
        to: &[Segment],
        data: &[u8],
        from: &[Segment],
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send {
        async move {
            self.scatter(to, data).await?;
            self.gather(from, buffer).await
        }
    }
}

impl<D> Clone for Task<D> {
    fn clone(&self) -> Self {
        Task { slot: Arc::clone(&self.slot), device: PhantomData }
    }
}

impl<D> std::fmt::Debug for Task<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts a task. It runs for the first time after the present callback has returned.
    ///
    /// No more than 1024 tasks run at a time; the log says so if one more is not started.
    ///
    /// ```
    /// use std::time::Duration;
    /// use vfio_user_device::{Bus, Task};
    /// # use vfio_user_device::{Access, Device, DeviceConfig};
    ///
    /// struct Copier {
    ///     busy: bool,
    /// }
    /// # impl Device for Copier {
    /// #     fn config(&self) -> DeviceConfig { unimplemented!() }
    /// #     fn read(&mut self, _: &mut Bus, _: Access) -> u64 { 0 }
    /// #     fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
    /// # }
    ///
    /// fn copy(bus: &mut Bus, from: u64, to: u64) {
    ///     bus.spawn(async move |task: Task<Copier>| {
    ///         let mut bytes = [0; 64];
    ///         let copied = match task.read(from, &mut bytes).await {
    ///             Ok(()) => task.write(to, &bytes).await,
    ///             Err(error) => Err(error),
    ///         };
    ///         task.sleep(Duration::from_millis(1)).await;
    ///         task.with(|device, bus| {
    ///             device.busy = false;
    ///             bus.set_intx(copied.is_ok());
    ///         });
    ///     });
    /// }
    /// ```
    pub fn spawn<D: Device, F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: impl FnOnce(Task<D>) -> F,
    ) {
        let handle = Task { slot: self.tasks.slot(), device: PhantomData };
        self.tasks.spawn(Box::pin(task(handle)));
    }

    /// Lets the tasks that wait in [`Task::until`] look again.
    pub fn wake_tasks(&mut self) {
        self.tasks.wake_parked();
    }

    /// Drops every task, and the accesses to guest memory that they wait for. One that calls this
    /// itself goes on until its next `await`.
    ///
    /// A message that the client has not answered may still touch guest memory, see
    /// [`Bus::dma_outstanding`].
    pub fn cancel_tasks(&mut self) {
        self.tasks.clear();
        self.dma.cancel_tasks();
    }
}

impl<D> Task<D> {
    /// Reads guest memory at the address that the driver has given to the device.
    ///
    /// # Errors
    /// Why the memory cannot be read; [`DmaError::Disconnected`] when the client goes meanwhile.
    pub async fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), DmaError> {
        self.gather(&[Segment { address, length: buffer.len() }], buffer).await
    }

    /// Writes guest memory.
    ///
    /// # Errors
    /// As [`Task::read`].
    pub async fn write(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        self.scatter(&[Segment { address, length: data.len() }], data).await
    }

    /// Fills the buffer from several places, see [`GuestMemory::gather`].
    ///
    /// # Errors
    /// As [`Task::read`].
    pub async fn gather(&self, segments: &[Segment], buffer: &mut [u8]) -> Result<(), DmaError> {
        self.access((&[], &[]), (segments, buffer)).await
    }

    /// Writes data to several places, see [`GuestMemory::scatter`].
    ///
    /// # Errors
    /// As [`Task::read`].
    pub async fn scatter(&self, segments: &[Segment], data: &[u8]) -> Result<(), DmaError> {
        self.access((segments, data), (&[], &mut [])).await
    }

    /// Writes data to some places, then fills the buffer from others.
    async fn access(
        &self,
        (to, data): (&[Segment], &[u8]),
        (from, buffer): (&[Segment], &mut [u8]),
    ) -> Result<(), DmaError> {
        let (mut written, mut read) = (Cursor::default(), Cursor::default());
        if self.copy(to, &mut written, &mut Buffer::Write(data)).await?
            && self.copy(from, &mut read, &mut Buffer::Read(&mut *buffer)).await?
        {
            return Ok(());
        }
        let data = data.get(written.done()..).unwrap_or_default().to_vec();
        let buffer = buffer.get_mut(read.done()..).unwrap_or_default();
        let to = written.rest(to, data.len());
        let places = [to, read.rest(from, buffer.len())].concat();
        let (reply, sent) = (Reply::new(), data.len());
        let owner = Owner::Task(Arc::clone(&reply));
        self.bus(|bus| bus.dma.access(owner, places, data, buffer.len()))?;
        let bytes = reply.wait().await?;
        buffer.iter_mut().zip(bytes.into_iter().skip(sent)).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Copies as far as memory is mapped. Returns whether that was all.
    async fn copy(
        &self,
        segments: &[Segment],
        cursor: &mut Cursor,
        buffer: &mut Buffer<'_>,
    ) -> Result<bool, DmaError> {
        loop {
            match self.bus(|bus| bus.copy_mapped(segments, cursor, buffer))? {
                Ahead::Nothing => return Ok(true),
                Ahead::Ask { .. } => return Ok(false),
                Ahead::Copy => next_round().await,
            }
        }
    }

    /// Waits that long.
    pub async fn sleep(&self, time: Duration) {
        let due = Instant::now().checked_add(time);
        self.bus(|bus| bus.tasks.sleep_until(due)).wait().await;
    }

    /// Has work done that blocks (a file, a host name) in a thread of the kit, and waits for its
    /// result. There is one such thread for each device.
    ///
    /// Work that has begun is done even if the task is dropped. A panic of it is one of the task.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub async fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let reply = self.bus(|bus| Ok::<_, io::Error>(bus.tasks.worker()?.offload(work)))?;
        Ok(reply.wait().await.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Borrows the bus.
    fn bus<R>(&self, borrower: impl FnOnce(&mut Bus) -> R) -> R {
        self.lent(|lent| borrower(&mut lent.bus))
    }

    fn lent<R>(&self, borrower: impl FnOnce(&mut Lent) -> R) -> R {
        let mut slot = match self.slot.try_lock() {
            Ok(slot) => slot,
            // A function that was given to `with` has panicked; the device is disabled since.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("Task: used within Task::with"),
        };
        borrower(slot.as_mut().expect("Task: used outside of the device's tasks"))
    }
}

impl<D: Device> Task<D> {
    /// Borrows the device and its bus. No task waits meanwhile, so no borrow crosses an `await`.
    ///
    /// # Panics
    /// The device is of another type than `D`.
    pub fn with<R>(&self, borrower: impl FnOnce(&mut D, &mut Bus) -> R) -> R {
        self.lent(|Lent { device, bus }| match find(&mut **device) {
            Some(device) => borrower(device, bus),
            None => panic!("Task::with: the device is not a {}", std::any::type_name::<D>()),
        })
    }

    /// Waits until the function returns something. It is called now, and after each
    /// [`Bus::wake_tasks`].
    pub async fn until<R>(&self, mut change: impl FnMut(&mut D, &mut Bus) -> Option<R>) -> R {
        poll_fn(|context| {
            self.with(|device, bus| match change(device, bus) {
                Some(result) => Poll::Ready(result),
                None => {
                    bus.tasks.park(context.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }
}

impl<D> GuestMemory for Task<D> {
    async fn gather(&self, segments: &[Segment], buffer: &mut [u8]) -> Result<(), DmaError> {
        Task::gather(self, segments, buffer).await
    }

    async fn scatter(&self, segments: &[Segment], data: &[u8]) -> Result<(), DmaError> {
        Task::scatter(self, segments, data).await
    }

    async fn scatter_then_gather(
        &self,
        to: &[Segment],
        data: &[u8],
        from: &[Segment],
        buffer: &mut [u8],
    ) -> Result<(), DmaError> {
        self.access((to, data), (from, buffer)).await
    }
}

/// Lets registers have their turn.
async fn next_round() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
