//! What applications receive and send: one datagram, or several of one size in one piece.

use core::net::SocketAddr;
use core::num::NonZeroU16;

use bytes::Bytes;

/// The most datagrams that one [`Message`] may hold and that leave in one frame
/// (`UDP_MAX_SEGMENTS`).
pub const MAX_SEGMENTS: usize = 128;

/// A datagram as received, or several that came as one frame: from one sender, to one address,
/// with the same ECN bits, each of `stride` bytes but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it was sent to: this host, or another one for transparent sockets (UD-7).
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The payload, possibly empty.
    pub data: Bytes,
    /// The two ECN bits of its IP header.
    pub ecn: u8,
    /// Payload bytes of every datagram but the last, which may be shorter, when the device joined
    /// several (the number that `UDP_GRO` tells); `None` for one datagram, and on everything that
    /// [`Udp::recv`](crate::Udp::recv) returns.
    pub stride: Option<NonZeroU16>,
}

impl Datagram {
    /// A single datagram without ECN.
    pub const fn new(local: SocketAddr, remote: SocketAddr, data: Bytes) -> Self {
        Self {
            local,
            remote,
            data,
            ecn: 0,
            stride: None,
        }
    }

    /// How many datagrams the wire carried for this one.
    pub fn wire_datagrams(&self) -> u64 {
        count(self.data.len(), self.stride)
    }

    /// The payload of each of them, in order.
    pub fn segments(&self) -> impl Iterator<Item = Bytes> + '_ {
        let size = self.stride.map_or(usize::MAX, |size| size.get().into());
        (0..self.wire_datagrams() as usize).map(move |index| {
            let from = index * size;
            self.data
                .slice(from..self.data.len().min(from.saturating_add(size)))
        })
    }

    /// The same payload, cut the same way, back to its sender from the address it was sent to.
    pub fn into_reply(self) -> Message {
        Message {
            local: Some(self.local),
            remote: Some(self.remote),
            data: self.data,
            segment_size: self.stride,
        }
    }
}

/// What an application sends: one datagram, or several to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Our address and port; `None` for what the socket is bound to.
    pub local: Option<SocketAddr>,
    /// The receiver; `None` for the connected peer.
    pub remote: Option<SocketAddr>,
    /// The payload, possibly empty.
    pub data: Bytes,
    /// Payload bytes of every datagram but the last, which may be shorter (`UDP_SEGMENT`); `None`
    /// for one datagram.
    pub segment_size: Option<NonZeroU16>,
}

impl Message {
    /// One datagram to `remote`.
    pub const fn to(remote: SocketAddr, data: Bytes) -> Self {
        Self {
            local: None,
            remote: Some(remote),
            data,
            segment_size: None,
        }
    }

    /// How many datagrams it is.
    pub fn wire_datagrams(&self) -> u64 {
        count(self.data.len(), self.segment_size)
    }
}

/// How many datagrams of `size` bytes, the last perhaps shorter, carry `len` bytes.
fn count(len: usize, size: Option<NonZeroU16>) -> u64 {
    size.map_or(1, |size| len.div_ceil(size.get().into()).max(1) as u64)
}
