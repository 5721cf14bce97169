//! RACK (RFC 8985): what was sent before something that has arrived is lost, once it has had the
//! time to arrive too. It sees the loss of a retransmission, and of all but the last segment.

use crate::send::{DUP_THRESH, Delivered, Flight};
use crate::time::{Duration, Instant};

use super::RttEstimator;

/// RACK's state: the delivered transmission that was sent last.
#[derive(Debug)]
pub(crate) struct Rack {
    newest: Option<Delivered>,
    /// When the reordering window of something closes (RFC 8985 §6.2 step 5).
    deadline: Option<Instant>,
}

impl Rack {
    pub(crate) const fn new() -> Self {
        Self {
            newest: None,
            deadline: None,
        }
    }

    /// When [`Rack::detect`] should look again although nothing arrived.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// RFC 8985 §6.2 step 2. A retransmission acknowledged faster than any round trip was its
    /// original's doing, and says nothing.
    pub(crate) fn on_delivered(&mut self, delivered: Option<Delivered>, rtt: &RttEstimator) {
        let Some(delivered) = delivered else { return };
        let doubtful =
            delivered.retransmitted && rtt.min_rtt().is_some_and(|min| delivered.rtt < min);
        if !doubtful
            && self
                .newest
                .is_none_or(|newest| newest.order() <= delivered.order())
        {
            self.newest = Some(delivered);
        }
    }

    /// RFC 8985 §6.2 steps 4 and 5: judges what is overdue; returns the bytes.
    ///
    /// The reordering window is a quarter of the least round trip, and nothing at all while no
    /// reordering was seen and losses are being repaired or three segments are SACKed.
    pub(crate) fn detect(
        &mut self,
        now: Instant,
        recovering: bool,
        mss: u32,
        flight: &mut Flight,
        rtt: &RttEstimator,
    ) -> u32 {
        self.deadline = None;
        let Some(newest) = self.newest else { return 0 };
        let certain = recovering || flight.sacked() >= DUP_THRESH * mss;
        let window = if certain && !flight.reordering_seen() {
            Duration::ZERO
        } else {
            rtt.min_rtt().unwrap_or(newest.rtt) / 4
        };
        let (lost, deadline) = flight.mark_lost_by_time(now, newest, newest.rtt + window);
        self.deadline = deadline;
        lost
    }
}
