//! `UdpSocket`: datagrams for applications.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;

use bytes::Bytes;
use ustack_udp::{
    BindError, BindOptions, ConnectError, Datagram, Message, SendError, SocketError, SocketId, Udp,
};

use super::wait;
use crate::error;
use crate::host::{Host, Shared};
use crate::ip::Unreachable;
use crate::stack::Stack;
use crate::wakers::{UdpSlot, Waiters};

/// A UDP socket, as [`tokio::net::UdpSocket`] is one; share it by reference or in an `Arc`.
///
/// ICMP errors reach connected sockets as `ConnectionRefused` or `HostUnreachable`, from the next
/// call. Dropping the socket still sends what is queued.
///
/// A datagram larger than the path takes leaves in fragments, unless [`BindOptions::mtu_discover`]
/// says otherwise; then it fails with the system's `EMSGSIZE`, and
/// [`UdpSocket::max_unfragmented`] tells what fits.
///
/// ```
/// use ustack::{Config, Stack, UdpSocket, device};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let caps = device::Caps::plain(1500);
/// # let (here, _there) = device::memory::pair(caps);
/// let (stack, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), here)?;
/// tokio::spawn(driver);
/// let server = UdpSocket::bind(&stack, ([10, 77, 0, 2], 7).into())?;
/// let client = UdpSocket::bind(&stack, ([0, 0, 0, 0], 0).into())?;
/// client.connect(server.local_addr())?;
/// client.send(b"hello").await?;
/// let mut buf = [0; 1500];
/// let (len, _peer) = server.recv_from(&mut buf).await?;
/// assert_eq!(&buf[..len], b"hello");
/// # Ok(())
/// # }
/// ```
pub struct UdpSocket {
    shared: Arc<Shared>,
    id: SocketId,
}

impl UdpSocket {
    /// A socket at `local`: `0.0.0.0` takes all of the stack's IPv4 addresses, `[::]` those of both
    /// families, port 0 an ephemeral port. Fails with `AddrInUse` or `AddrNotAvailable`.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        Self::bind_with(stack, BindOptions::new(local))
    }

    /// A socket that takes datagrams to other hosts' addresses, too (with port 0: to every port),
    /// and sends from them. The stack must be transparent.
    pub fn bind_transparent(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        Self::bind_with(
            stack,
            BindOptions {
                transparent: true,
                ..BindOptions::new(local)
            },
        )
    }

    /// A socket with options.
    pub fn bind_with(stack: &Stack, options: BindOptions) -> io::Result<Self> {
        let shared = match options.local.port() {
            0 if options.transparent => stack.first(),
            port => stack.owner(port),
        };
        let id = shared.call(|host, _| {
            host.check_running()?;
            host.check_local(options.local.ip().to_canonical(), options.transparent)?;
            let id = host
                .udp
                .bind(options)
                .map_err(|error| bind_error(error, options.local))?;
            host.sockets.udp.insert(id, UdpSlot::default());
            Ok::<_, io::Error>(id)
        })?;
        Ok(Self {
            shared: Arc::clone(shared),
            id,
        })
    }

    /// Makes `remote` the only peer. Its ICMP errors are reported from then on.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.shared.call(|host, _| {
            host.check_running()?;
            host.udp
                .connect(self.id, remote)
                .map_err(|error| connect_error(error, remote))
        })
    }

    /// This end's address, as it was bound: unspecified if it was, connected or not.
    pub fn local_addr(&self) -> SocketAddr {
        let host = self.shared.host.lock();
        let local = host.udp.local_addr(self.id);
        local.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The connected peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = self.shared.host.lock().udp.peer_addr(self.id);
        peer.ok_or_else(not_connected)
    }

    /// TTL or hop limit of what is sent from now on, 1 to 255 (`IP_TTL`, `IPV6_UNICAST_HOPS`). Fails
    /// with `InvalidInput` on 0, which nobody may send (RFC 1122 §3.2.1.7), and above 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = u8::try_from(ttl).ok().and_then(NonZeroU8::new);
        let ttl = ttl.ok_or_else(|| invalid("a TTL is 1 to 255".into()))?;
        self.shared
            .call(|host, _| host.udp.set_ttl(self.id, Some(ttl)));
        Ok(())
    }

    /// TTL or hop limit of what is sent.
    pub fn ttl(&self) -> u32 {
        let host = self.shared.host.lock();
        let chosen = host.udp.ttl(self.id);
        chosen.unwrap_or(host.ip.default_ttl()).get().into()
    }

    /// Type of service or traffic class of what is sent from now on (`IP_TOS`, `IPV6_TCLASS`): DSCP
    /// in the upper six bits. The lower two, ECN, are the stack's and ignored.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.shared
            .call(|host, _| host.udp.set_dscp(self.id, tos >> 2));
        Ok(())
    }

    /// Type of service or traffic class of what is sent.
    pub fn tos(&self) -> u8 {
        let host = self.shared.host.lock();
        host.udp.dscp(self.id).unwrap_or(0) << 2
    }

    /// The largest datagram that reaches `remote`, or the connected peer, in one packet, as far as
    /// is known: by the device's MTU and what ICMP has said of the path (`IP_MTU` less the headers).
    pub fn max_unfragmented(&self, remote: Option<SocketAddr>) -> io::Result<usize> {
        let host = self.shared.host.lock();
        let limit = host
            .udp
            .max_unfragmented(self.id, remote, |to| host.ip.path_mtu(to));
        limit.map_err(send_error)
    }

    /// The error that the next call would report, reported now instead (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let error = self.shared.call(|host, _| host.udp.take_error(self.id));
        Ok(error.map(socket_error))
    }

    /// Sends to the connected peer; returns the datagram's length. Waits while the send queue is
    /// full. Cancel-safe: a datagram is queued whole or not at all.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.send_datagram(None, None, Bytes::copy_from_slice(buf))
            .await?;
        Ok(buf.len())
    }

    /// Sends to `remote`. Cancel-safe, as [`UdpSocket::send`].
    pub async fn send_to(&self, buf: &[u8], remote: SocketAddr) -> io::Result<usize> {
        self.send_datagram(None, Some(remote), Bytes::copy_from_slice(buf))
            .await?;
        Ok(buf.len())
    }

    /// Sends to `remote` in the name of `local`: for transparent sockets, and for answering from
    /// the address that was asked. Cancel-safe, as [`UdpSocket::send`].
    pub async fn send_from_to(
        &self,
        buf: &[u8],
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<usize> {
        self.send_datagram(Some(local), Some(remote), Bytes::copy_from_slice(buf))
            .await?;
        Ok(buf.len())
    }

    /// Sends a chunk without copying it; `None` for what the socket is bound or connected to.
    /// Cancel-safe, as [`UdpSocket::send`]. The stack may drop it under its lock: the destructor of an
    /// owner ([`Bytes::from_owner`]) must not call the stack.
    pub async fn send_datagram(
        &self,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        data: Bytes,
    ) -> io::Result<()> {
        let message = Message {
            local,
            remote,
            data,
            segment_size: None,
        };
        self.send_message(&message).await
    }

    /// Sends `buf` as several datagrams of `segment_size` bytes, the last perhaps shorter, to
    /// `remote` or the connected peer, in one call and where the device can in one frame
    /// (`UDP_SEGMENT`). Returns the length of `buf`. Cancel-safe: all are queued or none.
    ///
    /// Fails with `EMSGSIZE` when a segment does not fit one packet of the path (segments are never
    /// fragmented) or `buf` no IP packet, with `InvalidInput` when `segment_size` is 0 or there are
    /// more than [`MAX_SEGMENTS`](ustack_udp::MAX_SEGMENTS).
    ///
    /// ```
    /// # use ustack::{Config, Stack, UdpSocket, device};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let (here, _there) = device::memory::pair(device::Caps::plain(1500));
    /// # let (stack, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), here)?;
    /// # tokio::spawn(driver);
    /// # let server = UdpSocket::bind(&stack, ([10, 77, 0, 2], 7).into())?;
    /// # let client = UdpSocket::bind(&stack, ([0, 0, 0, 0], 0).into())?;
    /// let data = [7; 3000];
    /// client.send_segments(&data, 1200, Some(server.local_addr())).await?;
    ///
    /// let mut buf = [0; 1500];
    /// assert_eq!(server.recv(&mut buf).await?, 1200); // one by one, whoever does not ask for more
    ///
    /// let mut datagrams = Vec::new();
    /// server.recv_many(&mut datagrams, 16).await?;
    /// let lengths = datagrams.iter().flat_map(|joined| joined.segments()).map(|one| one.len());
    /// assert_eq!(lengths.collect::<Vec<_>>(), [1200, 600]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_segments(
        &self,
        buf: &[u8],
        segment_size: u16,
        remote: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let segment_size = NonZeroU16::new(segment_size);
        let segment_size = segment_size.ok_or_else(|| invalid("segments have a size".into()))?;
        let message = Message {
            local: None,
            remote,
            data: Bytes::copy_from_slice(buf),
            segment_size: Some(segment_size),
        };
        self.send_message(&message).await?;
        Ok(buf.len())
    }

    /// Sends one datagram or several to one peer without copying them, as
    /// [`UdpSocket::send_datagram`]. Cancel-safe, as [`UdpSocket::send_segments`].
    pub async fn send_message(&self, message: &Message) -> io::Result<()> {
        self.send_with(|host| self.try_send(host, message)).await
    }

    /// Sends messages from the front until all are queued, waiting while the send queue is full
    /// (`sendmmsg`). What is queued is taken out. An error is about the message that was at the
    /// front, which is taken out as well: those behind it can still be sent. Cancel-safe: what was
    /// not queued is still there.
    pub async fn send_many(&self, messages: &mut VecDeque<Message>) -> io::Result<()> {
        self.send_with(|host| {
            while let Some(message) = messages.front() {
                let sent = self.try_send(host, message)?;
                messages.pop_front();
                if sent.is_err() {
                    return Some(sent);
                }
            }
            Some(Ok(()))
        })
        .await
    }

    async fn send_with(
        &self,
        mut send: impl FnMut(&mut Host) -> Option<io::Result<()>>,
    ) -> io::Result<()> {
        wait(
            &self.shared,
            |host| self.waiters(host, |slot| &mut slot.writers),
            |host, _| send(host),
        )
        .await
    }

    /// `None` when there is no room.
    fn try_send(&self, host: &mut Host, message: &Message) -> Option<io::Result<()>> {
        if let Err(error) = host.check_alive() {
            return Some(Err(error));
        }
        let Host { udp, ip, .. } = host;
        match udp.send_message(self.id, message, |to| ip.path_mtu(to)) {
            Ok(()) => Some(Ok(())),
            Err(SendError::WouldBlock) => None,
            Err(error) => Some(Err(send_error(error))),
        }
    }

    /// Receives a datagram: its length, cut to `buf`. Cancel-safe: a datagram is taken only when
    /// it is returned.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from_to(buf).await?.0)
    }

    /// Receives a datagram and who sent it. Cancel-safe, as [`UdpSocket::recv`].
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, remote, _) = self.recv_from_to(buf).await?;
        Ok((len, remote))
    }

    /// Receives a datagram: its length, who sent it, and where it was sent to (for transparent
    /// sockets the original destination). Cancel-safe, as [`UdpSocket::recv`].
    pub async fn recv_from_to(
        &self,
        buf: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        let datagram = self.recv_datagram().await?;
        let len = datagram.data.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.data[..len]);
        Ok((len, datagram.remote, datagram.local))
    }

    /// Receives a datagram without copying it. Cancel-safe, as [`UdpSocket::recv`].
    pub async fn recv_datagram(&self) -> io::Result<Datagram> {
        self.recv_with(|udp| udp.recv(self.id)).await
    }

    /// Receives what has arrived, at least one datagram and at most `limit` entries, without copying
    /// (`recvmmsg`), appends it to `datagrams` and returns the number of entries. Datagrams that the
    /// device delivered as one stay one entry, with their [`Datagram::stride`] (`UDP_GRO`);
    /// [`Datagram::segments`] are the single ones. Cancel-safe: what was not returned has not been
    /// taken.
    pub async fn recv_many(
        &self,
        datagrams: &mut Vec<Datagram>,
        limit: usize,
    ) -> io::Result<usize> {
        if limit == 0 {
            return Ok(0);
        }
        self.recv_with(|udp| {
            let before = datagrams.len();
            while datagrams.len() - before < limit
                && let Some(datagram) = udp.recv_joined(self.id)?
            // an error comes first, if any
            {
                datagrams.push(datagram);
            }
            let received = datagrams.len() - before;
            Ok((received > 0).then_some(received))
        })
        .await
    }

    async fn recv_with<T>(
        &self,
        mut recv: impl FnMut(&mut Udp) -> Result<Option<T>, SocketError>,
    ) -> io::Result<T> {
        wait(
            &self.shared,
            |host| self.waiters(host, |slot| &mut slot.readers),
            |host, _| match recv(&mut host.udp) {
                Ok(Some(received)) => Some(Ok(received)),
                Ok(None) => host.check_alive().err().map(Err),
                Err(error) => Some(Err(socket_error(error))),
            },
        )
        .await
    }

    /// Answers a datagram that came from `client` for `destination` with ICMP unreachable, for
    /// relays that learn it later. `data` is the datagram's payload, or its beginning. Rate-limited
    /// like all such errors.
    pub fn send_unreachable(
        &self,
        kind: Unreachable,
        client: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) {
        self.shared.call(|host, now| {
            let ip = &mut host.ip;
            ip.send_unreachable_for_datagram(now, kind, client, destination, data);
        });
    }

    fn waiters<'a>(
        &self,
        host: &'a mut Host,
        side: impl FnOnce(&'a mut UdpSlot) -> &'a mut Waiters,
    ) -> Option<&'a mut Waiters> {
        host.sockets.udp.get_mut(&self.id).map(side)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let slot = self.shared.call(|host, _| {
            host.udp.close(self.id);
            host.sockets.udp.remove(&self.id)
        });
        drop(slot); // its wakers, outside the lock
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local", &self.local_addr())
            .finish_non_exhaustive()
    }
}

fn not_connected() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the socket is not connected: name a destination",
    )
}

fn bind_error(error: BindError, local: SocketAddr) -> io::Error {
    match error {
        BindError::AddrInUse => error::addr_in_use(local),
        BindError::AddrNotAvailable => error::addr_not_available(format!(
            "{local} is no address of this stack, or no ephemeral port is free there"
        )),
        BindError::TooManySockets => io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "as many UDP sockets exist as the stack allows: close some",
        ),
        _ => io::Error::other(format!("{local}: {error:?}")),
    }
}

fn connect_error(error: ConnectError, remote: SocketAddr) -> io::Error {
    match error {
        ConnectError::AddrInUse => io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another socket is connected to {remote} from here"),
        ),
        ConnectError::InvalidRemote => invalid(format!("{remote} is no peer for this socket")),
        ConnectError::NoLocalPort => {
            invalid("a socket of every port cannot have a single peer".into())
        }
        _ => io::Error::other(format!("{remote}: {error:?}")),
    }
}

fn send_error(error: SendError) -> io::Error {
    match error {
        SendError::MessageTooLong => message_too_long(),
        SendError::DestinationRequired => not_connected(),
        SendError::InvalidRemote => invalid("no destination for this socket".into()),
        SendError::TooManySegments => invalid(format!(
            "one call sends at most {} segments: send the rest in another",
            ustack_udp::MAX_SEGMENTS
        )),
        SendError::InvalidLocal => invalid("this socket may not send from that address".into()),
        SendError::Socket(error) => socket_error(error),
        _ => io::Error::other(format!("{error:?}")),
    }
}

fn socket_error(error: SocketError) -> io::Error {
    let kind = match error {
        SocketError::NotFound => io::ErrorKind::NotConnected,
        SocketError::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        SocketError::HostUnreachable => io::ErrorKind::HostUnreachable,
        SocketError::NetUnreachable => io::ErrorKind::NetworkUnreachable,
        SocketError::MessageTooLong => return message_too_long(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Has no [`io::ErrorKind`] that may be named: programs compare the number.
fn message_too_long() -> io::Error {
    io::Error::from(rustix::io::Errno::MSGSIZE)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
