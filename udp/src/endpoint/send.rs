//! What sockets send: who may, and how much.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::Udp;
use crate::error::{SendError, SocketError};
use crate::message::{MAX_SEGMENTS, Message};
use crate::socket::{MtuDiscover, Outgoing, Socket, TxMeta};
use crate::table::{SocketId, plain};
use crate::wire::HEADER_LEN;
use crate::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6};

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
        let message = Message {
            local,
            remote,
            data,
            segment_size: None,
        };
        self.send_message(id, &message, path_mtu)
    }

    /// As [`Udp::send`], of one datagram or several. Several are queued together or not at all,
    /// and each has to fit one packet of the path: segments are never fragmented.
    pub fn send_message(
        &mut self,
        id: SocketId,
        message: &Message,
        path_mtu: impl FnOnce(IpAddr) -> u16,
    ) -> Result<(), SendError> {
        let socket = self.live(id).ok_or(SendError::NotFound)?;
        let meta = self.check_send(socket, message.local, message.remote)?;
        self.check_size(&meta, message, path_mtu)?;
        let socket = self.live_mut(id).ok_or(SendError::NotFound)?;
        if let Some(error) = socket.error.take() {
            return Err(SendError::Socket(error));
        }
        let len = message.data.len();
        if !socket.send.has_room(len) {
            self.want_room(id, len);
            self.counters.sndbuf_errors += message.wire_datagrams();
            return Err(SendError::WouldBlock);
        }
        let outgoing = Outgoing {
            meta,
            data: message.data.clone(),
            segment_size: message.segment_size,
        };
        if socket.send.push(len, outgoing).is_ok() && !socket.is_ready {
            socket.is_ready = true;
            self.ready.push_back(id);
        }
        Ok(())
    }

    fn check_size(
        &self,
        meta: &TxMeta,
        message: &Message,
        path_mtu: impl FnOnce(IpAddr) -> u16,
    ) -> Result<(), SendError> {
        let len = message.data.len();
        let (first, whole) = match message.segment_size {
            None => (len, self.max_payload(meta, path_mtu)),
            Some(size) => {
                let one = self.max_payload(&unfragmented(*meta), path_mtu);
                (len.min(size.get().into()), one)
            }
        };
        if first > whole || len > fitting(meta, u16::MAX) {
            return Err(SendError::MessageTooLong);
        }
        if message.wire_datagrams() > MAX_SEGMENTS as u64 {
            return Err(SendError::TooManySegments);
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
        let meta = self.check_send(socket, None, remote)?;
        Ok(self.max_payload(&unfragmented(meta), path_mtu))
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
}

/// The same for what must not leave in fragments.
const fn unfragmented(meta: TxMeta) -> TxMeta {
    let mtu_discover = match meta.mtu_discover {
        MtuDiscover::Want => MtuDiscover::Do,
        strict => strict,
    };
    TxMeta {
        mtu_discover,
        ..meta
    }
}

/// The largest payload that one packet of `mtu` bytes carries there. An MTU of 65,535 stands for
/// "as much as IP can".
pub(super) const fn fitting(meta: &TxMeta, mtu: u16) -> usize {
    let (header, most) = match meta.remote {
        SocketAddr::V4(_) => (20, MAX_PAYLOAD_V4),
        SocketAddr::V6(_) => (40, MAX_PAYLOAD_V6),
    };
    if mtu == u16::MAX {
        return most;
    }
    (mtu as usize).saturating_sub(header + HEADER_LEN)
}
