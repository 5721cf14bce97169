//! `ustack-udp`: UDP (RFC 768, RFC 1122 §4.1) without a clock, a socket or a random number
//! generator of its own.
//!
//! [`Udp`] holds every socket of a host. What arrives goes in through [`Udp::on_datagram`] and
//! [`Udp::on_icmp_error`]; what applications do through [`Udp::bind`], [`Udp::connect`],
//! [`Udp::send`], [`Udp::recv`] and [`Udp::close`]. Work comes out of [`Udp::poll_transmit`]
//! (datagrams to send) and [`Udp::poll_event`] (who may read or write again). IP headers,
//! checksums and fragments are the caller's.
//!
//! A socket is found by hashing, from the most to the least specific claim: its peer and address,
//! its peer, its address, any address; then the transparent sockets, which take datagrams to
//! other hosts as well. Received bytes stay slices of the device's buffers; every queue is bounded
//! in bytes and charges a fixed overhead for each entry, so that empty datagrams cannot fill
//! memory.
//!
//! What a device delivers as one frame, several datagrams of one size, stays one [`Datagram`] with
//! a `stride` until an application wants it in pieces ([`Udp::recv`]) or not ([`Udp::recv_joined`]).
//! What leaves goes together again where the device can cut it ([`Transmit::can_join`]): a
//! [`Message`] of several segments, and neighbours of one size in a socket's send queue.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod endpoint;
mod error;
mod message;
mod meter;
mod plpmtud;
mod queue;
mod socket;
mod table;
pub mod wire;

pub use endpoint::{BindOptions, Config, Counters, DEFAULT_BUFFER, Event, Udp};
pub use error::{BindError, ConnectError, Dropped, IcmpError, SendError, SocketError};
pub use message::{Datagram, MAX_SEGMENTS, Message};
pub use plpmtud::{Plpmtud, PlpmtudState};
pub use queue::OVERHEAD;
pub use socket::{MtuDiscover, Transmit, TxMeta};
pub use table::SocketId;

/// The largest payload over IPv4: 65,535 less the IP and UDP headers.
pub const MAX_PAYLOAD_V4: usize = 65_507;

/// The largest payload over IPv6: the payload length field bounds it, not the packet.
pub const MAX_PAYLOAD_V6: usize = 65_527;
