//! Waiting for several descriptors, and pipes.

use std::ffi::{c_int, c_uint};
use std::time::Duration;

use libc::{epoll_event, nfds_t, pollfd, size_t, ssize_t};
use packetdrill::kernel::{Call, EpollEvent, Errno, PollFd, Reply};

use super::{Ud, given, run, run_int};

/// Entries in one call.
const MAX_ENTRIES: usize = 1024;

/// Milliseconds; below zero for ever.
fn timeout(millis: c_int) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

pub(crate) unsafe extern "C" fn poll(
    userdata: Ud,
    at: *mut pollfd,
    count: nfds_t,
    millis: c_int,
) -> c_int {
    run_int(userdata, |machine| {
        let count = usize::try_from(count).map_err(|_| libc::EINVAL)?;
        if count > MAX_ENTRIES {
            return Err(libc::EINVAL);
        }
        // SAFETY: as `poll(2)`.
        let entries = unsafe { std::slice::from_raw_parts_mut(given(at)?, count) };
        let reply = machine.call(|state| {
            let fds = entries.iter().map(|entry| PollFd {
                // One that is not ours is none at all.
                fd: state.fd(entry.fd).unwrap_or(-1),
                events: entry.events,
                revents: 0,
            });
            Ok(Call::Poll(fds.collect(), timeout(millis)))
        })?;
        let Reply::Polled(found) = reply else {
            return Err(libc::EPROTO);
        };
        for (entry, found) in entries.iter_mut().zip(&found) {
            entry.revents = found.revents;
        }
        Ok(found.iter().filter(|found| found.revents != 0).count() as c_int)
    })
}

pub(crate) unsafe extern "C" fn epoll_create(userdata: Ud, _size: c_int) -> c_int {
    run_int(userdata, |machine| {
        machine.with(|state| {
            let fd = state.kernel.epoll_create()?;
            state.real(fd)
        })
    })
}

pub(crate) unsafe extern "C" fn epoll_ctl(
    userdata: Ud,
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: *const epoll_event,
) -> c_int {
    run_int(userdata, |machine| {
        let event = if event.is_null() {
            EpollEvent::default()
        } else {
            // SAFETY: not null, so an event.
            let event = unsafe { event.read_unaligned() };
            EpollEvent {
                events: event.events,
                data: event.u64,
            }
        };
        machine.with(|state| {
            let (epfd, fd) = (state.fd(epfd)?, state.fd(fd)?);
            state.kernel.epoll_ctl(epfd, op, fd, event).map(|()| 0)
        })
    })
}

pub(crate) unsafe extern "C" fn epoll_wait(
    userdata: Ud,
    epfd: c_int,
    at: *mut epoll_event,
    max: c_int,
    millis: c_int,
) -> c_int {
    run_int(userdata, |machine| {
        let max = usize::try_from(max).map_err(|_| libc::EINVAL)?;
        let at = given(at)?;
        let reply =
            machine.call(|state| Ok(Call::EpollWait(state.fd(epfd)?, max, timeout(millis))))?;
        let Reply::Events(events) = reply else {
            return Err(libc::EPROTO);
        };
        for (n, event) in events.iter().enumerate() {
            let event = epoll_event {
                events: event.events,
                u64: event.data,
            };
            // SAFETY: there are at most `max` events, for which the caller has room.
            unsafe { at.add(n).write_unaligned(event) };
        }
        Ok(events.len() as c_int)
    })
}

pub(crate) unsafe extern "C" fn pipe(userdata: Ud, at: *mut c_int) -> c_int {
    run_int(userdata, |machine| {
        let at = given(at)?;
        let ends = machine.with(|state| {
            let [reader, writer] = state.kernel.pipe()?;
            Ok::<_, Errno>([state.real(reader)?, state.real(writer)?])
        })?;
        // SAFETY: as `pipe(2)`.
        unsafe { at.cast::<[c_int; 2]>().write(ends) };
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn splice(
    userdata: Ud,
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    len: size_t,
    _flags: c_uint,
) -> ssize_t {
    run(userdata, |machine| {
        // Neither pipes nor sockets have a place to begin at; packetdrill passes one of 0 always.
        for offset in [from_offset, to_offset] {
            // SAFETY: as `splice(2)`.
            if !offset.is_null() && unsafe { *offset } != 0 {
                return Err(libc::ESPIPE);
            }
        }
        match machine.call(|state| Ok(Call::Splice(state.fd(from)?, state.fd(to)?, len)))? {
            Reply::Count(count) => Ok(count),
            _ => Err(libc::EPROTO),
        }
    })
}
