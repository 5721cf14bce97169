//! Calls on sockets that move no bytes.

use std::ffi::{c_int, c_long, c_ulong, c_void};

use libc::{sockaddr, socklen_t};
use packetdrill::kernel::{Call, Reply};

use super::{Ud, given, run_int};
use crate::memory::{address, bytes, store, store_address};

pub(crate) unsafe extern "C" fn socket(
    userdata: Ud,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    run_int(userdata, |machine| {
        machine.with(|state| {
            state.read_sysctls();
            let fd = state.kernel.socket(domain, kind, protocol)?;
            state.real(fd)
        })
    })
}

pub(crate) unsafe extern "C" fn bind(
    userdata: Ud,
    fd: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: as `bind(2)`.
    let to = unsafe { address(at, len) };
    run_int(userdata, |machine| {
        machine.with(|state| {
            let to = to?.ok_or(libc::EAFNOSUPPORT)?;
            state.kernel.bind(state.fd(fd)?, to).map(|()| 0)
        })
    })
}

pub(crate) unsafe extern "C" fn listen(userdata: Ud, fd: c_int, backlog: c_int) -> c_int {
    run_int(userdata, |machine| {
        machine.with(|state| {
            state.read_sysctls();
            state.kernel.listen(state.fd(fd)?, backlog).map(|()| 0)
        })
    })
}

pub(crate) unsafe extern "C" fn accept(
    userdata: Ud,
    fd: c_int,
    at: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    run_int(userdata, |machine| {
        let reply = machine.call(|state| Ok(Call::Accept(state.fd(fd)?, 0)))?;
        let Reply::Accepted(new, peer) = reply else {
            return Err(libc::EPROTO);
        };
        // SAFETY: as `accept(2)`.
        unsafe { store_address(at, len, peer) };
        machine.with(|state| state.real(new))
    })
}

pub(crate) unsafe extern "C" fn connect(
    userdata: Ud,
    fd: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: as `connect(2)`.
    let to = unsafe { address(at, len) };
    run_int(userdata, |machine| {
        machine.call(|state| Ok(Call::Connect(state.fd(fd)?, to?)))?;
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn shutdown(userdata: Ud, fd: c_int, how: c_int) -> c_int {
    run_int(userdata, |machine| {
        machine.with(|state| state.kernel.shutdown(state.fd(fd)?, how).map(|()| 0))
    })
}

pub(crate) unsafe extern "C" fn close(userdata: Ud, fd: c_int) -> c_int {
    run_int(userdata, |machine| {
        machine.call(|state| Ok(Call::Close(state.fd(fd)?)))?;
        machine.with(|state| state.close(fd));
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn setsockopt(
    userdata: Ud,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: as `setsockopt(2)`.
    let value = unsafe { bytes(value, len as usize) };
    run_int(userdata, |machine| {
        machine.with(|state| {
            state.read_sysctls();
            let fd = state.fd(fd)?;
            let value = value.ok_or(libc::EFAULT)?;
            state.kernel.setsockopt(fd, level, name, &value).map(|()| 0)
        })
    })
}

pub(crate) unsafe extern "C" fn getsockopt(
    userdata: Ud,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    run_int(userdata, |machine| {
        let len = given(len)?;
        // SAFETY: not null, so the caller's.
        let room = unsafe { *len } as usize;
        let found = machine.with(|state| {
            let fd = state.fd(fd)?;
            state.kernel.getsockopt(fd, level, name, room)
        })?;
        // SAFETY: as `getsockopt(2)`.
        unsafe {
            store(given(value)?, room, &found);
            *len = found.len().min(room) as socklen_t;
        }
        Ok(0)
    })
}

pub(crate) unsafe extern "C" fn fcntl(
    userdata: Ud,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    run_int(userdata, |machine| {
        machine.with(|state| state.kernel.fcntl(state.fd(fd)?, command, argument as i32))
    })
}

pub(crate) unsafe extern "C" fn ioctl(
    userdata: Ud,
    fd: c_int,
    request: c_ulong,
    value: *mut c_int,
) -> c_int {
    run_int(userdata, |machine| {
        let found = machine.with(|state| state.kernel.ioctl(state.fd(fd)?, request))?;
        // SAFETY: requests that the kernel knows have an `int` to store.
        unsafe { *given(value)? = found };
        Ok(0)
    })
}
