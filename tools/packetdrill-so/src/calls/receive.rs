//! Bytes in.

use std::ffi::{c_int, c_void};

use libc::{iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use packetdrill::kernel::{Call, Received, Recv, Reply, Result};

use super::{Ud, given, run};
use crate::machine::Machine;
use crate::memory::{has_fault, room, scatter, store, store_address, store_extras, vectors};

fn pull(machine: &Machine, fd: c_int, recv: Recv) -> Result<Received> {
    match machine.call(|state| Ok(Call::Recv(state.fd(fd)?, recv)))? {
        Reply::Received(received) => Ok(received),
        _ => Err(libc::EPROTO),
    }
}

pub(crate) unsafe extern "C" fn read(
    userdata: Ud,
    fd: c_int,
    at: *mut c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: as `read(2)`, of which `recv` without flags is a copy.
    unsafe { recv(userdata, fd, at, len, 0) }
}

pub(crate) unsafe extern "C" fn readv(
    userdata: Ud,
    fd: c_int,
    at: *const iovec,
    count: c_int,
) -> ssize_t {
    run(userdata, |machine| {
        let count = usize::try_from(count).map_err(|_| libc::EINVAL)?;
        // SAFETY: as `readv(2)`.
        let vectors = unsafe { vectors(at, count)? };
        let recv = Recv {
            len: room(vectors),
            flags: 0,
            fault: has_fault(vectors),
        };
        let received = pull(machine, fd, recv)?;
        // SAFETY: as `readv(2)`.
        unsafe { scatter(vectors, &received.data) };
        Ok(received.len)
    })
}

pub(crate) unsafe extern "C" fn recv(
    userdata: Ud,
    fd: c_int,
    at: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    let nobody = std::ptr::null_mut();
    // SAFETY: as `recv(2)`, of which `recvfrom` without an address is a copy.
    unsafe { recvfrom(userdata, fd, at, len, flags, nobody, std::ptr::null_mut()) }
}

pub(crate) unsafe extern "C" fn recvfrom(
    userdata: Ud,
    fd: c_int,
    at: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    run(userdata, |machine| {
        let recv = Recv {
            len,
            flags,
            fault: at.is_null(),
        };
        let received = pull(machine, fd, recv)?;
        // SAFETY: as `recvfrom(2)`.
        unsafe {
            store(at, len, &received.data);
            if let Some(address) = received.from {
                store_address(from, from_len, address);
            }
        }
        Ok(received.len)
    })
}

pub(crate) unsafe extern "C" fn recvmsg(
    userdata: Ud,
    fd: c_int,
    at: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    run(userdata, |machine| {
        // SAFETY: as `recvmsg(2)`.
        let header = unsafe { &mut *given(at)? };
        // SAFETY: as `recvmsg(2)`.
        let vectors = unsafe { vectors(header.msg_iov, header.msg_iovlen)? };
        let recv = Recv {
            len: room(vectors),
            flags,
            fault: has_fault(vectors),
        };
        let received = pull(machine, fd, recv)?;
        // SAFETY: as `recvmsg(2)`.
        unsafe {
            scatter(vectors, &received.data);
            store_extras(header, &received);
        }
        Ok(received.len)
    })
}
