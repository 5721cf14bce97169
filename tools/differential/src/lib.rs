//! Plays one application script at both ends of a bad link, with any two stacks, and compares what
//! the two ends saw.

mod pattern;
mod random;
pub mod real;
mod report;
mod script;

pub use self::pattern::Pattern;
pub use self::random::Random;
pub use self::report::{EndReport, Ended, Faults, check_flow};
pub use self::script::{
    End, Flow, MAX_FLOWS, Opener, PORT, Pieces, Ports, Program, ReceiveOp, Script,
    ScriptParseError, SendOp, Shape, Start,
};
