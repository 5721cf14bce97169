//! `Tcp`: every flow of a host behind one surface.

use core::net::SocketAddr;

use bytes::Bytes;

use crate::config::{Config, SocketOptions};
use crate::connection::State;
use crate::error::{CloseReason, ConnectError, Dropped, IcmpError, ListenError, SocketError};
use crate::segment::{Ecn, FlowKey, Segment, Transmit};
use crate::seq::WireSeq;
use crate::time::Instant;

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
}

/// A listener, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) u32);

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Address and port; an unspecified address accepts any of the host's addresses of its
    /// family (of both, for `[::]`), port 0 together with `transparent` accepts every port.
    pub local: SocketAddr,
    /// Handshakes under way plus connections not yet accepted.
    pub backlog: u16,
    /// Accept any destination address, not only this host's (port 0: any port too).
    pub transparent: bool,
    /// Hold each SYN until [`Tcp::decide`] is called; see [`Event::Incoming`].
    pub hold: bool,
    /// What accepted connections start with.
    pub socket: SocketOptions,
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
    /// There is room in the send buffer again.
    Writable(ConnId),
    /// The connection is over; reads may still find bytes that came before.
    Closed(ConnId, CloseReason),
}

/// What [`Tcp::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes, at most as many as asked for, never none.
    Data(Bytes),
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
    /// Payload bytes accepted from the peer so far.
    pub bytes_received: u64,
    /// Payload bytes the peer has acknowledged so far.
    pub bytes_acked: u64,
    /// Segments retransmitted so far.
    pub total_retrans: u64,
}

/// All TCP of a host. See the crate's page for the order of calls.
#[derive(Debug)]
pub struct Tcp {}

impl Tcp {
    /// An endpoint whose ISNs, ports and hash keys come from `seed`, which must be secret.
    pub fn new(_config: Config, _seed: [u8; 32]) -> Self {
        unimplemented!()
    }

    /// A segment arrived for `flow`. `local` says whether `flow.local` is one of this host's own
    /// addresses (transparent listeners take the others).
    pub fn on_segment(
        &mut self,
        _now: Instant,
        _flow: &FlowKey,
        _local: bool,
        _ecn: Ecn,
        _segment: Segment,
    ) -> Result<(), Dropped> {
        unimplemented!()
    }

    /// ICMP reports an error about a segment with this sequence number.
    pub fn on_icmp_error(
        &mut self,
        _now: Instant,
        _flow: &FlowKey,
        _seq: WireSeq,
        _error: IcmpError,
    ) {
        unimplemented!()
    }

    /// Deals with every deadline up to `now`.
    pub fn on_timeout(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// When [`Tcp::on_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// Hands out what is to be sent, as far as `tx` has budget.
    pub fn poll_transmit(&mut self, _now: Instant, _tx: &mut impl Transmit) {
        unimplemented!()
    }

    /// Whether [`Tcp::poll_transmit`] has something to do: what wakes the driver.
    pub fn has_ready(&self) -> bool {
        unimplemented!()
    }

    /// The next thing that applications should hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// Listens.
    pub fn listen(&mut self, _options: ListenOptions) -> Result<ListenerId, ListenError> {
        unimplemented!()
    }

    /// Stops listening; connections not yet accepted are reset.
    pub fn close_listener(&mut self, _id: ListenerId) {
        unimplemented!()
    }

    /// The oldest connection not yet accepted.
    pub fn accept(&mut self, _id: ListenerId) -> Option<(ConnId, FlowKey)> {
        unimplemented!()
    }

    /// Answers a SYN that a listener with `hold` holds. An accepted one shows up in
    /// [`Tcp::accept`] once its handshake is complete.
    pub fn decide(&mut self, _now: Instant, _conn: ConnId, _verdict: Verdict) {
        unimplemented!()
    }

    /// Opens a connection. A local port of 0 is replaced by an ephemeral one; the flow it got is
    /// returned. [`Event::Connected`] or [`Event::Closed`] follows.
    pub fn connect(
        &mut self,
        _now: Instant,
        _flow: FlowKey,
        _options: SocketOptions,
    ) -> Result<(ConnId, FlowKey), ConnectError> {
        unimplemented!()
    }

    /// Queues a chunk for sending; returns how many bytes of it were taken (the caller keeps the
    /// rest). 0: no room, [`Event::Writable`] follows.
    pub fn write(
        &mut self,
        _now: Instant,
        _id: ConnId,
        _data: &Bytes,
    ) -> Result<usize, SocketError> {
        unimplemented!()
    }

    /// How many bytes [`Tcp::write`] would take now.
    pub fn write_room(&self, _id: ConnId) -> Result<usize, SocketError> {
        unimplemented!()
    }

    /// Takes received bytes out, at most `max` (> 0).
    pub fn read(&mut self, _now: Instant, _id: ConnId, _max: usize) -> Result<Read, SocketError> {
        unimplemented!()
    }

    /// Says FIN after what is queued (`shutdown(SHUT_WR)`).
    pub fn shutdown(&mut self, _now: Instant, _id: ConnId) -> Result<(), SocketError> {
        unimplemented!()
    }

    /// Ends the connection with a RST, if it still lives.
    pub fn abort(&mut self, _now: Instant, _id: ConnId) {
        unimplemented!()
    }

    /// The application lets go of the connection (`close`): unread or later bytes mean RST
    /// (SHLD-3), else queued bytes and FIN still go out. The id is dead afterwards.
    pub fn release(&mut self, _now: Instant, _id: ConnId) {
        unimplemented!()
    }

    /// Whether every queued byte and the FIN were acknowledged, or the connection is gone.
    pub fn is_flushed(&self, _id: ConnId) -> bool {
        unimplemented!()
    }

    /// Changes `nodelay`, keep-alive and the like of a live connection.
    pub fn set_options(
        &mut self,
        _now: Instant,
        _id: ConnId,
        _change: impl FnOnce(&mut SocketOptions),
    ) -> Result<(), SocketError> {
        unimplemented!()
    }

    /// The options of a live connection.
    pub fn options(&self, _id: ConnId) -> Result<SocketOptions, SocketError> {
        unimplemented!()
    }

    /// All connections past the handshake, in no order.
    pub fn connections(&self) -> impl Iterator<Item = Summary> + '_ {
        core::iter::empty()
    }

    /// How many connections exist, in all states but TIME-WAIT.
    pub fn connection_count(&self) -> usize {
        unimplemented!()
    }
}
