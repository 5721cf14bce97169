//! What can go wrong, and whose doing it is.

use core::fmt;

/// Why a received datagram went no further. One counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dropped {
    /// Nobody is bound there; the caller answers with port unreachable (UD-5).
    NoSocket,
    /// The socket's receive queue is full.
    BufferFull,
}

/// Why [`Udp::bind`](crate::Udp::bind) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has exactly that address and port.
    AddrInUse,
    /// The address is none of this host's, or no ephemeral port is free.
    AddrNotAvailable,
    /// As many sockets exist as the configuration allows.
    TooManySockets,
}

/// Why [`Udp::connect`](crate::Udp::connect) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The id is of a socket that is closed.
    NotFound,
    /// Another socket has that pair of addresses and ports.
    AddrInUse,
    /// The peer's address is of the other family, unspecified or multicast, or its port is 0.
    InvalidRemote,
    /// The socket has no single port, so it cannot have a single peer.
    NoLocalPort,
}

/// Why [`Udp::send`](crate::Udp::send) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The id is of a socket that is closed.
    NotFound,
    /// The send queue is full; [`Event::Writable`](crate::Event::Writable) follows.
    WouldBlock,
    /// Longer than IP can carry, or than the path takes although it may not be fragmented (PM-11).
    MessageTooLong,
    /// More datagrams than [`MAX_SEGMENTS`](crate::MAX_SEGMENTS) in one message.
    TooManySegments,
    /// No destination was given and the socket is not connected.
    DestinationRequired,
    /// The destination is of the other family, unspecified or multicast, or its port is 0.
    InvalidRemote,
    /// The socket may not send from that address or port.
    InvalidLocal,
    /// An ICMP error about an earlier datagram, reported once; this one was not queued.
    Socket(SocketError),
}

/// What a connected socket learns from the network, once per error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketError {
    /// The id is of a socket that is closed.
    NotFound,
    /// The peer has nobody at that port (UD-6).
    ConnectionRefused,
    /// The peer's host cannot be reached, or a filter forbids it.
    HostUnreachable,
    /// The peer's network cannot be reached.
    NetUnreachable,
    /// A datagram that must not be fragmented was larger than the path takes; [`Udp::max_unfragmented`](crate::Udp::max_unfragmented)
    /// says what it takes now (PM-11).
    MessageTooLong,
}

/// An ICMP error about a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpError {
    /// The packet was larger than the path takes; the largest that fits, in bytes of IP packet.
    PacketTooBig {
        /// Next-hop MTU.
        mtu: u16,
    },
    /// Port or protocol unreachable.
    PortUnreachable,
    /// Host unreachable or administratively prohibited.
    HostUnreachable,
    /// Network unreachable.
    NetUnreachable,
    /// Time exceeded or parameter problem: reported to nobody.
    Transient,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "socket is closed",
            Self::ConnectionRefused => "connection refused",
            Self::HostUnreachable => "host unreachable",
            Self::NetUnreachable => "network unreachable",
            Self::MessageTooLong => "message too long",
        })
    }
}

impl core::error::Error for SocketError {}
