//! Congestion control as the wire shows it, under virtual time.

mod bbr;
mod cubic;
mod custom;
mod hystart;
mod pacing;
mod path;
mod reno;
mod validation;

use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
