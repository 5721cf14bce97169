//! Replays one side of a recorded conversation into the stack and checks what comes out.
//!
//! [`capture::read`] reads a file. [`stream::replay`] takes the place of one end of its TCP
//! conversation, [`ports::replay`] that of a host whose ports are probed, [`datagram::replay`] that of
//! a host which UDP and ICMP are sent to. Each answers with what the stack did, or says at which
//! packet it first did wrong. What the stack sends is read by `etherparse` and judged by
//! [`checker::Checker`], which share no code with it.

mod app;
pub mod checker;
pub mod conversation;
pub mod datagram;
pub mod dialogue;
pub mod divergence;
mod frames;
mod host;
mod icmp;
mod inject;
mod judge;
pub mod message;
pub mod ports;
pub mod review;
mod script;
mod services;
pub mod stream;
pub mod talks;
mod translate;
mod verdict;

pub use app::Reads;
pub use host::Host;
pub use referee::{Violation, capture, packet};
pub use services::Services;
