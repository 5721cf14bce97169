//! ustack: a TCP/UDP/IP stack in user space.
//!
//! A [`Stack`] is a host behind a [`Device`](device::Device): a TUN device, a pair of devices in
//! memory, or a channel of packets. [`TcpListener`], [`TcpStream`] and [`UdpSocket`] work as
//! `tokio::net`'s do, and take part in its ecosystem: `axum` and `hyper` serve on them unmodified.
//! [`PingSocket`] asks whether a host is there.
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use ustack::{Config, Stack, TcpListener, TcpStream, device};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! // Two hosts, joined by a cable in memory.
//! let caps = device::Caps::offload(1500);
//! let (left, right) = device::memory::pair(caps);
//! let (alice, driver) = Stack::new(Config::new().address([10, 77, 0, 1], 24), left)?;
//! tokio::spawn(driver);
//! let (bob, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), right)?;
//! tokio::spawn(driver);
//!
//! let listener = TcpListener::bind(&bob, ([10, 77, 0, 2], 4000).into())?;
//! let greeter = tokio::spawn(async move {
//!     let (mut stream, peer) = listener.accept().await?;
//!     stream.write_all(format!("hello, {}", peer.ip()).as_bytes()).await
//! });
//!
//! let mut stream = TcpStream::connect(&alice, listener_address()).await?;
//! let mut greeting = String::new();
//! stream.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "hello, 10.77.0.1");
//! # greeter.await?
//! # }
//! # fn listener_address() -> std::net::SocketAddr {
//! #     ([10, 77, 0, 2], 4000).into()
//! # }
//! ```
//!
//! # Who does what
//!
//! [`Stack::new`] hands out a [`Driver`], the only one who touches the device; spawn it, and
//! everything else is calls on sockets. There is one lock per shard, held for protocol work only; a
//! stack is one shard, unless it runs on several queues of a device ([`Stack::with_queues`]).
//! The protocols are the crates [`tcp`] and [`udp`], which know neither clocks nor sockets, and
//! [`ip`]. The road of a segment through them, hop by hop, is walked by
//! `tests/life_of_a_segment.rs`.
//!
//! Deadlines come from `CLOCK_MONOTONIC`; in tests [`Clock::Tokio`] makes time virtual.

#![deny(unsafe_code)]

pub mod batch;
mod busy;
pub mod checksum;
mod clock;
mod coalesce;
mod config;
pub mod control;
pub mod device;
mod error;
mod host;
pub mod huge_pages;
pub mod ip;
pub mod listing;
pub mod metrics;
pub mod observe;
mod pool;
pub mod service;
mod shard;
mod shards;
pub mod socket;
mod stack;
pub mod testing;
mod wakers;

/// What README.md shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use ustack_tcp as tcp;
pub use ustack_udp as udp;

pub use clock::Clock;
pub use config::Config;
pub use metrics::Stats;
pub use socket::{
    ConnectOptions, Incoming, IncomingListener, ListenerBuilder, PingSocket, TcpListener,
    TcpStream, UdpSocket,
};
pub use stack::{Driver, Stack};
