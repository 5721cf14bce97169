//! The wire and the clock.

use std::ffi::{c_int, c_uint, c_void};
use std::time::Duration;

use libc::{size_t, timeval};

use super::{Ud, given, run_int};
use crate::memory::{bytes, store};

pub(crate) unsafe extern "C" fn netdev_send(userdata: Ud, at: *const c_void, len: size_t) -> c_int {
    // SAFETY: the caller has a packet of that length there.
    let packet = unsafe { bytes(at, len) };
    run_int(userdata, |machine| {
        let packet = packet.ok_or(libc::EFAULT)?;
        machine.inject(&packet);
        Ok(0)
    })
}

/// A packet of 0 bytes says that none will come: packetdrill asks again after an error.
pub(crate) unsafe extern "C" fn netdev_receive(
    userdata: Ud,
    at: *mut c_void,
    len: *mut size_t,
    micros: *mut i64,
) -> c_int {
    run_int(userdata, |machine| {
        let (at, len, micros) = (given(at)?, given(len)?, given(micros)?);
        let packet = machine.receive();
        let (time, packet) = packet.map_or_else(
            || (machine.look_at_clock(), Vec::new()),
            |(time, packet)| (time, packet),
        );
        // SAFETY: the caller has room for `*len` bytes, and for both numbers.
        unsafe {
            *len = store(at, *len, &packet);
            *micros = time.as_micros() as i64;
        }
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn usleep(userdata: Ud, micros: c_uint) -> c_int {
    run_int(userdata, |machine| {
        machine.sleep(Duration::from_micros(micros.into()));
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn gettimeofday(
    userdata: Ud,
    at: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    run_int(userdata, |machine| {
        let micros = machine.look_at_clock().as_micros() as i64;
        let time = timeval {
            tv_sec: micros / 1_000_000,
            tv_usec: micros % 1_000_000,
        };
        // SAFETY: as `gettimeofday(2)`.
        unsafe { given(at)?.write(time) };
        Ok(0)
    })
}
