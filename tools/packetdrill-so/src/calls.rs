//! The functions of the table: each takes its pointers apart, makes the call of the kernel, and
//! answers with a number and `errno`.
//!
//! Every function here is called by packetdrill with the `userdata` that
//! `packetdrill_interface_init` gave it and otherwise as its namesake in POSIX: that is what the
//! safety of each rests on.

mod network;
mod receive;
mod send;
mod socket;
mod wait;

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use packetdrill::kernel::Result;

use crate::machine::{Machine, PANICKED};

pub(crate) use network::{gettimeofday, netdev_receive, netdev_send, usleep};
pub(crate) use receive::{read, readv, recv, recvfrom, recvmsg};
pub(crate) use send::{send, sendmsg, sendto, write, writev};
pub(crate) use socket::{
    accept, bind, close, connect, fcntl, getsockopt, ioctl, listen, setsockopt, shutdown, socket,
};
pub(crate) use wait::{epoll_create, epoll_ctl, epoll_wait, pipe, poll, splice};

type Ud = *mut c_void;

/// Runs `call` on the machine behind `userdata`: its number, or -1 with `errno`. A panic is `EIO`,
/// for none may cross into C.
fn run(userdata: Ud, call: impl FnOnce(&Machine) -> Result<usize>) -> isize {
    // SAFETY: `packetdrill_interface_init` made `userdata` of an `Arc<Machine>`, which lives until
    // `free`.
    let machine = unsafe { &*userdata.cast_const().cast::<Machine>() };
    let result = catch_unwind(AssertUnwindSafe(|| call(machine))).unwrap_or_else(|_| {
        eprintln!("packetdrill-so: panic in a system call, reported as EIO");
        Err(PANICKED)
    });
    match result {
        Ok(number) => isize::try_from(number).unwrap_or(isize::MAX),
        Err(errno) => {
            // SAFETY: the C library's `errno` of this thread.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

/// The same, for calls that answer with an `int`.
fn run_int(userdata: Ud, call: impl FnOnce(&Machine) -> Result<i32>) -> i32 {
    run(userdata, |machine| call(machine).map(|n| n as usize)) as i32
}

/// A pointer of a caller's, to be used on the thread that it called on.
fn given<T>(at: *mut T) -> Result<*mut T> {
    if at.is_null() {
        Err(libc::EFAULT)
    } else {
        Ok(at)
    }
}

pub(crate) unsafe extern "C" fn free(userdata: Ud) {
    // SAFETY: the last use of the `Arc` that `packetdrill_interface_init` gave away.
    let machine = unsafe { Arc::from_raw(userdata.cast_const().cast::<Machine>()) };
    // A panic in here has nobody to go to: the script is over.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(machine)));
}
