//! The table of end-to-end figures: ustack, its peers and the limit of the device, measured in
//! turns on one machine, so that only ratios count.
//!
//! The parts are programs of their own, all in this one binary: [`load`] works a stack through the
//! kernel's sockets, [`probe`] is a "stack" without protocol that shows the device's limit,
//! [`kernel`] is the reference on kernel sockets, [`host`] is the library with datagram services
//! that count. [`table`] says which of them meet in which row, [`rounds`] lets them,
//! [`judge`] does the arithmetic and [`report`] writes it down.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::float_cmp, reason = "these are computed exactly"))]

pub mod arena;
pub mod datagrams;
pub mod host;
pub mod journal;
pub mod judge;
pub mod kernel;
pub mod load;
pub mod machine;
pub mod probe;
pub mod report;
pub mod rounds;
pub mod subject;
pub mod table;
pub mod work;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::Ipv4Addr;

/// What one run measured, by name with its unit: `gbit_per_s`, `p50_us`.
pub type Figures = BTreeMap<String, f64>;

/// The kernel's address, and the address of the stack under test.
pub const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// See [`KERNEL`].
pub const STACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The largest packet of every device here, in bytes: what real paths have.
pub const MTU: u16 = 1500;

/// Ports of the services (RFC 862, 863, 864, 9110).
pub mod port {
    /// What comes in goes back, over TCP and UDP.
    pub const ECHO: u16 = 7;
    /// What comes in goes nowhere, over TCP; over UDP it is counted.
    pub const DISCARD: u16 = 9;
    /// Bytes without end over TCP; over UDP as many datagrams as asked for.
    pub const CHARGEN: u16 = 19;
    /// Files.
    pub const HTTP: u16 = 80;
}

/// Figures by their names.
pub fn figures<const N: usize>(named: [(&str, f64); N]) -> Figures {
    named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Says what was being done when an error came.
pub fn during<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}
