//! What is logged while the screen is filled, for when it is not any more.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes that are kept; the oldest go.
const KEPT: usize = 16 << 10;

static LOG: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

/// Writes where nobody sees it yet.
#[derive(Debug, Default)]
pub(in crate::cli) struct Later;

impl Write for Later {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = lock();
        log.extend(bytes);
        let too_many = log.len().saturating_sub(KEPT);
        log.drain(..too_many);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints what was logged.
pub(super) fn print() {
    let log = std::mem::take(&mut *lock());
    // Where there is no standard error, nobody wants to read it.
    let _unread = io::stderr().write_all(&Vec::from(log));
}

fn lock() -> MutexGuard<'static, VecDeque<u8>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
