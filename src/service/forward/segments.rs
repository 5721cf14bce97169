//! Datagrams of one size in one call of a host's socket (`UDP_SEGMENT` and `UDP_GRO`, `udp(7)`).

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::UdpGroSegment;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use rustix::io::Errno;

use super::errqueue::address;

/// What one call took in: a datagram, or several of which only the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes.
    pub(super) len: usize,
    /// Bytes of each, where there are several.
    pub(super) size: Option<NonZeroU16>,
    /// Who sent them.
    pub(super) from: SocketAddr,
}

/// Asks for what arrives together to be handed over together.
pub(super) fn enable(socket: &impl AsFd) -> Result<(), Errno> {
    setsockopt(socket, UdpGroSegment, &true).map_err(errno)
}

/// Sends one datagram, or several of `size` bytes. Never waits.
pub(super) fn send(
    socket: &impl AsRawFd,
    data: &[u8],
    size: Option<NonZeroU16>,
    target: SocketAddr,
) -> Result<usize, Errno> {
    let size = size.map(NonZeroU16::get);
    let control = size.as_ref().map(ControlMessage::UdpGsoSegments);
    let data = [IoSlice::new(data)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let target = SockaddrStorage::from(target);
    let fd = socket.as_raw_fd();
    sendmsg(fd, &data, control.as_slice(), flags, Some(&target)).map_err(errno)
}

/// Takes in what has arrived, as far as it came in one piece. Never waits.
pub(super) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = nix::cmsg_space!(i32);
    let mut buffers = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut control), flags);
    let message = message.map_err(errno)?;
    let size = message.cmsgs().map_err(errno)?.find_map(|one| match one {
        ControlMessageOwned::UdpGroSegments(size) => NonZeroU16::new(u16::try_from(size).ok()?),
        _ => None,
    });
    let len = message.bytes;
    Ok(Received {
        len,
        size: size.filter(|size| usize::from(size.get()) < len),
        from: message
            .address
            .as_ref()
            .and_then(address)
            .ok_or(Errno::AFNOSUPPORT)?,
    })
}

fn errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn what_leaves_in_one_call_arrives_in_one() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (from, to) = (sender.local_addr().unwrap(), receiver.local_addr().unwrap());
        let mut buffer = vec![0; 65_535];
        assert_eq!(receive(&receiver, &mut buffer), Err(Errno::AGAIN));
        enable(&receiver).unwrap();
        let data: Vec<u8> = (0..3000_u32).map(|at| at as u8).collect();
        let size = NonZeroU16::new(1200);
        for size in [size, None] {
            assert_eq!(send(&sender, &data, size, to), Ok(3000));
            // Over loopback it is there when the send returns.
            let received = receive(&receiver, &mut buffer).unwrap();
            assert_eq!(
                received,
                Received {
                    len: 3000,
                    size,
                    from
                }
            );
            assert_eq!(buffer[..3000], data[..]);
        }
        // Who does not ask for it gets them one by one.
        setsockopt(&receiver, UdpGroSegment, &false).unwrap();
        send(&sender, &data, size, to).unwrap();
        for len in [1200, 1200, 600] {
            let received = receive(&receiver, &mut buffer).unwrap();
            assert_eq!(
                received,
                Received {
                    len,
                    size: None,
                    from
                }
            );
        }
    }
}
