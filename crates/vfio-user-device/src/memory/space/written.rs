//! The log of written pages, while a client asks for one.

use super::DmaSpace;
use crate::memory::dirty_log::DirtyLog;

impl DmaSpace {
    /// Starts to log the pages that the device writes, or goes on. Returns the size of a page; `None` if
    /// the wish makes no sense, or the log has pages of another size already.
    pub fn start_log(&mut self, page_size: u64) -> Option<u64> {
        let log = self.log.get_mut();
        match log {
            Some(log) => (log.page_size() == page_size).then_some(page_size),
            None => Some(log.insert(DirtyLog::new(page_size)?).page_size()),
        }
    }

    /// Whether pages are logged.
    pub fn has_log(&self) -> bool {
        self.log.borrow().is_some()
    }

    /// Stops to log, and forgets what was logged.
    pub fn stop_log(&mut self) {
        *self.log.get_mut() = None;
    }

    /// See [`DirtyLog::report`].
    pub fn report_log(&mut self, start: u64, length: u64, page_size: u64, bitmap: &mut [u8]) {
        if let Some(log) = self.log.get_mut() {
            log.report(start, length, page_size, bitmap);
        }
    }

    /// Bytes of guest memory are about to be written, and not by message.
    pub(in crate::memory) fn log_write(&self, address: u64, length: usize) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.add(address, length as u64);
        }
    }
}
