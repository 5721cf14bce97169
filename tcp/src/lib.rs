//! `ustack-tcp`: a TCP (RFC 9293) that does no IO, reads no clock and draws no randomness.
//!
//! [`Tcp`] is every flow of a host behind one surface. Segments and time go in through `on_*`,
//! work comes out through `poll_*`, and nothing else moves: the same calls drive it under a TUN
//! device, a recorded capture, a simulated link or a fuzzer.
//!
//! # Theory
//!
//! **Handshakes** are small records. `SynSent` and `SynReceived` (`handshake`) know what a SYN
//! needs and are consumed into a `Connection` when the handshake is complete, so that every field
//! of a connection is valid for its whole life. Fast Open begins a connection earlier, and keeps the
//! handshake beside it; a SYN cookie begins one later, and keeps nothing. A connection on which
//! nothing happens is folded into a record of what lasts (`connection/rest`) until a segment or a
//! call wakes it, one whose owner has let go ends as a TIME-WAIT record. All of them live in one
//! slab (`table`), found by a keyed hash of the flow or by an id with a generation.
//!
//! **Sequence numbers** wrap in headers only: [`seq::SeqNum`] has 64 bits and is ordered like any
//! integer.
//!
//! **Sending.** The application's bytes are a rope of refcounted chunks from SND.UNA on; what was
//! sent is a ring of records from SND.UNA to SND.NXT.
//!
//! ```text
//!           SendBuffer            unacknowledged │ unsent
//!     ──────────────────┬────────────────────────┼──────────────┬──────
//!                    SND.UNA                  SND.NXT       buffer.end
//!           Flight      [sent][sacked][lost][sent]
//! ```
//!
//! *Detection* (`send/flight`, `recovery`) says which records are lost, *recovery* when an episode
//! begins and ends, *control* ([`congestion`]) how much may be in flight. A transmission is one
//! segment of up to 64 KiB where the device cuts it, else one of the peer's MSS.
//!
//! **Receiving.** Payload is a slice of the frame it came in: in order it waits for the reader,
//! out of order for its gap (`recv/reassembler`). The window is what the buffer has left and never
//! moves left; the buffer grows with the reader's pace (`recv/window`).
//!
//! **ACKs** are owed while input is processed and paid in [`Tcp::poll_transmit`], so a batch of
//! segments costs one and data can carry it (`connection/ack`).
//!
//! **Time.** A connection has one deadline, the earliest of its timers (`connection/timers`), and
//! one entry in the timer wheel that is written only to move earlier (`wheel`). The entry belongs to
//! the slab's index, so that who comes after a connection finds it there.
//!
//! **Memory.** All buffers together may have a budget ([`memory`]): a connection is told what it may
//! take before it takes any, and what it holds is accounted where its calls end (`endpoint/memory`).
//!
//! # The road of a segment
//!
//! ```text
//! in    Tcp::on_segment ─ Connection::on_segment ─ Reassembler::insert ─ Event::Readable ─ Tcp::read
//! out   Tcp::write ─ SendBuffer::push ─ ready list ─ Tcp::poll_transmit ─ Connection::poll_transmit
//! ```
//!
//! `tests/life_of_a_segment.rs` of the root package walks it, device to device.
//!
//! # Bounds
//!
//! Connections ([`Config::max_connections`]), handshakes under way (`max_syn_backlog`), connections
//! to accept (a listener's backlog), those in TIME-WAIT (`max_tw_buckets`) and those that nobody
//! holds (`max_orphans`), buffers (`recv_buffer_max`, `send_buffer_max`), ranges out of order,
//! records in flight and answers to nobody's segments all have a limit; [`Counters`] tell when one
//! was met.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub(crate) mod arena;
pub(crate) mod chunk;
pub mod config;
pub mod congestion;
pub mod connection;
pub mod endpoint;
pub mod error;
pub(crate) mod flow;
pub(crate) mod followers;
pub(crate) mod handshake;
mod index;
pub mod info;
#[cfg(any(test, debug_assertions))]
pub(crate) mod invariant;
pub(crate) mod isn;
pub(crate) mod listener;
pub mod memory;
pub mod observe;
pub(crate) mod outlet;
pub(crate) mod recovery;
pub(crate) mod recv;
pub mod segment;
pub(crate) mod send;
pub mod seq;
pub(crate) mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub(crate) mod wheel;
pub mod wire;

pub use config::{
    Config, CongestionAlgorithm, CustomCongestion, EcnMode, Keepalive, LargeMemory, LossDetection,
    Pacing, SocketOptions,
};
pub use connection::State;
pub use endpoint::{
    ConnId, Counters, Event, ListenOptions, ListenerId, Queued, Read, Summary, Tcp, Verdict,
};
pub use error::{
    CloseReason, ConnectError, Dropped, IcmpError, ListenError, Malformed, SocketError,
};
pub use followers::Followers;
pub use info::{CaState, Info};
pub use memory::MemoryInfo;
pub use segment::{Ecn, Flags, FlowKey, Options, Segment, Transmit, TxMeta};
