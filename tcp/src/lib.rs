//! `ustack-tcp`: a TCP (RFC 9293) without a clock, a socket or a random number generator of its own.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub(crate) mod chunk;
pub mod config;
pub mod congestion;
pub mod connection;
pub mod endpoint;
pub mod error;
pub(crate) mod handshake;
pub(crate) mod isn;
pub(crate) mod listener;
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

pub use config::{Config, CongestionAlgorithm, Keepalive, SocketOptions};
pub use connection::State;
pub use endpoint::{
    ConnId, Counters, Event, ListenOptions, ListenerId, Read, Summary, Tcp, Verdict,
};
pub use error::{
    CloseReason, ConnectError, Dropped, IcmpError, ListenError, Malformed, SocketError,
};
pub use segment::{Ecn, Flags, FlowKey, Options, Segment, Transmit, TxMeta};
