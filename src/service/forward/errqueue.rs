//! ICMP errors about what a UDP socket has sent, with the destination they are about
//! (`IP_RECVERR`, `ip(7)`).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use rustix::io::Errno;

/// A datagram that an ICMP error has come back for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SendFailure {
    /// The kernel's reading of the ICMP message.
    pub(super) errno: Errno,
    /// Where the datagram was sent.
    pub(super) destination: SocketAddr,
    /// The datagram's first bytes.
    pub(super) data: Vec<u8>,
}

/// Asks for the errors of a socket of this family.
pub(super) fn enable(socket: &impl AsFd, is_v4: bool) -> io::Result<()> {
    if is_v4 {
        setsockopt(socket, Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// The next error that has arrived. Never waits.
pub(super) fn next(socket: &impl AsRawFd) -> Option<SendFailure> {
    let mut data = [0; 128];
    // Room for the larger of the two: 16 bytes of error, and an IPv6 socket address.
    let mut control = nix::cmsg_space!([u8; 64]);
    let mut buffers = [IoSliceMut::new(&mut data)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut control), flags).ok()?;
    let destination = address(message.address.as_ref()?)?;
    let errno = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(Errno::from_raw_os_error(error.ee_errno.cast_signed()))
        }
        _ => None,
    })?;
    let len = message.bytes;
    Some(SendFailure {
        errno,
        destination,
        data: data[..len].to_vec(),
    })
}

/// The address as the standard library has it.
pub(super) fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|v4| SocketAddrV4::new(v4.ip(), v4.port()).into());
    v4.or_else(|| {
        let v6 = storage.as_sockaddr_in6()?;
        Some(SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id()).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_named() {
        for (is_v4, local) in [(true, "127.0.0.1:0"), (false, "[::1]:0")] {
            let closed = std::net::UdpSocket::bind(local).and_then(|socket| socket.local_addr());
            let Ok(destination) = closed else {
                assert!(!is_v4, "IPv4 is always there");
                continue;
            };
            let socket = std::net::UdpSocket::bind(local).unwrap();
            enable(&socket, is_v4).unwrap();
            assert_eq!(next(&socket), None);
            socket.send_to(b"hello", destination).unwrap();
            // Over loopback the answer is there when the send returns.
            let failure = next(&socket).unwrap();
            assert_eq!(failure.errno, Errno::CONNREFUSED);
            assert_eq!(failure.destination, destination);
            assert_eq!(failure.data, b"hello");
            assert_eq!(next(&socket), None);
        }
    }
}
