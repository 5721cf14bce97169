//! What a connection did, as a page: sequence numbers, windows, round trips and throughput over one
//! axis of time.
//!
//! [`events::read`] takes an event log (docs/events.md), [`page::page`] makes the
//! page of one of its connections.

pub mod events;
pub mod page;
pub mod trace;

mod figure;
mod series;
#[cfg(test)]
mod tests;

pub use events::{Log, ReadError};
pub use page::page;
pub use trace::Trace;
