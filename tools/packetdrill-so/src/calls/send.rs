//! Bytes out.

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;

use libc::{iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use packetdrill::kernel::{Call, Data, Message, Reply, Result};

use super::{Ud, given, run};
use crate::machine::Machine;
use crate::memory::{address, controls, data, gather, vectors};

fn push(machine: &Machine, fd: c_int, message: Message) -> Result<usize> {
    match machine.call(|state| Ok(Call::Send(state.fd(fd)?, message)))? {
        Reply::Count(count) => Ok(count),
        _ => Err(libc::EPROTO),
    }
}

pub(crate) unsafe extern "C" fn write(
    userdata: Ud,
    fd: c_int,
    at: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: as `write(2)`.
    let data = unsafe { data(at, len) };
    run(userdata, |machine| push(machine, fd, Message::new(data)))
}

pub(crate) unsafe extern "C" fn writev(
    userdata: Ud,
    fd: c_int,
    at: *const iovec,
    count: c_int,
) -> ssize_t {
    run(userdata, |machine| {
        let count = usize::try_from(count).map_err(|_| libc::EINVAL)?;
        // SAFETY: as `writev(2)`.
        let data = unsafe { gather(vectors(at, count)?) };
        push(machine, fd, Message::new(data))
    })
}

pub(crate) unsafe extern "C" fn send(
    userdata: Ud,
    fd: c_int,
    at: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as `send(2)`.
    let data = unsafe { data(at, len) };
    run(userdata, |machine| {
        push(machine, fd, message(data, flags, None))
    })
}

pub(crate) unsafe extern "C" fn sendto(
    userdata: Ud,
    fd: c_int,
    at: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    // SAFETY: as `sendto(2)`.
    let data = unsafe { data(at, len) };
    run(userdata, |machine| {
        let to = if to.is_null() {
            None
        } else {
            // SAFETY: as `sendto(2)`.
            unsafe { address(to, to_len)? }
        };
        push(machine, fd, message(data, flags, to))
    })
}

pub(crate) unsafe extern "C" fn sendmsg(
    userdata: Ud,
    fd: c_int,
    at: *const msghdr,
    flags: c_int,
) -> ssize_t {
    run(userdata, |machine| {
        // SAFETY: as `sendmsg(2)`.
        let header = unsafe { &*given(at.cast_mut())? };
        let to = if header.msg_name.is_null() || header.msg_namelen == 0 {
            None
        } else {
            // SAFETY: as `sendmsg(2)`.
            unsafe { address(header.msg_name.cast(), header.msg_namelen)? }
        };
        // SAFETY: as `sendmsg(2)`.
        let (data, control) = unsafe {
            let vectors = vectors(header.msg_iov, header.msg_iovlen)?;
            (gather(vectors), controls(header))
        };
        let message = Message {
            control,
            ..message(data, flags, to)
        };
        push(machine, fd, message)
    })
}

fn message(data: Data, flags: c_int, to: Option<SocketAddr>) -> Message {
    Message {
        flags,
        to,
        ..Message::new(data)
    }
}
