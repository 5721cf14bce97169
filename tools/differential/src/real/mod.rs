//! ustack against Linux: the same scripts in real time, over a TUN device in a network namespace
//! of the run's own.
//!
//! ```text
//! program ─ ustack ─ Tap ─ Impair ─ Tap ─ TUN ─ kernel ─ program
//! ```
//!
//! The script, the faults and the settings of both stacks follow from the seed; only time does
//! not, so a failure may need some repeating.

mod batch;
mod case;
mod failure;
mod faults;
mod flows;
mod hosts;
mod leftovers;
mod play;
mod run;
mod setting;
mod shrink;
mod sysctl;
mod tap;
mod wire_rules;

pub use self::batch::{Args, main};
pub use self::case::{Case, Verdict};
pub use self::failure::examine;
pub use self::run::Outcome;
pub use self::setting::{KernelOption, Setting};
pub use self::tap::{Passage, Place, Tap, Wire};
pub use self::wire_rules::{Violations, judge};
