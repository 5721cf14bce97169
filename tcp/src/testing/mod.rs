//! Tools for tests, in virtual time: two endpoints on a seeded link.

mod pair;

pub use pair::{Link, Pair, Recorder, Sent, Side, pattern};
