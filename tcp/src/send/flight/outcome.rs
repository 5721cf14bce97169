//! What an ACK says of the flight.

use core::ops::Range;

use crate::segment::SackBlocks;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::SentRange;

/// An ACK as the flight sees it.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    /// SEG.ACK, which may lie below SND.UNA.
    pub(crate) ack: SeqNum,
    /// SND.UNA, once this ACK counts.
    pub(crate) una: SeqNum,
    /// SND.NXT.
    pub(crate) nxt: SeqNum,
    /// Its SACK blocks.
    pub(crate) sack: &'a SackBlocks,
    /// The shortest round trip known.
    pub(crate) min_rtt: Option<Duration>,
    /// When, by the low half of our millisecond clock, the segment left that its timestamp echoes.
    pub(crate) echo: Option<u32>,
}

impl Arrived<'_> {
    /// Whether the echoed timestamp is older than a transmission at `sent_at`.
    pub(crate) fn echo_precedes(&self, sent_at: Instant) -> bool {
        self.echo
            .is_some_and(|echo| (echo.wrapping_sub(sent_at.as_millis() as u32) as i32) < 0)
    }

    /// Whether it answers an earlier transmission than this one (RFC 8985 §6.2 step 2).
    pub(super) fn is_doubtful(&self, now: Instant, sent: &SentRange) -> bool {
        sent.retransmitted
            && (self.echo_precedes(sent.sent_at)
                || self.min_rtt.is_some_and(|min| now - sent.sent_at < min))
    }

    /// The first block, if it reports what had arrived before (RFC 2883 §4): below SEG.ACK, or
    /// inside the second block.
    pub(super) fn dsack(&self) -> Option<Range<SeqNum>> {
        let block = |index: usize| {
            let block = self.sack.get(index)?;
            let (left, right) = (self.ack.expand(block.left), self.ack.expand(block.right));
            (left < right && right <= self.nxt).then_some(left..right)
        };
        let first = block(0)?;
        let repeated = first.end <= self.ack
            || block(1)
                .is_some_and(|second| second.start <= first.start && first.end <= second.end);
        repeated.then_some(first)
    }
}

/// What an ACK said about the flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckOutcome {
    /// Bytes newly acknowledged by SND.UNA that were not SACKed before.
    pub(crate) acked: u32,
    /// Bytes newly SACKed.
    pub(crate) sacked: u32,
    /// DeliveredData of RFC 9937 §6.2: both, less what duplicate ACKs have stood for.
    pub(crate) delivered: u32,
    /// Round trip of the newest transmission delivered, never of a retransmission (Karn).
    pub(super) rtt: Option<Duration>,
    /// Round trip of the newest transmission that the echoed timestamp does not precede: a
    /// retransmission's, too (RFC 7323 §4.1).
    pub(super) echoed_rtt: Option<Duration>,
    /// Some of it had been sent again: the rest may have arrived long ago, and its ACK been lost.
    pub(super) has_repairs: bool,
    /// The echoed timestamp precedes a transmission that is delivered.
    pub(super) has_old_echo: bool,
    /// The delivered transmission that was sent last, retransmissions included.
    pub(crate) newest: Option<Delivered>,
    /// Round trip of the last segment that SND.UNA has passed, unless it proves nothing; else of
    /// `newest` (RACK.rtt).
    pub(crate) rack_rtt: Option<Duration>,
    /// How far above a first transmission that now arrived something had arrived before, in bytes
    /// (RFC 8985 §6.2 step 3).
    pub(crate) reordered: u32,
    /// Where the lowest delivered range begins that was sent only once.
    pub(crate) original: Option<SeqNum>,
    /// One past the highest byte newly delivered.
    pub(crate) highest: Option<SeqNum>,
    /// What the peer reports to have had already (RFC 2883).
    pub(crate) dsack: Option<Range<SeqNum>>,
}

impl AckOutcome {
    /// What the ACK says of the round trip; `advanced`: it moved SND.UNA (RT-6, RFC 7323 §4.1).
    pub(crate) fn rtt_sample(&self, advanced: bool) -> Option<Duration> {
        let echoed = self.echoed_rtt.filter(|_| advanced && !self.has_old_echo);
        self.rtt.filter(|_| !self.has_repairs).or(echoed)
    }

    /// The round trip of the newest transmission delivered, SACKed ones included, if it was the
    /// only one of its range.
    pub(crate) fn first_sent_rtt(&self) -> Option<Duration> {
        self.newest
            .filter(|newest| !newest.retransmitted)
            .map(|newest| newest.rtt)
    }

    /// What was sent once, at `sent_at`, has arrived up to `end`; what is told next was sent later.
    pub(super) fn on_first_try(&mut self, now: Instant, sent_at: Instant, end: SeqNum) {
        let rtt = now - sent_at;
        (self.rtt, self.rack_rtt) = (Some(rtt), Some(rtt));
        self.newest = Some(Delivered {
            sent_at,
            end,
            rtt,
            retransmitted: false,
        });
    }

    /// Whether `sent` arrived after what had reached up to `fack`.
    pub(super) fn on_order(&mut self, fack: Option<SeqNum>, sent: &SentRange) {
        if let Some(fack) = fack
            && fack > sent.end()
            && !sent.retransmitted
        {
            self.reordered = self.reordered.max(fack - sent.start);
        }
    }

    pub(super) fn on_delivered(&mut self, now: Instant, arrived: &Arrived<'_>, sent: &SentRange) {
        self.highest = self.highest.max(Some(sent.end()));
        if !sent.retransmitted {
            let lowest = self.original.map_or(sent.start, |low| low.min(sent.start));
            self.original = Some(lowest);
        }
        self.has_repairs |= sent.retransmitted;
        let rtt = now - sent.sent_at;
        match arrived.echo {
            Some(_) if arrived.echo_precedes(sent.sent_at) => self.has_old_echo = true,
            Some(_) => self.echoed_rtt = Some(self.echoed_rtt.map_or(rtt, |least| least.min(rtt))),
            None => {}
        }
        if arrived.is_doubtful(now, sent) {
            return;
        }
        self.rack_rtt = Some(rtt);
        let delivered = Delivered {
            sent_at: sent.sent_at,
            end: sent.end(),
            rtt,
            retransmitted: sent.retransmitted,
        };
        if self
            .newest
            .is_none_or(|newest| newest.order() <= delivered.order())
        {
            self.newest = Some(delivered);
            if !sent.retransmitted {
                self.rtt = Some(delivered.rtt);
            }
        }
    }
}

/// A transmission that has arrived (RACK.segment of RFC 8985 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// When it was sent (RACK.xmit_ts).
    pub(crate) sent_at: Instant,
    /// Where it ends (RACK.end_seq).
    pub(crate) end: SeqNum,
    /// Its round trip.
    pub(crate) rtt: Duration,
    /// It was not the first of its range.
    pub(crate) retransmitted: bool,
}

impl Delivered {
    /// The order of sending: what leaves in one turn leaves in sequence order.
    pub(crate) const fn order(&self) -> (Instant, SeqNum) {
        (self.sent_at, self.end)
    }
}
