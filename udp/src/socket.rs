//! One socket's state, and where its datagrams go.

use core::net::{IpAddr, SocketAddr};
use core::num::{NonZeroU8, NonZeroU16};

use bytes::Bytes;

use crate::error::SocketError;
use crate::message::Datagram;
use crate::queue::ByteQueue;
use crate::table::Claim;

/// What is to be sent: addresses, and how IP should treat the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxMeta {
    /// Our address and port; an unspecified address leaves the choice to IP.
    pub local: SocketAddr,
    /// The receiver.
    pub remote: SocketAddr,
    /// DSCP, 0–63.
    pub dscp: u8,
    /// The two ECN bits.
    pub ecn: u8,
    /// TTL or hop limit; `None` for the stack's default.
    pub ttl: Option<NonZeroU8>,
    /// What happens to a datagram that is larger than the path takes.
    pub mtu_discover: MtuDiscover,
}

/// How a socket's datagrams stand to the MTU of their path, in the words of Linux's
/// `IP_MTU_DISCOVER`. DF is set on whole packets in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtuDiscover {
    /// What does not fit leaves in fragments.
    #[default]
    Want,
    /// Nothing is fragmented: what is larger than the path is known to take is an error (PM-11).
    Do,
    /// Nothing is fragmented, and only the device's MTU is an error, whatever ICMP has said of the
    /// path: for applications that probe it ([`Plpmtud`](crate::Plpmtud)).
    Probe,
}

/// Where outgoing datagrams go: the IP layer, or a test's recorder.
pub trait Transmit {
    /// How many more datagrams it takes now.
    fn budget(&self) -> usize;

    /// The MTU of the path to `remote`, in bytes of IP packet.
    fn path_mtu(&self, remote: IpAddr) -> u16;

    /// Takes one datagram's payload.
    fn push(&mut self, meta: &TxMeta, payload: Bytes);

    /// Whether [`Transmit::push_joined`] takes datagrams to `remote`.
    fn can_join(&self, remote: IpAddr) -> bool {
        let _ = remote;
        false
    }

    /// Takes several datagrams to one peer, each of `segment_size` bytes but the last: one frame
    /// that the device cuts. A chunk ends where a datagram ends, and holds one or more.
    fn push_joined(
        &mut self,
        meta: &TxMeta,
        segment_size: NonZeroU16,
        payload: impl Iterator<Item = Bytes>,
    ) {
        let size = usize::from(segment_size.get());
        for mut chunk in payload {
            while !chunk.is_empty() {
                let datagram = chunk.split_to(size.min(chunk.len()));
                self.push(meta, datagram);
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) meta: TxMeta,
    pub(crate) data: Bytes,
    /// Bytes of every datagram in `data` but the last; `None` for one.
    pub(crate) segment_size: Option<NonZeroU16>,
}

impl Outgoing {
    /// Bytes of the first datagram.
    pub(crate) fn size(&self) -> usize {
        let len = self.data.len();
        self.segment_size
            .map_or(len, |size| len.min(size.get().into()))
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) claim: Claim,
    pub(crate) transparent: bool,
    pub(crate) mtu_discover: MtuDiscover,
    pub(crate) dscp: u8,
    pub(crate) ttl: Option<NonZeroU8>,
    pub(crate) recv: ByteQueue<Datagram>,
    pub(crate) send: ByteQueue<Outgoing>,
    /// Reported to the next call, then forgotten.
    pub(crate) error: Option<SocketError>,
    /// Stands in the ready list.
    pub(crate) is_ready: bool,
    /// Events not yet handed out.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// A `send` was refused for want of room.
    pub(crate) wants_room: bool,
    /// The application let go; only the send queue is left to drain.
    pub(crate) is_closing: bool,
}
