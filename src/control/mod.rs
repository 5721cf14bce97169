//! A running stack seen and steered from outside: a Unix socket that tells its connections and
//! counters as lines of JSON, and resets a connection on demand. `docs/control.md` has the protocol.
//!
//! [`bind`] makes the socket, [`serve`] answers on it, [`Client`] asks.

mod client;
mod info;
mod protocol;
mod server;
mod socket;

pub use client::Client;
pub use info::TcpInfo;
pub use protocol::{
    About, Answer, Connection, Counters, Filter, Hello, PROTOCOL, Refusal, Request, state_name,
};
pub use server::{ControlCounters, Limits, serve};
pub use socket::{Bound, bind};
