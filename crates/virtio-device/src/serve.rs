//! The task that serves a queue: it takes a chain, lets the device fill it, and completes it.

use vfio_user_device::{Bus, Device, DmaError, Task};

use super::chain::DescriptorChain;
use super::fault::Fault;
use super::queue::Virtqueue;
use super::transport::Transport;

/// A device behind a [`Transport`].
pub trait VirtioDevice: Device {
    /// Its transport.
    fn transport(&mut self) -> &mut Transport;

    /// The bytes for a chain's writable buffers. With `None` the chain stays pending until the
    /// device calls [`Bus::wake_tasks`], and is then asked for again.
    ///
    /// # Errors
    /// The chain breaks a rule of the device.
    fn fill(&mut self, bus: &mut Bus, chain: &DescriptorChain) -> Result<Option<Vec<u8>>, Fault>;

    /// The device before this one was about to complete a chain, with the bytes that its last
    /// [`VirtioDevice::fill`] gave, and its process ended. `completed` says whether it has; otherwise this
    /// device is asked for the bytes anew.
    fn resume(&mut self, completed: bool) {
        let _ = completed;
    }

    /// Takes the memory back that those bytes were in, for the next ones.
    fn reuse(&mut self, buffer: Vec<u8>) {
        drop(buffer);
    }
}

/// Starts to serve a queue of a device of that type; for [`Transport::new`].
pub fn serve_queue<D: VirtioDevice>(bus: &mut Bus, queue: Virtqueue) {
    bus.spawn(async move |task: Task<D>| {
        match serve(&task, queue).await {
            // There is no guest to tell.
            Err(Fault::Memory(DmaError::Disconnected)) => {}
            Err(fault) => task.with(|device, bus| device.transport().fail(bus, &fault)),
            Ok(never) => match never {},
        }
    });
}

async fn serve<D: VirtioDevice>(
    task: &Task<D>,
    mut queue: Virtqueue,
) -> Result<std::convert::Infallible, Fault> {
    if let Some(completed) = queue.find_completion(task).await? {
        task.with(|device, _| device.resume(completed));
    }
    queue.start(task).await?;
    interrupt(task, &mut queue);
    loop {
        task.with(|device, _| device.transport().take_notification());
        while !queue.next(task).await? {
            notified(task).await;
        }
        let chain = queue.chain();
        let filled = task.until(|device, bus| {
            let filled = device.fill(bus, chain).transpose();
            device.transport().set_pending(filled.is_none());
            filled
        });
        let mut data = filled.await?;
        checkpoint(task, &queue);
        // A notification before a look at the ring is covered by the look.
        task.with(|device, _| device.transport().take_notification());
        let found = queue.complete(task, &mut data).await?;
        interrupt(task, &mut queue);
        task.with(|device, _| device.reuse(data));
        if !found {
            notified(task).await;
        }
    }
}

/// Waits for a notification of the driver.
async fn notified<D: VirtioDevice>(task: &Task<D>) {
    task.until(|device, _| device.transport().take_notification().then_some(())).await;
}

/// Keeps that the chain is about to be completed, for a process that takes this one's place after a crash.
fn checkpoint<D: VirtioDevice>(task: &Task<D>, queue: &Virtqueue) {
    task.with(|device, bus| {
        if bus.is_kept() {
            device.transport().set_position(queue.completing_position());
            bus.checkpoint(device);
        }
    });
}

/// Interrupts the driver if it wants that, and notes where the queue is.
fn interrupt<D: VirtioDevice>(task: &Task<D>, queue: &mut Virtqueue) {
    let position = queue.position();
    task.with(|device, _| device.transport().set_position(position));
    if queue.take_interrupt() {
        task.with(|device, bus| device.transport().interrupt_for_queue(bus));
    }
}

#[cfg(test)]
mod tests;
