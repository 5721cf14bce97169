//! How the congestion window is used: rounds, and congestion window validation (RFC 7661).
//!
//! A window that was not used has proved nothing. This keeps what the connection knows of that;
//! what follows from it for the window is the controller's business.

use core::num::NonZeroU32;

use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// The non-validated period (RFC 7661 §4.4.3).
const NON_VALIDATED_PERIOD: Duration = Duration::from_secs(300);

/// What an ACK shows of the window's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// It is the first to answer what was sent after the last round began.
    pub(crate) round_start: bool,
    /// cwnd stopped the sender in the last round trip.
    pub(crate) cwnd_limited: bool,
    /// Most bytes in flight at once in the last round trip.
    pub(crate) window_used: u32,
}

/// The use that one connection makes of its window.
#[derive(Debug)]
pub(crate) struct WindowUsage {
    /// A round ends once something beyond this is acknowledged: SND.NXT at its start.
    round_end: SeqNum,
    acked_in_round: u32,
    /// The largest flight since SND.UNA passed `look_end`, and whether it filled the window.
    max_flight: u32,
    cwnd_limited: bool,
    look_end: SeqNum,
    /// pipeACK samples: the largest of this half of the sampling period, and of the last.
    pipe_ack: [Option<NonZeroU32>; 2],
    half_began: Instant,
    /// pipeACK has been below half of cwnd since then.
    non_validated_since: Option<Instant>,
}

/// What lasts of it while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingUsage {
    pipe_ack: [Option<NonZeroU32>; 2],
    acked_in_round: u32,
    half_began: Instant,
    non_validated_since: Option<Instant>,
}

impl RestingUsage {
    /// The next ACK ends a round, as what is acknowledged by now has; what leaves next is all
    /// that is in flight.
    pub(crate) const fn wake(&self, una: SeqNum) -> WindowUsage {
        WindowUsage {
            pipe_ack: self.pipe_ack,
            acked_in_round: self.acked_in_round,
            non_validated_since: self.non_validated_since,
            ..WindowUsage::new(self.half_began, una)
        }
    }
}

impl WindowUsage {
    pub(crate) const fn rest(&self) -> RestingUsage {
        RestingUsage {
            pipe_ack: self.pipe_ack,
            acked_in_round: self.acked_in_round,
            half_began: self.half_began,
            non_validated_since: self.non_validated_since,
        }
    }

    pub(crate) const fn new(now: Instant, nxt: SeqNum) -> Self {
        Self {
            round_end: nxt,
            acked_in_round: 0,
            max_flight: 0,
            cwnd_limited: false,
            look_end: nxt,
            pipe_ack: [None, None],
            half_began: now,
            non_validated_since: None,
        }
    }

    /// Whether cwnd stopped the sender in the last round trip.
    pub(crate) const fn cwnd_limited(&self) -> bool {
        self.cwnd_limited
    }

    /// Data left: `in_flight` bytes are on their way now, SND.NXT is `nxt`.
    pub(crate) fn on_sent(&mut self, una: SeqNum, nxt: SeqNum, in_flight: u32, cwnd_limited: bool) {
        if una >= self.look_end || cwnd_limited || !self.cwnd_limited && in_flight > self.max_flight
        {
            self.max_flight = in_flight;
            self.cwnd_limited = cwnd_limited;
            self.look_end = nxt;
        }
    }

    /// SND.UNA moved to `una`; `delivered` bytes left the network.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        una: SeqNum,
        nxt: SeqNum,
        delivered: u32,
        srtt: Option<Duration>,
    ) -> Use {
        let round_start = una > self.round_end;
        if round_start {
            self.on_round(now, srtt.unwrap_or_default());
            self.round_end = nxt;
        }
        self.acked_in_round = self.acked_in_round.saturating_add(delivered);
        Use {
            round_start,
            cwnd_limited: self.cwnd_limited,
            window_used: self.max_flight,
        }
    }

    /// pipeACK (§4.2): the most bytes that a round trip of the last second or three has carried.
    fn on_round(&mut self, now: Instant, srtt: Duration) {
        let sample = core::mem::take(&mut self.acked_in_round);
        let half = (3 * srtt).max(Duration::from_secs(1)) / 2;
        if now - self.half_began >= half {
            self.pipe_ack = [None, self.pipe_ack[0]];
            self.half_began = now;
        }
        self.pipe_ack[0] = self.pipe_ack[0].max(NonZeroU32::new(sample));
    }

    /// `None` as long as there was no sample, which counts as a window in use (§4.2).
    pub(crate) fn pipe_ack(&self) -> Option<u32> {
        self.pipe_ack[0].max(self.pipe_ack[1]).map(NonZeroU32::get)
    }

    /// Losses are being repaired: no samples are taken, and older ones count no more (§4.2).
    pub(crate) const fn on_recovery(&mut self) {
        self.pipe_ack = [None, None];
        self.acked_in_round = 0;
        self.non_validated_since = None;
    }

    /// Notes whether a window of `cwnd` bytes is in use; true when it has not been for five
    /// minutes, so that it is to be reduced (§4.4.3).
    pub(crate) fn expired(&mut self, now: Instant, cwnd: u32) -> bool {
        if self.is_validated(cwnd) {
            self.non_validated_since = None;
            return false;
        }
        let since = *self.non_validated_since.get_or_insert(now);
        if now - since < NON_VALIDATED_PERIOD {
            return false;
        }
        self.non_validated_since = Some(now);
        true
    }

    /// §4.3: at least half of the window was acknowledged in one round trip.
    fn is_validated(&self, cwnd: u32) -> bool {
        self.pipe_ack().is_none_or(|bytes| bytes >= cwnd / 2)
    }

    /// What a congestion signal reduces: FlightSize, or pipeACK if that is more and the window
    /// is not in use (§4.4.1).
    pub(crate) fn loss_base(&self, flight_size: u32, cwnd: u32) -> u32 {
        if self.is_validated(cwnd) {
            flight_size
        } else {
            flight_size.max(self.pipe_ack().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::WireSeq;

    /// An ACK ends a round when it answers anything sent in it, exactly the first byte or more.
    #[test]
    fn a_round_ends_beyond_what_was_sent_at_its_start() {
        let first = SeqNum::first(WireSeq(7));
        let mut usage = WindowUsage::new(Instant::ZERO, first);
        let acks = [(1, 10), (9, 12), (10, 14), (13, 20), (20, 20), (25, 30)];
        let starts = acks.map(|(una, nxt): (u32, u32)| {
            let (una, nxt) = (first + una, first + nxt);
            usage.on_ack(Instant::ZERO, una, nxt, 1, None).round_start
        });
        assert_eq!(starts, [true, false, false, true, false, true]);
    }
}
