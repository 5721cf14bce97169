//! What can go wrong, and whose doing it is.

use core::fmt;

/// Why bytes are not a TCP segment. Counted, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter than its own header says, or than any header is.
    Truncated,
    /// A data offset below five words.
    DataOffset,
}

/// Why a segment went no further. One counter each; `Copy`, so that dropping never allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dropped {
    /// No byte of it is in the window; answered with an ACK (RFC 9293 §3.10.7.4, first).
    OutOfWindow,
    /// A RST in the window but off RCV.NXT: challenged, not obeyed (RFC 5961 §3.2).
    BlindReset,
    /// A RST that is outside the window or acknowledges the wrong number.
    BadReset,
    /// A SYN inside a synchronized connection: challenged (RFC 5961 §4.2).
    BlindSyn,
    /// An ACK of what was never sent, or far too old (RFC 5961 §5.2).
    BadAck,
    /// No ACK bit where the state demands one (RFC 9293 §3.10.7.4, fifth).
    NoAck,
    /// TSval ran backwards (PAWS, RFC 7323 §5.3).
    StaleTimestamp,
    /// No timestamp although both ends agreed on them (RFC 7323 §3.2).
    NoTimestamp,
    /// It reset its connection, as it may.
    Reset,
    /// No flow and no listener; answered with a RST unless it is one (RFC 9293 §3.10.7.1).
    NoSocket,
    /// A flag combination that no state accepts.
    BadFlags,
    /// From or to an address that cannot open a connection (MUST-57, MUST-63).
    BadAddress,
    /// The listener's SYN or accept queue is full.
    BacklogFull,
    /// The answer it deserves is over the limit for such answers.
    RateLimited,
    /// A SYN, while there is no memory for what would follow.
    NoMemory,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::OutOfWindow,
        Self::BlindReset,
        Self::BadReset,
        Self::BlindSyn,
        Self::BadAck,
        Self::NoAck,
        Self::StaleTimestamp,
        Self::NoTimestamp,
        Self::Reset,
        Self::NoSocket,
        Self::BadFlags,
        Self::BadAddress,
        Self::BacklogFull,
        Self::RateLimited,
        Self::NoMemory,
    ];
}

/// Why [`Tcp::listen`](crate::Tcp::listen) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// Another listener has that address and port.
    AddrInUse,
}

/// Why [`Tcp::connect`](crate::Tcp::connect) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The flow exists already.
    AddrInUse,
    /// No ephemeral port is free towards that peer (RFC 6056).
    AddrNotAvailable,
    /// The peer's address is multicast, broadcast, unspecified, or its port is 0 (MUST-46).
    InvalidRemote,
    /// As many connections exist as the configuration allows.
    TooManyConnections,
}

/// How a connection ended, or why an attempt to open one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both directions ended with FIN.
    Finished,
    /// The peer reset an established connection.
    Reset,
    /// The peer answered our SYN with a RST, or said port unreachable.
    Refused,
    /// No answer within the retransmission limit or the user timeout.
    TimedOut,
    /// ICMP says that the host or network cannot be reached, while connecting or on giving up.
    Unreachable,
    /// This end aborted.
    Aborted,
}

/// What an application's call on a connection can fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketError {
    /// The connection id is of a connection that is gone.
    NotFound,
    /// The connection is not open yet.
    NotConnected,
    /// Writing after this end said FIN, or after the connection closed.
    BrokenPipe,
    /// The connection ended abnormally, in this way.
    Closed(CloseReason),
    /// ICMP reports trouble on the path; the connection goes on.
    Icmp(IcmpError),
}

/// An ICMP error about a segment of ours, v4 and v6 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpError {
    /// The packet was larger than the path takes; the largest that fits, in bytes of IP packet.
    PacketTooBig {
        /// Next-hop MTU; 0 from routers older than RFC 1191.
        mtu: u16,
    },
    /// Network unreachable, or no route.
    NetUnreachable,
    /// Host or address unreachable.
    HostUnreachable,
    /// Protocol unreachable, or an unrecognized next header.
    ProtocolUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Administratively prohibited.
    Prohibited,
    /// Time exceeded in transit or in reassembly.
    TimeExceeded,
    /// Parameter problem.
    ParameterProblem,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Reset => "reset by peer",
            Self::Refused => "refused",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::Aborted => "aborted",
        })
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PacketTooBig { .. } => "packet too big",
            Self::NetUnreachable => "network unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::ProtocolUnreachable => "protocol unreachable",
            Self::PortUnreachable => "port unreachable",
            Self::Prohibited => "administratively prohibited",
            Self::TimeExceeded => "time exceeded",
            Self::ParameterProblem => "parameter problem",
        })
    }
}

impl core::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "segment shorter than its header",
            Self::DataOffset => "data offset below five words",
        })
    }
}
