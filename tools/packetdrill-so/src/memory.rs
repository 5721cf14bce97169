//! Where C's pointers become values, and values go where C's pointers say.

use std::ffi::{CStr, c_char, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libc::{iovec, msghdr, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};
use packetdrill::kernel::{Control, Data, Received, Result};

/// Vectors in one call (`IOV_MAX`).
const MAX_VECTORS: usize = 1024;

/// What a control message's data is aligned to.
const CMSG_ALIGN: usize = size_of::<usize>();
const CMSG_HEADER: usize = size_of::<libc::cmsghdr>();

/// A C string; null is empty.
///
/// # Safety
///
/// `text` is null or points to a C string.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a C string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// A copy of bytes; `None` for a null pointer.
///
/// # Safety
///
/// `at` is null or points to `len` readable bytes.
pub(crate) unsafe fn bytes(at: *const c_void, len: usize) -> Option<Vec<u8>> {
    if at.is_null() {
        return None;
    }
    // SAFETY: not null, so there are `len` bytes.
    Some(unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec())
}

/// What is to be sent; a null pointer is an address that cannot be read.
///
/// # Safety
///
/// As [`bytes`].
pub(crate) unsafe fn data(at: *const c_void, len: usize) -> Data {
    // SAFETY: the caller's promise is the same.
    unsafe { bytes(at, len) }.map_or(Data::Fault(len), Data::Bytes)
}

/// Stores bytes, as many as there is room for; returns how many.
///
/// # Safety
///
/// `at` is null or points to `room` writable bytes.
pub(crate) unsafe fn store(at: *mut c_void, room: usize, bytes: &[u8]) -> usize {
    let len = bytes.len().min(room);
    if !at.is_null() {
        // SAFETY: not null, so `room` bytes can be written; nobody else has `bytes`' memory there.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), len) };
    }
    len
}

/// An address; `None` is one of family `AF_UNSPEC`.
///
/// # Safety
///
/// `at` is null or points to `len` readable bytes.
pub(crate) unsafe fn address(at: *const sockaddr, len: socklen_t) -> Result<Option<SocketAddr>> {
    let len = len as usize;
    if at.is_null() {
        return Err(libc::EFAULT);
    }
    if len < size_of::<libc::sa_family_t>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: long enough for its first field.
    let family = i32::from(unsafe { at.cast::<libc::sa_family_t>().read_unaligned() });
    match family {
        libc::AF_UNSPEC => Ok(None),
        libc::AF_INET if len >= size_of::<sockaddr_in>() => {
            // SAFETY: long enough, and any bytes are such an address.
            let v4 = unsafe { at.cast::<sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 if len >= size_of::<sockaddr_in6>() => {
            // SAFETY: long enough, and any bytes are such an address.
            let v6 = unsafe { at.cast::<sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Ok(Some(SocketAddr::new(ip.into(), u16::from_be(v6.sin6_port))))
        }
        libc::AF_INET | libc::AF_INET6 => Err(libc::EINVAL),
        _ => Err(libc::EAFNOSUPPORT),
    }
}

/// Stores an address and its length.
///
/// # Safety
///
/// `at` is null or has room for the `*len` bytes that `len`, then not null, promises.
pub(crate) unsafe fn store_address(at: *mut sockaddr, len: *mut socklen_t, address: SocketAddr) {
    if at.is_null() || len.is_null() {
        return;
    }
    let bytes = address_bytes(address);
    // SAFETY: the caller's promise.
    unsafe {
        store(at.cast(), *len as usize, &bytes);
        *len = bytes.len() as socklen_t;
    }
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &ip.octets(), &[0; 8]].concat()
        }
        IpAddr::V6(ip) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            [&family[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat()
        }
    }
}

/// The vectors of a call.
///
/// # Safety
///
/// `at` is null or points to `count` vectors.
pub(crate) unsafe fn vectors<'a>(at: *const iovec, count: usize) -> Result<&'a [iovec]> {
    match count {
        0 => Ok(&[]),
        _ if at.is_null() => Err(libc::EFAULT),
        count if count > MAX_VECTORS => Err(libc::EMSGSIZE),
        // SAFETY: not null, so there are `count` of them.
        count => Ok(unsafe { std::slice::from_raw_parts(at, count) }),
    }
}

/// The bytes of all vectors in a row; one null pointer among them spoils all.
///
/// # Safety
///
/// Every vector is null or readable.
pub(crate) unsafe fn gather(vectors: &[iovec]) -> Data {
    let mut all = Vec::new();
    for vector in vectors {
        // SAFETY: the caller's promise.
        match unsafe { bytes(vector.iov_base, vector.iov_len) } {
            Some(bytes) => all.extend(bytes),
            None if vector.iov_len == 0 => {}
            None => return Data::Fault(room(vectors)),
        }
    }
    Data::Bytes(all)
}

/// Bytes that all vectors have together.
pub(crate) fn room(vectors: &[iovec]) -> usize {
    vectors
        .iter()
        .fold(0, |sum, vector| sum.saturating_add(vector.iov_len))
}

/// Whether a vector with room is null.
pub(crate) fn has_fault(vectors: &[iovec]) -> bool {
    vectors
        .iter()
        .any(|vector| vector.iov_len > 0 && vector.iov_base.is_null())
}

/// Spreads bytes over vectors.
///
/// # Safety
///
/// Every vector is null or writable.
pub(crate) unsafe fn scatter(vectors: &[iovec], mut bytes: &[u8]) {
    for vector in vectors {
        // SAFETY: the caller's promise.
        let stored = unsafe { store(vector.iov_base, vector.iov_len, bytes) };
        bytes = &bytes[stored..];
    }
}

/// The control messages that a message brings.
///
/// # Safety
///
/// The control buffer of `message` is null or readable.
pub(crate) unsafe fn controls(message: &msghdr) -> Vec<Control> {
    // SAFETY: the caller's promise.
    let buffer = unsafe { bytes(message.msg_control, message.msg_controllen) }.unwrap_or_default();
    let mut controls = Vec::new();
    let mut rest = &buffer[..];
    while rest.len() >= CMSG_HEADER {
        let (len, tail) = rest.split_at(size_of::<usize>());
        let len = usize::from_ne_bytes(*len.first_chunk().unwrap_or(&[0; 8]));
        if len < CMSG_HEADER || len > rest.len() {
            break;
        }
        let word = |at: usize| {
            let bytes = tail.get(at..).and_then(<[u8]>::first_chunk);
            i32::from_ne_bytes(*bytes.unwrap_or(&[0; 4]))
        };
        controls.push(Control {
            level: word(0),
            kind: word(4),
            data: rest[CMSG_HEADER..len].to_vec(),
        });
        rest = rest.get(len.next_multiple_of(CMSG_ALIGN)..).unwrap_or(&[]);
    }
    controls
}

/// Stores what came besides the bytes: address, control messages, flags.
///
/// # Safety
///
/// Name and control buffer of `message` are null or writable.
pub(crate) unsafe fn store_extras(message: &mut msghdr, received: &Received) {
    message.msg_flags = received.flags;
    match received.from {
        Some(from) if !message.msg_name.is_null() => {
            let bytes = address_bytes(from);
            // SAFETY: the caller's promise.
            unsafe { store(message.msg_name, message.msg_namelen as usize, &bytes) };
            message.msg_namelen = bytes.len() as socklen_t;
        }
        _ => message.msg_namelen = 0,
    }
    let mut buffer = Vec::new();
    for control in &received.control {
        let len = CMSG_HEADER + control.data.len();
        if buffer.len() + len > message.msg_controllen {
            message.msg_flags |= libc::MSG_CTRUNC;
            break;
        }
        buffer.extend(len.to_ne_bytes());
        buffer.extend(control.level.to_ne_bytes());
        buffer.extend(control.kind.to_ne_bytes());
        buffer.extend(&control.data);
        let padded = buffer.len().next_multiple_of(CMSG_ALIGN);
        buffer.resize(padded.min(message.msg_controllen), 0);
    }
    // SAFETY: the caller's promise.
    unsafe { store(message.msg_control, message.msg_controllen, &buffer) };
    message.msg_controllen = buffer.len();
}
