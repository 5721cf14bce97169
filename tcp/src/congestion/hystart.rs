//! HyStart++ (RFC 9406): the initial slow start is left when round trips grow, before the queue
//! overflows.

use super::{AckSample, Setup};
use crate::time::{Duration, Span};

const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
/// L: segments that one ACK may stand for where each left in a frame of its own (HS-3).
const ACK_LIMIT: u32 = 8;

/// Where the initial slow start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SlowStart,
    /// Conservative Slow Start: entered at this round trip, this many rounds to go.
    Css {
        baseline: Span,
        rounds_left: u8,
    },
    /// Over: no later slow start is watched (§4.3).
    Done,
}

/// What an ACK means for slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// The window may grow by this many bytes.
    By(u32),
    /// Slow start is over without a loss: ssthresh is cwnd.
    Exit,
}

/// The state of §4.2.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    phase: Phase,
    /// L · SMSS, where it applies (§4.3).
    limit: bool,
    /// lastRoundMinRTT.
    last_round: Option<Span>,
    /// currentRoundMinRTT.
    this_round: Option<Span>,
    /// rttSampleCount.
    samples: u8,
    /// Bytes acknowledged in CSS that have not grown the window yet.
    credit: u8,
}

impl HyStart {
    pub(super) const fn new(setup: &Setup) -> Self {
        // Only a window that no signal has bounded yet is in its initial slow start.
        let watching = setup.hystart && setup.ssthresh == u32::MAX;
        Self {
            phase: if watching {
                Phase::SlowStart
            } else {
                Phase::Done
            },
            limit: !setup.super_segments && !setup.paced,
            last_round: None,
            this_round: None,
            samples: 0,
            credit: 0,
        }
    }

    /// The initial slow start is over: loss, ECN, a timeout, or ssthresh reached.
    pub(super) const fn stop(&mut self) {
        self.phase = Phase::Done;
    }

    /// An ACK of slow start for `acked` bytes: by how much the window may grow (§4.2).
    pub(super) fn on_ack(&mut self, ack: &AckSample, mss: u32) -> Growth {
        if self.phase == Phase::Done {
            return Growth::By(ack.acked);
        }
        if ack.round_start && self.on_round_start() {
            self.stop();
            return Growth::Exit;
        }
        if let Some(rtt) = ack.rtt {
            self.on_rtt(rtt);
        }
        let most = if self.limit {
            ACK_LIMIT.saturating_mul(mss)
        } else {
            u32::MAX
        };
        let grown = ack.acked.min(most);
        if !matches!(self.phase, Phase::Css { .. }) {
            return Growth::By(grown);
        }
        let credit = u32::from(self.credit) + grown % CSS_GROWTH_DIVISOR;
        self.credit = (credit % CSS_GROWTH_DIVISOR) as u8;
        Growth::By(grown / CSS_GROWTH_DIVISOR + credit / CSS_GROWTH_DIVISOR)
    }

    /// True when this ends the last round of CSS.
    fn on_round_start(&mut self) -> bool {
        // A round without samples says nothing; the one before it still counts.
        self.last_round = self.this_round.or(self.last_round);
        (self.this_round, self.samples) = (None, 0);
        if let Phase::Css { rounds_left, .. } = &mut self.phase {
            *rounds_left = rounds_left.saturating_sub(1);
            return *rounds_left == 0;
        }
        false
    }

    fn on_rtt(&mut self, rtt: Duration) {
        let rtt = Span::of(rtt);
        let least = self.this_round.map_or(rtt, |least| least.min(rtt));
        self.this_round = Some(least);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        match (self.phase, self.last_round) {
            (Phase::SlowStart, Some(last)) if is_late(least, last) => {
                self.phase = Phase::Css {
                    baseline: least,
                    rounds_left: CSS_ROUNDS, // the round under way counts (HS-2)
                };
            }
            (Phase::Css { baseline, .. }, _) if least < baseline => {
                self.phase = Phase::SlowStart; // it was jitter
            }
            _ => {}
        }
    }
}

fn is_late(round: Span, last: Span) -> bool {
    round.duration() >= last.duration() + threshold(last.duration())
}

/// `RttThresh` (§4.2, HS-1).
fn threshold(last_round: Duration) -> Duration {
    (last_round / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use covers::covers;

    const MSS: u32 = 1_000;

    fn hystart() -> HyStart {
        HyStart::new(&Setup::new(MSS, 10 * MSS))
    }

    fn ack(round_start: bool, rtt_us: u64) -> AckSample {
        let mut ack = AckSample::new(Instant::ZERO, MSS);
        ack.round_start = round_start;
        ack.rtt = Some(Duration::from_micros(rtt_us));
        ack
    }

    /// A round of `acks` ACKs with the same round trip; what they let the window grow by.
    fn round(hystart: &mut HyStart, acks: u32, rtt_us: u64) -> Option<u32> {
        let mut sum = 0;
        for index in 0..acks {
            match hystart.on_ack(&ack(index == 0, rtt_us), MSS) {
                Growth::By(bytes) => sum += bytes,
                Growth::Exit => return None,
            }
        }
        Some(sum)
    }

    /// The threshold is an eighth of the round trip between 4 and 16 ms.
    #[test]
    #[covers("HS-1")]
    fn the_threshold_is_an_eighth_within_bounds() {
        for (last, thresh) in [
            (8, 4_000),
            (32, 4_000),
            (50, 6_250),
            (64, 8_000),
            (100, 12_500),
            (128, 16_000),
            (300, 16_000),
        ] {
            let got = threshold(Duration::from_millis(last));
            assert_eq!(got.as_micros(), thresh, "{last} ms");
        }
    }

    /// The eighth sample decides, not the seventh; one microsecond below the threshold does not.
    #[test]
    #[covers("HS-1")]
    fn eight_samples_that_are_late_enough_enter_css() {
        for (samples, rtt_us, enters) in
            [(8, 45_000, true), (7, 60_000, false), (50, 44_999, false)]
        {
            let mut hystart = hystart();
            round(&mut hystart, 10, 40_000);
            let grown = round(&mut hystart, samples, rtt_us).expect("slow start goes on");
            let css = matches!(hystart.phase, Phase::Css { .. });
            assert_eq!(css, enters, "{samples} samples of {rtt_us} us");
            let quartered = if enters {
                7 * MSS + MSS / 4
            } else {
                samples * MSS
            };
            assert_eq!(grown, quartered);
        }
    }

    #[test]
    #[covers("HS-2")]
    fn five_rounds_of_css_end_slow_start() {
        let mut hystart = hystart();
        round(&mut hystart, 10, 40_000);
        round(&mut hystart, 20, 46_000).expect("entered");
        for left in 0..4 {
            assert_eq!(round(&mut hystart, 20, 46_000), Some(5 * MSS), "{left}");
        }
        assert_eq!(round(&mut hystart, 1, 46_000), None);
        assert_eq!(round(&mut hystart, 5, 90_000), Some(5 * MSS), "never again");
    }

    #[test]
    #[covers("HS-2")]
    fn a_round_trip_that_falls_back_resumes_slow_start() {
        let mut hystart = hystart();
        round(&mut hystart, 10, 40_000);
        round(&mut hystart, 20, 46_000).expect("entered");
        let grown = round(&mut hystart, 20, 45_900).expect("resumed");
        assert_eq!(grown, 7 * MSS / 4 + 13 * MSS);
    }

    /// L, only where segments leave one per frame; and nothing of all this later.
    #[test]
    #[covers("HS-3")]
    fn one_ack_counts_for_eight_segments_on_a_plain_device() {
        let mut stretch = ack(true, 40_000);
        stretch.acked = 64 * MSS;
        for (hystart, super_segments, ssthresh, grown) in [
            (true, false, u32::MAX, 8),
            (true, true, u32::MAX, 64),
            (false, false, u32::MAX, 64),
            (true, false, 100 * MSS, 64),
        ] {
            let mut setup = Setup::new(MSS, 64 * MSS);
            (setup.hystart, setup.super_segments) = (hystart, super_segments);
            setup.ssthresh = ssthresh;
            let mut hystart = HyStart::new(&setup);
            assert_eq!(hystart.on_ack(&stretch, MSS), Growth::By(grown * MSS));
        }
    }
}
