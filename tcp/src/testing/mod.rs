//! Tools for tests, in virtual time: two endpoints on a seeded link, and the language of
//! packetdrill's scripts.

mod checker;
mod mini;
mod pair;
pub mod script;
mod script_line;

pub use checker::Checker;
pub use mini::{Script, run_script};
pub use pair::{Link, Pair, Recorder, Sent, Side, pattern};
