//! Tools for tests, in virtual time: two endpoints on a seeded link, and the language of
//! packetdrill's scripts.

mod checker;
mod pair;
pub mod script;

pub use checker::Checker;
pub use pair::{Link, Pair, Recorder, Script, Sent, Side, pattern};
