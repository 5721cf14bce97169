//! How soon a thread runs once it may.

use std::io;
use std::num::NonZeroU64;

/// Where the link stands among real-time threads: above the ends it joins.
pub const LINK: i32 = 20;
/// Where the ends stand, senders and receivers alike.
pub const END: i32 = 10;

/// Makes the calling thread one of `SCHED_FIFO` at this level: it runs before every ordinary thread
/// of the machine. The kernel asks for `CAP_SYS_NICE`, which root has and a user in a namespace of
/// his own has not.
#[allow(unsafe_code, reason = "a system call that no crate offers")]
pub fn become_real_time(level: i32) -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: level,
    };
    // SAFETY: the call reads one `sched_param`, which lives until it returns; 0 is this thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets timers of the calling thread fire on time instead of within 50 µs. Real-time threads have
/// that already.
pub fn without_timer_slack() -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?)
}
