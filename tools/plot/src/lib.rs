//! What a connection did, as a page: sequence numbers, windows, round trips and throughput over one
//! axis of time.
//!
//! [`events::read`] takes an event log (docs/events.md), [`annotated::read`] an annotated capture
//! (docs/annotated-captures.md); [`page::page`] makes the page of one of their connections.

pub mod annotated;
pub mod events;
pub mod page;
pub mod trace;

mod comment;
mod figure;
mod lines;
mod series;
#[cfg(test)]
mod tests;

pub use events::ReadError;
pub use page::page;
pub use trace::{Log, Trace};
