//! What the endpoint's callers name: connections, listeners, events.

use core::net::SocketAddr;
use core::num::NonZeroU32;

use bytes::Bytes;

use crate::config::SocketOptions;
use crate::connection::State;
#[cfg(doc)]
use crate::endpoint::Tcp;
use crate::error::CloseReason;
use crate::segment::FlowKey;
use crate::seq::WireSeq;

/// A connection, for as long as it exists: slab index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A small number that no other living connection has: an index for tables of the caller's.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// What tells it from those that had its index before.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// A listener, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) NonZeroU32);

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Address and port; an unspecified address accepts any of the host's addresses of its
    /// family (of both, for `[::]`), port 0 together with `transparent` accepts every port.
    pub local: SocketAddr,
    /// Connections not yet accepted; with `hold`, SYNs not yet decided on.
    pub backlog: u16,
    /// Accept any destination address, not only this host's (port 0: any port too).
    pub transparent: bool,
    /// Hold each SYN until [`Tcp::decide`] is called; see [`Event::Incoming`].
    pub hold: bool,
    /// What accepted connections start with.
    pub socket: SocketOptions,
}

impl ListenOptions {
    /// A plain listener at `local` with a backlog of 1,024.
    pub fn new(local: SocketAddr) -> Self {
        Self {
            local,
            backlog: 1024,
            transparent: false,
            hold: false,
            socket: SocketOptions::default(),
        }
    }
}

/// The answer to a held SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Complete the handshake.
    Accept,
    /// Answer with RST.
    Refuse,
    /// Forget the SYN; the caller answers with ICMP, or with nothing.
    Drop,
}

/// What happened that an application may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// [`Tcp::accept`] has a connection.
    Accepted(ListenerId),
    /// A listener with `hold` received this SYN; [`Tcp::decide`] answers it.
    Incoming {
        /// Whose.
        listener: ListenerId,
        /// The handshake under way.
        conn: ConnId,
        /// Its flow.
        flow: FlowKey,
        /// The SYN's sequence number, for an ICMP error that quotes it.
        seq: WireSeq,
    },
    /// An active open succeeded.
    Connected(ConnId),
    /// Bytes, EOF or an error can be read.
    Readable(ConnId),
    /// Data was sent R1 = 3 times without an answer (RFC 9293 §3.8.3, MUST-20). The connection
    /// goes on; most applications let it.
    Stalled(ConnId),
    /// There is room in the send buffer again.
    Writable(ConnId),
    /// The peer says that urgent data is on its way; [`Tcp::urgent_left`] tells where it ends.
    ///
    /// [`Tcp::urgent_left`]: crate::Tcp::urgent_left
    Urgent(ConnId),
    /// The connection is over; reads may still find bytes that came before.
    Closed(ConnId, CloseReason),
}

/// What a reader found: [`Tcp::read`] a chunk, [`Tcp::read_chunks`] so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T = Bytes> {
    /// Bytes, at most as many as asked for, never none.
    Data(T),
    /// The peer's FIN: nothing follows.
    Eof,
    /// Nothing yet; [`Event::Readable`] follows.
    Empty,
}

/// A connection for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub id: ConnId,
    /// Whose.
    pub flow: FlowKey,
    /// RFC 9293 state.
    pub state: State,
    /// Both ends use ECN (RFC 3168).
    pub ecn: bool,
    /// Payload bytes accepted from the peer so far.
    pub bytes_received: u64,
    /// Payload bytes the peer has acknowledged so far.
    pub bytes_acked: u64,
    /// Segments retransmitted so far.
    pub total_retrans: u64,
}
