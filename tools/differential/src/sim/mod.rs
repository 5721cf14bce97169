//! Scripts between any two of ustack and smoltcp, in virtual time.
//!
//! A [`Case`] is everything that a run follows from: stacks, settings, link, script. It is drawn
//! from a seed or read from a file, [`Case::run`] plays it, and the [`Outcome`] says what was wrong.

mod case;
pub mod cli;
mod fault;
mod keep;
pub mod known;
mod lanes;
mod outcome;
mod peer;
mod player;
mod settings;
mod shrink;
mod wire;
mod world;

pub use self::case::{Case, CaseError, PAIRS};
pub use self::fault::Fault;
pub use self::keep::{Kept, keep};
pub use self::outcome::{Finding, Outcome};
pub use self::settings::{Congestion, Ecn, Pacing, Settings, Stack};
pub use self::shrink::{shrink, shrink_script, shrink_while};
