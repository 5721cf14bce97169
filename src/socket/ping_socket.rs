//! `PingSocket`: asking whether a host is there.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::wait;
use crate::host::Shared;
use crate::ip::{PingError, PingId, Pong};
use crate::stack::Stack;
use crate::wakers::Waiters;

/// A socket for echo requests and their replies, as Linux's `SOCK_DGRAM` with `IPPROTO_ICMP` is
/// one. Every socket has an identifier of its own; requests that others send are answered by the
/// stack itself.
///
/// ```
/// use ustack::{Config, PingSocket, Stack, device};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let (here, _there) = device::memory::pair(device::Caps::plain(1500));
/// let (stack, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), here)?;
/// tokio::spawn(driver);
/// let socket = PingSocket::bind(&stack, [0, 0, 0, 0].into())?;
/// socket.send_to(1, b"anybody there?", [10, 77, 0, 2].into())?;
/// let pong = socket.recv().await?;
/// assert_eq!((pong.seq, &pong.data[..]), (1, &b"anybody there?"[..]));
/// # Ok(())
/// # }
/// ```
pub struct PingSocket {
    shared: Arc<Shared>,
    id: PingId,
}

impl PingSocket {
    /// A socket of the family of `local`: an address of the stack, or the unspecified one, which
    /// leaves the choice to the stack. Fails with `AddrNotAvailable`.
    pub fn bind(stack: &Stack, local: IpAddr) -> io::Result<Self> {
        let shared = stack.any();
        let id = shared.call(|host, _| {
            host.check_running()?;
            host.check_local(local, false)?;
            let id = host.ip.open_ping(local).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "as many ping sockets exist as a stack has: close some",
                )
            })?;
            host.sockets.ping.insert(id, Waiters::default());
            Ok::<_, io::Error>(id)
        })?;
        Ok(Self {
            shared: Arc::clone(shared),
            id,
        })
    }

    /// The identifier of its requests.
    pub fn ident(&self) -> u16 {
        self.id.ident()
    }

    /// Queues an echo request with this sequence number and data. Fails with `InvalidInput` when
    /// `remote` is nobody or of the other family, with the system's `EMSGSIZE` when the data is too
    /// long for a packet, and with `WouldBlock` when too much waits to be sent.
    pub fn send_to(&self, seq: u16, data: &[u8], remote: IpAddr) -> io::Result<()> {
        let data = Bytes::copy_from_slice(data);
        self.shared.call(|host, _| {
            host.check_alive()?;
            host.ip
                .send_ping(self.id, remote, seq, data)
                .map_err(|error| match error {
                    PingError::MessageTooLong => io::Error::from(rustix::io::Errno::MSGSIZE),
                    PingError::QueueFull => io::ErrorKind::WouldBlock.into(),
                    PingError::NotFound | PingError::InvalidRemote => io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("{remote} cannot be asked from here"),
                    ),
                })
        })
    }

    /// Receives a reply. Cancel-safe: it is taken only when it is returned.
    pub async fn recv(&self) -> io::Result<Pong> {
        wait(
            &self.shared,
            |host| host.sockets.ping.get_mut(&self.id),
            |host, _| match host.ip.recv_ping(self.id) {
                Some(pong) => Some(Ok(pong)),
                None => host.check_alive().err().map(Err),
            },
        )
        .await
    }
}

impl Drop for PingSocket {
    fn drop(&mut self) {
        let waiters = self.shared.call(|host, _| {
            host.ip.close_ping(self.id);
            host.sockets.ping.remove(&self.id)
        });
        drop(waiters); // outside the lock
    }
}

impl fmt::Debug for PingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PingSocket")
            .field("ident", &self.ident())
            .finish_non_exhaustive()
    }
}
