//! A TCP segment apart from its bytes: what the parser yields and what output builds.

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU16;
use core::ops::BitOr;

use arrayvec::ArrayVec;
use bytes::Bytes;

use crate::seq::{WindowScale, WireSeq, WireWindow};

/// A flow seen from this host: our address and port, then the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl FlowKey {
    /// The flow between this host's `local` and the peer's `remote`.
    pub const fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote }
    }

    /// Whether the flow runs over IPv6.
    pub const fn is_ipv6(&self) -> bool {
        self.remote.is_ipv6()
    }

    /// The flow as the peer sees it.
    pub const fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }

    /// The peer's address.
    pub const fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }
}

/// The control bits of RFC 9293 §3.1 (and AE, RFC 9768, carried but not used).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No bit at all.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);
    /// Accurate ECN (RFC 9768).
    pub const AE: Self = Self(0x100);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

/// The two ECN bits of the IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand ECN.
    #[default]
    NotEct = 0,
    /// ECN-capable, code point 1 (L4S).
    Ect1 = 1,
    /// ECN-capable, code point 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The code point in the low two bits of a traffic class.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// A timestamps option (RFC 7323 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub tsval: u32,
    /// The echoed clock; counts only with ACK.
    pub tsecr: u32,
}

/// One SACK block, `left..right` in wire numbers (RFC 2018 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlock {
    /// First number of the block.
    pub left: WireSeq,
    /// The number after its last.
    pub right: WireSeq,
}

/// At most four blocks fit an option (RFC 2018 §3).
pub type SackBlocks = ArrayVec<SackBlock, 4>;

/// Options that only a SYN may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// Maximum segment size, without option space (RFC 6691).
    pub mss: Option<u16>,
    /// Window scale (RFC 7323 §2).
    pub window_scale: Option<WindowScale>,
    /// SACK permitted (RFC 2018 §2).
    pub sack_permitted: bool,
    /// Timestamps (RFC 7323 §3).
    pub timestamps: Option<Timestamps>,
    /// TCP Fast Open: a cookie, or the request for one (RFC 7413 §2).
    pub fast_open: Option<FastOpen>,
}

/// The Fast Open option (RFC 7413 §4.1.1): a cookie of 4 to 16 bytes, or none to ask for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpen {
    len: u8,
    cookie: [u8; 16],
    /// In the shared experimental option (RFC 7413 appendix A.2, RFC 6994) instead of its own.
    pub experimental: bool,
}

impl FastOpen {
    /// The request for a cookie.
    pub const REQUEST: Self = Self {
        len: 0,
        cookie: [0; 16],
        experimental: false,
    };

    /// An option with `cookie`, of which at most 16 bytes are kept.
    pub fn new(cookie: &[u8]) -> Self {
        let len = cookie.len().min(16);
        let mut option = Self::REQUEST;
        option.cookie[..len].copy_from_slice(&cookie[..len]);
        option.len = len as u8;
        option
    }

    /// The same in the experimental option, or not.
    #[must_use]
    pub const fn in_experimental(mut self, experimental: bool) -> Self {
        self.experimental = experimental;
        self
    }

    /// The cookie; empty in a request.
    pub fn cookie(&self) -> &[u8] {
        &self.cookie[..usize::from(self.len)]
    }

    /// Bytes that the option takes in a header, padding included.
    const fn wire_len(&self) -> u32 {
        let head = if self.experimental { 4 } else { 2 };
        (head + self.len as u32).next_multiple_of(4)
    }
}

/// Options of every other segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Timestamps (RFC 7323 §3).
    pub timestamps: Option<Timestamps>,
    /// SACK blocks, the first one first (RFC 2018 §4, RFC 2883).
    pub sack: SackBlocks,
}

/// The options of a segment, by its kind, so that a window scale on data cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// The segment bears SYN.
    Syn(SynOptions),
    /// It does not.
    Segment(SegmentOptions),
}

impl Options {
    /// No option at all, for a segment without SYN.
    pub const fn none() -> Self {
        Self::Segment(SegmentOptions {
            timestamps: None,
            sack: ArrayVec::new_const(),
        })
    }

    /// Bytes that the options take in a header, padding included.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Syn(SynOptions {
                mss,
                window_scale,
                sack_permitted,
                timestamps,
                fast_open,
            }) => {
                4 * (mss.is_some() as u32 + window_scale.is_some() as u32)
                    + match (timestamps.is_some(), *sack_permitted) {
                        (true, _) => 12,
                        (false, true) => 4,
                        (false, false) => 0,
                    }
                    + match fast_open {
                        Some(option) => option.wire_len(),
                        None => 0,
                    }
            }
            Self::Segment(SegmentOptions { timestamps, sack }) => {
                let blocks = sack.len() as u32;
                12 * timestamps.is_some() as u32 + if blocks > 0 { 4 + 8 * blocks } else { 0 }
            }
        }
    }

    /// Whether there is no option.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The timestamps option, on whichever kind.
    pub const fn timestamps(&self) -> Option<Timestamps> {
        match self {
            Self::Syn(options) => options.timestamps,
            Self::Segment(options) => options.timestamps,
        }
    }
}

/// A segment. `P` is [`Bytes`] when received and `()` when sent: its payload travels as chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<P = Bytes> {
    /// Sequence number of the first byte (of SYN, where set).
    pub seq: WireSeq,
    /// Acknowledgment number; counts only with [`Flags::ACK`].
    pub ack: WireSeq,
    /// Window field, unscaled.
    pub window: WireWindow,
    /// Control bits.
    pub flags: Flags,
    /// Options, by kind.
    pub options: Options,
    /// Payload.
    pub payload: P,
    /// Urgent pointer: an offset from `seq`; counts only with [`Flags::URG`].
    pub urgent: u16,
    /// Payload bytes of the wire segments that offload joined into this one; for a segment that
    /// came alone, its own length (at least 1).
    pub mss: NonZeroU16,
}

impl<P> Segment<P> {
    /// Whether `flag` is set.
    pub const fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }
}

impl Segment<Bytes> {
    /// The segment without its payload.
    pub fn header(&self) -> Segment<()> {
        Segment {
            seq: self.seq,
            ack: self.ack,
            window: self.window,
            flags: self.flags,
            options: self.options.clone(),
            payload: (),
            urgent: self.urgent,
            mss: self.mss,
        }
    }

    /// SEG.LEN: payload, SYN and FIN counted (RFC 9293 §3.4).
    pub fn len(&self) -> u32 {
        self.payload.len() as u32 + self.has(Flags::SYN) as u32 + self.has(Flags::FIN) as u32
    }

    /// Whether the segment occupies no sequence space.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many segments the wire carried for this one.
    pub fn wire_segments(&self) -> u32 {
        (self.payload.len() as u32)
            .div_ceil(self.mss.get() as u32)
            .max(1)
    }
}

/// What is to be sent: a segment's header, and how IP and the device should treat it.
#[derive(Debug)]
pub struct TxMeta<'a> {
    /// Whose it is.
    pub flow: &'a FlowKey,
    /// Header and options.
    pub segment: &'a Segment<()>,
    /// Payload bytes that follow, in all chunks together.
    pub payload_len: u32,
    /// Payload bytes per wire segment, when the payload is longer than that; `None` when the
    /// segment fits one packet.
    pub gso_size: Option<NonZeroU16>,
    /// ECN code point of the packet.
    pub ecn: Ecn,
    /// DSCP, 0–63.
    pub dscp: u8,
    /// TTL or hop limit; `None` for the stack's default.
    pub ttl: Option<core::num::NonZeroU8>,
}

/// Where outgoing segments go: the root crate's batch, or a test's recorder.
pub trait Transmit {
    /// How many more segments it takes now.
    fn budget(&self) -> usize;

    /// The MTU of the path to `remote`, in bytes of IP packet.
    fn path_mtu(&self, remote: IpAddr) -> u16;

    /// A connection believes a report that the path to `remote` takes packets of no more than
    /// `mtu` bytes: what [`Transmit::path_mtu`] says to the others from now on (RFC 8201 §5.2).
    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16) {
        let _ = (remote, mtu);
    }

    /// A segment to `remote` was sent R1 times without an answer (RFC 9293 §3.8.3, MUST-20): IP
    /// may look for another way.
    fn on_negative_advice(&mut self, remote: IpAddr) {
        let _ = remote;
    }

    /// Takes one segment, its payload as chunks in order.
    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>);
}
