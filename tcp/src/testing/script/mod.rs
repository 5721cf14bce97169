//! The language of [packetdrill](https://github.com/google/packetdrill) scripts: reading them,
//! and packets as their lines. What runs a script is elsewhere (`tools/packetdrill`).
//!
//! ```text
//! 0     socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
//! +.010 < S  0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>    # arrives 10 ms later
//! +0    > S. 0:0(0) ack 1 <...>                                 # must leave now
//! ```

pub mod ast;
mod call;
mod events;
pub mod options;
mod packet;
pub mod render;
mod scan;
#[cfg(test)]
mod tests;
pub mod wire;

pub use call::unescape;
pub use events::{covers, parse};
pub use scan::ParseError;
