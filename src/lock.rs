//! The right to write to files, which one process has at a time; the system takes it back when that ends, however it does.

use std::{
    fs::{File, TryLockError},
    thread,
    time::Duration,
};

/// How often a lock that is held is tried again: a process that is just ending lets go of it, and one that this one is just
/// starting holds a copy of it until it runs.
const TRIES: u32 = 50;
/// Between two tries.
const PERIOD: Duration = Duration::from_millis(20);

/// Takes the right, for as long as the file is open.
///
/// # Errors
/// [`TryLockError::WouldBlock`] where another process still has it after a second.
pub fn take(file: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PERIOD),
            taken => return taken,
        }
    }
    file.try_lock()
}
