//! Functions that take the place of libc's when this object is in `LD_PRELOAD` as well:
//! packetdrill's `%{ … }%` reads `TCP_INFO` with libc's `getsockopt`, whatever the table says.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use libc::socklen_t;

use crate::machine::Machine;

/// The machine of the script that runs: packetdrill runs one at a time.
static CURRENT: Mutex<Weak<Machine>> = Mutex::new(Weak::new());

/// A script begins.
pub(crate) fn enter(machine: &Arc<Machine>) {
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(machine);
}

fn current() -> Option<Arc<Machine>> {
    CURRENT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .upgrade()
}

/// `getsockopt` for the machine's descriptors, the system's for all others.
///
/// # Safety
///
/// As `getsockopt(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if let Some(machine) = current()
        && machine.with(|state| state.fd(fd)).is_ok()
    {
        let userdata = Arc::as_ptr(&machine).cast_mut().cast();
        // SAFETY: `userdata` is a machine that `machine` keeps alive; the rest is the caller's.
        return unsafe { crate::calls::getsockopt(userdata, fd, level, name, value, len) };
    }
    // SAFETY: the very call that the caller meant.
    unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int }
}
