//! Tools for tests, in virtual time: two endpoints on a seeded link, and scripts in the language
//! of packetdrill against one endpoint.

mod checker;
mod pair;
mod script;
mod script_line;

pub use checker::Checker;
pub use pair::{Link, Pair, Recorder, Sent, Side, pattern};
pub use script::{Script, run_script};
