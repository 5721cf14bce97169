//! Plays one application script at both ends of a bad link, with any two stacks, and compares what
//! the two ends saw.
//!
//! [`sim`] plays it in virtual time between ustack and smoltcp, [`real`] in real time between ustack
//! and Linux. What the applications do ([`Script`]) and what they may see ([`check_flow`]) is the same
//! for both.

mod capture;
mod pattern;
mod random;
pub mod real;
mod report;
mod script;
pub mod sim;

pub use self::capture::{Seen, write_capture};
pub use self::pattern::Pattern;
pub use self::random::Random;
pub use self::report::{EndReport, Ended, Faults, ORPHAN_LIMIT, check_flow};
pub use self::script::{
    End, Flow, MAX_FLOWS, Opener, PORT, Pieces, Ports, Program, ReceiveOp, Script,
    ScriptParseError, SendOp, Shape, Start,
};
