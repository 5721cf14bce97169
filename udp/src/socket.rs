//! One socket's state, and where its datagrams go.

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU8;

use bytes::Bytes;

use crate::error::SocketError;
use crate::queue::{ByteQueue, Datagram};
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
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) meta: TxMeta,
    pub(crate) data: Bytes,
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
