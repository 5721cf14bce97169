//! When something was seen, and in which packet.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A packet and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Its number in the capture, from 1.
    pub packet: usize,
    /// Seconds since the first packet of the capture.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
}

impl Moment {
    /// How long after `other` it was; zero when it was before.
    pub fn since(self, other: Self) -> Duration {
        self.at.saturating_sub(other.at)
    }
}

/// Durations are numbers of seconds in JSON.
pub(crate) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
