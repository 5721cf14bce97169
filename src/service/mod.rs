//! Services to run on a stack, written against the public API alone: what the program offers,
//! and what tests talk to.
//!
//! Everything that accepts connections is generic over [`axum::serve::Listener`], so it runs on
//! this crate's `TcpListener` as on tokio's. Each service bounds its connections: those beyond
//! the bound wait in the listener's accept queue, which bounds itself.

pub mod forward;
pub mod http;

mod aside;
mod chargen;
mod chunks;
mod discard;
mod echo;
mod idle;
mod serve;
mod udp;

pub(crate) use aside::aside;
pub use chargen::chargen;
pub use chunks::ChunkStream;
pub use discard::discard;
pub use echo::echo;
pub use idle::IdleTimeout;
pub use serve::{Limits, Stop, Stopper, serve, stop};
pub use udp::{udp_discard, udp_echo};
