//! What sockets send: who may, how much, and in which turn.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::Udp;
use crate::error::{SendError, SocketError};
use crate::socket::{MtuDiscover, Outgoing, Socket, Transmit, TxMeta};
use crate::table::{SocketId, plain};
use crate::wire::HEADER_LEN;
use crate::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6};

/// How many datagrams one socket sends before the next one's turn.
pub(super) const BURST: usize = 16;

impl Udp {
    /// Queues a datagram. `local` overrides the source (an address of this host on a socket bound
    /// to any; whatever a transparent socket wants), `remote` the connected peer. `path_mtu` is
    /// asked for the MTU of the path to an address, in bytes of IP packet.
    pub fn send(
        &mut self,
        id: SocketId,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        data: Bytes,
        path_mtu: impl FnOnce(IpAddr) -> u16,
    ) -> Result<(), SendError> {
        let socket = self.live(id).ok_or(SendError::NotFound)?;
        let meta = self.check_send(socket, local, remote)?;
        if data.len() > self.max_payload(&meta, path_mtu) {
            return Err(SendError::MessageTooLong);
        }
        let len = data.len();
        let socket = self.live_mut(id).ok_or(SendError::NotFound)?;
        if let Some(error) = socket.error.take() {
            return Err(SendError::Socket(error));
        }
        if socket.send.push(len, Outgoing { meta, data }).is_err() {
            self.want_room(id, len);
            self.counters.sndbuf_errors += 1;
            return Err(SendError::WouldBlock);
        }
        if !socket.is_ready {
            socket.is_ready = true;
            self.ready.push_back(id);
        }
        Ok(())
    }

    fn check_send(
        &self,
        socket: &Socket,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
    ) -> Result<TxMeta, SendError> {
        let bound = socket.claim.local;
        let remote = remote.or(socket.claim.remote).map(plain);
        let remote = remote.ok_or(SendError::DestinationRequired)?;
        if !self.can_reach(bound, remote) {
            return Err(SendError::InvalidRemote);
        }
        let local = local.map_or(bound, plain);
        let is_any = local.ip().is_unspecified();
        let is_ours = is_any
            || local.ip() == bound.ip()
            || (bound.ip().is_unspecified() && self.config.addresses.contains(&local.ip()));
        let is_allowed = if socket.transparent {
            bound.port() == 0 || local.port() == bound.port()
        } else {
            is_ours && local.port() == bound.port()
        };
        let is_right_family = is_any || local.is_ipv4() == remote.is_ipv4();
        if !is_allowed || !is_right_family || local.port() == 0 {
            return Err(SendError::InvalidLocal);
        }
        let local = if is_any {
            SocketAddr::new(bound.ip(), local.port())
        } else {
            local
        };
        Ok(TxMeta {
            local,
            remote,
            dscp: socket.dscp,
            ecn: 0,
            ttl: socket.ttl,
            mtu_discover: socket.mtu_discover,
        })
    }

    /// Whether a socket at `local` may send to `remote`: a unicast address of its family, or of
    /// either for one bound to `[::]`, that is seen outside a host unless it is our own.
    pub(super) fn can_reach(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        let is_dual = local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        (is_dual || local.is_ipv4() == remote.is_ipv4())
            && remote.port() != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && !self.is_broadcast(ip)
            && (!ip.is_loopback() || self.config.addresses.contains(&ip))
    }

    fn is_broadcast(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || self.config.broadcasts.contains(&ip),
            IpAddr::V6(_) => false,
        }
    }

    /// The largest payload that reaches the peer of a connected socket, or else `remote`, in one
    /// packet, as far as is known (PM-11); on a socket that probes, the largest that the device
    /// takes.
    pub fn max_unfragmented(
        &self,
        id: SocketId,
        remote: Option<SocketAddr>,
        path_mtu: impl FnOnce(IpAddr) -> u16,
    ) -> Result<usize, SendError> {
        let socket = self.live(id).ok_or(SendError::NotFound)?;
        let mut meta = self.check_send(socket, None, remote)?;
        if meta.mtu_discover == MtuDiscover::Want {
            meta.mtu_discover = MtuDiscover::Do;
        }
        Ok(self.max_payload(&meta, path_mtu))
    }

    fn max_payload(&self, meta: &TxMeta, path_mtu: impl FnOnce(IpAddr) -> u16) -> usize {
        let mtu = match meta.mtu_discover {
            MtuDiscover::Want => u16::MAX,
            MtuDiscover::Do => path_mtu(meta.remote.ip()),
            MtuDiscover::Probe => self.config.mtu,
        };
        fitting(meta, mtu)
    }

    /// Whether [`Udp::send`] would find room for `len` bytes. Where not, [`Event::Writable`](crate::Event::Writable)
    /// follows.
    pub fn poll_room(&mut self, id: SocketId, len: usize) -> Result<bool, SocketError> {
        let socket = self.live_mut(id).ok_or(SocketError::NotFound)?;
        let has_room = socket.send.has_room(len);
        if !has_room {
            self.want_room(id, len);
        }
        Ok(has_room)
    }

    /// Hands out what is to be sent, as far as `tx` has budget, sockets in turn.
    pub fn poll_transmit(&mut self, tx: &mut impl Transmit) {
        while tx.budget() > 0 {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            let mut too_long = false;
            for _ in 0..BURST.min(tx.budget()) {
                let Some(Outgoing { meta, data }) = socket.send.pop() else {
                    break;
                };
                // The path may have become narrower since.
                if meta.mtu_discover == MtuDiscover::Do
                    && data.len() > fitting(&meta, tx.path_mtu(meta.remote.ip()))
                {
                    socket.error = Some(SocketError::MessageTooLong);
                    too_long = true;
                    continue;
                }
                self.counters.out_datagrams += 1;
                tx.push(&meta, data);
            }
            socket.is_ready = !socket.send.is_empty();
            if !socket.is_ready && socket.is_closing {
                self.sockets.remove(id);
                continue;
            }
            if socket.is_ready {
                self.ready.push_back(id);
            }
            if core::mem::take(&mut socket.wants_room) || too_long {
                self.notify_writable(id);
            }
            if too_long {
                self.notify_readable(id);
            }
        }
    }
}

/// The largest payload that one packet of `mtu` bytes carries there. An MTU of 65,535 stands for
/// "as much as IP can".
const fn fitting(meta: &TxMeta, mtu: u16) -> usize {
    let (header, most) = match meta.remote {
        SocketAddr::V4(_) => (20, MAX_PAYLOAD_V4),
        SocketAddr::V6(_) => (40, MAX_PAYLOAD_V6),
    };
    if mtu == u16::MAX {
        return most;
    }
    (mtu as usize).saturating_sub(header + HEADER_LEN)
}
