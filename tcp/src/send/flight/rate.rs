//! Delivery rate samples (draft-ietf-ccwg-bbr §4.1): what was delivered between the sending of a
//! transmission and its ACK, and how long that took.
//!
//! Kept beside the records, and only for a controller that asks: a connection without one pays
//! nothing for it.

use alloc::collections::VecDeque;
use core::ops::Range;

use crate::congestion::{LostSample, RateSample};
#[cfg(any(test, debug_assertions))]
use crate::invariant::{Held, holds};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::{AckOutcome, MAX_RECORD_LEN, MAX_RECORDS};

/// What the connection knew when a transmission left (P of §4.1.2.1).
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    /// `P.send_time`.
    sent_at: Instant,
    /// `P.first_send_time`.
    first_sent_at: Instant,
    /// `P.delivered`.
    delivered: u64,
    /// `P.delivered_time`.
    delivered_at: Instant,
    /// `P.lost`.
    lost: u64,
    /// `P.tx_in_flight`.
    in_flight: u32,
    /// `P.is_app_limited`.
    app_limited: bool,
}

#[derive(Clone, Copy, Debug)]
struct Transmission {
    start: SeqNum,
    len: u32,
    /// Of its last sending.
    was: Snapshot,
}

impl Transmission {
    fn end(&self) -> SeqNum {
        self.start + self.len
    }
}

/// The state of delivery rate sampling of one connection (C of §4.1.2.1).
#[derive(Debug)]
pub(crate) struct RateSampler {
    /// What is in flight, in sequence order. More than [`MAX_RECORDS`] are kept coarser.
    sent: VecDeque<Transmission>,
    /// Judged lost and not yet told.
    losses: VecDeque<Range<SeqNum>>,
    /// Where the last one told ended, and when it was told.
    last_told: Option<(SeqNum, Instant)>,
    /// `C.delivered`.
    delivered: u64,
    /// `C.delivered_time`.
    delivered_at: Instant,
    /// `C.first_send_time`.
    first_sent_at: Instant,
    /// `C.lost`.
    lost: u64,
    /// The same when the last ACK came.
    lost_before: u64,
    /// `C.app_limited`: the sender is limited by its application until more than this has been
    /// delivered; 0: it is not.
    app_limited: u64,
    /// The newest transmission that the last ACK delivered.
    newest: Option<Snapshot>,
    /// The last sample that can be believed, for `TCP_INFO`.
    last: RateSample,
}

impl RateSampler {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            sent: VecDeque::new(),
            losses: VecDeque::new(),
            last_told: None,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            lost: 0,
            lost_before: 0,
            app_limited: 0,
            newest: None,
            last: RateSample::new(),
        }
    }

    /// Bytes delivered so far, and bytes judged lost so far.
    pub(crate) const fn totals(&self) -> (u64, u64) {
        (self.delivered, self.lost)
    }

    /// Bytes judged lost since the last ACK came.
    pub(crate) fn newly_lost(&self) -> u32 {
        u32::try_from(self.lost - self.lost_before).unwrap_or(u32::MAX)
    }

    /// Whether the sender ran out of data, and that moment is still in the pipe.
    pub(crate) const fn is_app_limited(&self) -> bool {
        self.app_limited > 0
    }

    /// The last sample that could be believed.
    pub(crate) const fn last(&self) -> &RateSample {
        &self.last
    }

    /// There is nothing to send though cwnd has room; `in_flight` bytes are on their way.
    pub(crate) fn on_app_limited(&mut self, in_flight: u32) {
        self.app_limited = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// New data left; `before` and `after` it, so much was in flight.
    pub(super) fn on_sent(&mut self, now: Instant, range: Range<SeqNum>, before: u32, after: u32) {
        let was = self.snapshot(now, before, after);
        let len = range.end - range.start;
        let full = self.sent.len() >= MAX_RECORDS;
        if let Some(last) = self.sent.back_mut()
            && last.end() == range.start
            && (full || last.was.sent_at == now && last.len + len <= MAX_RECORD_LEN)
        {
            last.len += len;
            last.was.in_flight = after;
            return;
        }
        let start = range.start;
        self.sent.push_back(Transmission { start, len, was });
    }

    /// `range` left again.
    pub(super) fn on_resent(
        &mut self,
        now: Instant,
        range: &Range<SeqNum>,
        before: u32,
        after: u32,
    ) {
        let was = self.snapshot(now, before, after);
        self.split(range.start);
        self.split(range.end);
        let first = self.index_of(range.start);
        for sent in self.sent.range_mut(first..) {
            if sent.end() > range.end {
                break;
            }
            if sent.start >= range.start {
                sent.was = was;
            }
        }
    }

    /// `OnPacketSent` (§4.1.2.2).
    fn snapshot(&mut self, now: Instant, before: u32, after: u32) -> Snapshot {
        if before == 0 {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        Snapshot {
            sent_at: now,
            first_sent_at: self.first_sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            lost: self.lost,
            in_flight: after,
            app_limited: self.app_limited > 0,
        }
    }

    /// `UpdateRateSample` (§4.1.2.3) for all that an ACK has delivered. Of a range that was sent
    /// more than once and whose ACK may be for either, there is no sample (§4.1.3.5).
    pub(super) fn on_ack(&mut self, now: Instant, outcome: &AckOutcome, una: SeqNum) {
        self.newest = None;
        self.lost_before = self.lost;
        if outcome.delivered > 0 {
            self.delivered += u64::from(outcome.delivered);
            self.delivered_at = now;
        }
        if let Some(newest) = &outcome.newest
            && let Some(was) = self.holding_last_of(newest.end).map(|sent| sent.was)
        {
            self.first_sent_at = was.sent_at;
            self.newest = Some(was);
        }
        while self.sent.front().is_some_and(|sent| sent.end() <= una) {
            self.sent.pop_front();
        }
    }

    /// A duplicate ACK of a peer without SACK stands for `bytes` more (§4.1.3.5).
    pub(crate) const fn on_dup_ack(&mut self, now: Instant, bytes: u32) {
        if bytes > 0 {
            self.delivered += bytes as u64;
            self.delivered_at = now;
        }
    }

    /// `GenerateRateSample` (§4.1.2.3), once the ACK's losses are counted. `None` if it delivered
    /// nothing that says anything.
    pub(crate) fn sample(&mut self, min_rtt: Option<Duration>) -> Option<RateSample> {
        if self.app_limited > 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let was = self.newest.take()?;
        let sending = was.sent_at - was.first_sent_at;
        let acking = self.delivered_at - was.delivered_at;
        let interval = sending.max(acking);
        let delivered = self.delivered - was.delivered;
        // Below that, a retransmission was taken for what its ACK was for.
        let believable = min_rtt.is_none_or(|least| interval >= least) && !interval.is_zero();
        let sample = RateSample {
            delivery_rate: if believable {
                per_second(delivered, interval)
            } else {
                0
            },
            delivered,
            prior_delivered: was.delivered,
            interval,
            is_app_limited: was.app_limited,
            tx_in_flight: was.in_flight,
            lost: self.lost - was.lost,
        };
        if believable {
            self.last = sample;
        }
        Some(sample)
    }

    /// `range` was judged lost.
    pub(super) fn on_lost(&mut self, range: Range<SeqNum>) {
        self.losses.push_back(range);
    }

    /// What was judged lost since losses were told last is no sign of congestion.
    pub(super) fn forgive(&mut self) {
        self.losses.clear();
    }

    /// The next loss to tell of; `in_flight` bytes are left.
    pub(crate) fn next_loss(&mut self, now: Instant, in_flight: u32) -> Option<LostSample> {
        let range = self.losses.pop_front()?;
        let bytes = range.end - range.start;
        self.lost += u64::from(bytes);
        let sent = self.holding_last_of(range.end);
        let mut sample = LostSample::new(now, bytes, sent.map_or(0, |sent| sent.was.in_flight));
        (sample.delivered, sample.in_flight) = (self.delivered, in_flight);
        sample.contiguous = self.last_told == Some((range.start, now));
        if let Some(sent) = sent {
            sample.lost = self.lost - sent.was.lost;
            sample.is_app_limited = sent.was.app_limited;
        }
        self.last_told = Some((range.end, now));
        Some(sample)
    }

    /// What holds between two calls; the flight ends at `end`.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn recount(&self, end: Option<SeqNum>) -> Held {
        let pairs = self.sent.iter().zip(self.sent.iter().skip(1));
        let in_order = |(one, next): (&Transmission, &Transmission)| one.end() <= next.start;
        holds(
            pairs.clone().all(in_order),
            "sampled transmissions lie in order",
        )?;
        holds(
            self.sent.back().is_none_or(|last| Some(last.end()) == end),
            "what is sampled ends where the flight does",
        )?;
        holds(self.lost_before <= self.lost, "losses only add up")
    }

    /// The transmission that `at` lies in; the number of them if none.
    fn index_of(&self, at: SeqNum) -> usize {
        self.sent.partition_point(|sent| sent.end() <= at)
    }

    /// The transmission of the byte before `end`.
    fn holding_last_of(&self, end: SeqNum) -> Option<&Transmission> {
        let index = self.sent.partition_point(|sent| sent.end() < end);
        self.sent.get(index).filter(|sent| sent.start < end)
    }

    /// Cuts the transmission that `at` lies inside in two, unless there are too many.
    fn split(&mut self, at: SeqNum) {
        let index = self.index_of(at);
        if let Some(&sent) = self.sent.get(index)
            && sent.start < at
            && self.sent.len() < MAX_RECORDS
        {
            let rest = Transmission {
                start: at,
                len: sent.end() - at,
                ..sent
            };
            self.sent[index].len = at - sent.start;
            self.sent.insert(index + 1, rest);
        }
    }
}

/// `bytes` in `interval`, by the second.
fn per_second(bytes: u64, interval: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / interval.as_nanos();
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
