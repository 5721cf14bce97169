//! What is in flight: one record per transmission, and what the peer's SACKs say of it.
//!
//! Records lie in sequence order and cover SND.UNA..SND.NXT without a gap. The byte counters are
//! kept as records change, so nothing is recounted per ACK; what the peer holds is joined into few
//! records, so a look through those below the newest delivery is short.

mod loss;
#[cfg(test)]
mod model;
mod outcome;
mod rate;
#[cfg(any(test, debug_assertions))]
mod recount;
#[cfg(test)]
mod tests;

pub(crate) use loss::{Overdue, Patience};
pub(crate) use outcome::{AckOutcome, Arrived, Delivered};
pub(crate) use rate::RateSampler;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::ops::Range;

use crate::chunk::keep_room;
use crate::seq::SeqNum;
use crate::time::Instant;

/// Records beyond this many are kept coarser: no split at a SACK edge, no new record for new data.
/// It is more than the segments of a send buffer of 16 MiB.
const MAX_RECORDS: usize = 16_384;

/// New data sent in one turn shares a record up to this many bytes.
const MAX_RECORD_LEN: u32 = 64 << 10;

/// DupThresh (RFC 5681 §3.2, RFC 6675 §2).
pub(crate) const DUP_THRESH: u32 = 3;

/// What is known of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// On its way, as far as we know.
    InFlight,
    /// Held by the peer, above its cumulative ACK.
    Sacked,
    /// Judged lost and not sent again yet.
    Lost,
    /// Judged lost and sent again: on its way.
    Resent,
    /// Sent again without having been judged lost: on its way twice.
    Twice,
}

/// One transmission, or part of one.
#[derive(Clone, Copy, Debug)]
struct SentRange {
    start: SeqNum,
    len: u32,
    /// Payload of the segments it was cut into.
    mss: u16,
    /// It was sent more than once, ever.
    retransmitted: bool,
    fate: Fate,
    /// When it was sent last; of what is SACKed, when the first of it was.
    sent_at: Instant,
}

const _: () = assert!(size_of::<SentRange>() <= 24);

impl SentRange {
    fn end(&self) -> SeqNum {
        self.start + self.len
    }

    fn range(&self) -> Range<SeqNum> {
        self.start..self.end()
    }

    /// How many segments it makes.
    fn segments(&self) -> u32 {
        self.len.div_ceil(self.mss.into())
    }

    /// The whole segments of this record inside `range`. A SACK of a part says nothing of its
    /// segment (RFC 2018 §8 gives the receiver no reason to hold one).
    fn whole_segments(&self, range: &Range<SeqNum>) -> Option<Range<SeqNum>> {
        let mss = u32::from(self.mss);
        let left = range.start.max(self.start) - self.start;
        let left = self.start + left.next_multiple_of(mss);
        let right = if range.end < self.end() {
            let right = range.end - self.start;
            self.start + (right - right % mss)
        } else {
            self.end()
        };
        (left < right).then_some(left..right)
    }

    /// Whether what follows can share this record: the cuts between segments stay where they are.
    fn joins(&self, next_start: SeqNum, mss: u16) -> bool {
        self.end() == next_start && self.mss == mss && self.len.is_multiple_of(mss.into())
    }
}

/// What has ever happened to bytes, modulo 2³²: two readings tell what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ever {
    /// Judged lost.
    pub(crate) lost: u32,
    /// Reported by SACK.
    pub(crate) sacked: u32,
}

/// The records between SND.UNA and SND.NXT.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    records: VecDeque<SentRange>,
    /// Bytes in all records, and in those of one fate.
    outstanding: u32,
    sacked: u32,
    lost: u32,
    resent: u32,
    twice: u32,
    /// Segments in the records that are SACKed.
    sacked_segments: u32,
    /// Bytes that duplicate ACKs of a peer without SACK stand for.
    dup_acked: u32,
    ever: Ever,
    /// Nothing below is lost and waiting to be sent again.
    lost_from: Option<SeqNum>,
    /// Nothing from here on was sent again.
    repaired_to: Option<SeqNum>,
    /// Below this nothing is on its way but what was sent again.
    open_from: Option<SeqNum>,
    /// The highest number that is known to have arrived (RACK.fack).
    fack: Option<SeqNum>,
    /// Delivery rate samples, where the congestion controller wants them.
    sampler: Option<Box<RateSampler>>,
}

impl Flight {
    /// Frees what is held but the room for a few records: nobody looks at it again.
    pub(crate) fn free(&mut self) {
        keep_room(&mut self.records);
        self.sampler = None;
    }

    /// Takes over the room that another has left.
    pub(crate) fn take_room(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.records, &mut other.records);
    }

    /// Begins or ends the sampling of the delivery rate.
    pub(crate) fn sample_rate(&mut self, now: Instant, wanted: bool) {
        if wanted != self.sampler.is_some() {
            self.sampler = wanted.then(|| Box::new(RateSampler::new(now)));
        }
    }

    /// Delivery rate samples, if they are taken.
    pub(crate) fn sampler(&self) -> Option<&RateSampler> {
        self.sampler.as_deref()
    }

    /// Delivery rate samples, if they are taken.
    pub(crate) fn sampler_mut(&mut self) -> Option<&mut RateSampler> {
        self.sampler.as_deref_mut()
    }

    /// Bytes between SND.UNA and SND.NXT: FlightSize of RFC 5681 §2.
    pub(crate) const fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// What has ever happened.
    pub(crate) const fn ever(&self) -> Ever {
        self.ever
    }

    /// `pipe` of RFC 6675 §4: bytes thought to be in the network.
    pub(crate) const fn in_flight(&self) -> u32 {
        (self.outstanding + self.twice).saturating_sub(self.sacked + self.lost + self.dup_acked)
    }

    /// Bytes held by the peer above its cumulative ACK.
    pub(crate) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// RACK.segs_sacked.
    pub(crate) const fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    /// Bytes judged lost and not sent again yet.
    pub(crate) const fn lost(&self) -> u32 {
        self.lost
    }

    /// Whether all of it is on its way for the first time, as far as we know.
    pub(crate) const fn is_undisturbed(&self) -> bool {
        (self.sacked | self.lost | self.resent | self.twice | self.dup_acked) == 0
    }

    /// Bytes sent again without having been judged lost.
    pub(crate) const fn twice(&self) -> u32 {
        self.twice
    }

    /// Bytes that duplicate ACKs of a peer without SACK stand for.
    pub(crate) const fn dup_acked(&self) -> u32 {
        self.dup_acked
    }

    /// Whether anything was judged lost, be it sent again or not.
    pub(crate) const fn has_loss(&self) -> bool {
        self.lost + self.resent > 0
    }

    /// Bytes judged lost, sent again, and on their way.
    pub(crate) const fn resent(&self) -> u32 {
        self.resent
    }

    /// New data was sent, in segments of `mss`.
    pub(crate) fn on_sent(&mut self, now: Instant, range: Range<SeqNum>, mss: u32) {
        let (len, mss) = (range.end - range.start, segment_size(mss));
        let before = self.in_flight();
        self.outstanding += len;
        let after = self.in_flight();
        if let Some(sampler) = &mut self.sampler {
            sampler.on_sent(now, range.clone(), before, after);
        }
        let full = self.records.len() >= MAX_RECORDS;
        if let Some(last) = self.records.back_mut()
            && last.fate == Fate::InFlight
            && !last.retransmitted
        {
            let shares = last.sent_at == now && last.len + len <= MAX_RECORD_LEN;
            if shares && last.joins(range.start, mss) {
                last.len += len;
                return;
            }
            if full && last.end() == range.start {
                last.len += len;
                last.mss = 1; // where its segments end is not known any more
                return;
            }
        }
        self.records.push_back(SentRange {
            start: range.start,
            len,
            mss,
            retransmitted: false,
            fate: Fate::InFlight,
            sent_at: now,
        });
    }

    /// `range`, which lies in one record, was sent again in segments of `mss`.
    pub(crate) fn on_retransmit(&mut self, now: Instant, range: &Range<SeqNum>, mss: u32) {
        let before = self.in_flight();
        let first = self
            .next_lost()
            .is_some_and(|lost| lost.start == range.start);
        let Some(index) = self.cut_out(range) else {
            return;
        };
        if first {
            self.lost_from = Some(range.end);
        }
        let sent = &mut self.records[index];
        let fate = match sent.fate {
            Fate::Lost | Fate::Resent => Fate::Resent,
            Fate::InFlight | Fate::Twice => Fate::Twice,
            Fate::Sacked => return,
        };
        (sent.sent_at, sent.retransmitted, sent.mss) = (now, true, segment_size(mss));
        self.repaired_to = self.repaired_to.max(Some(range.end));
        self.set_fate(index, fate);
        let after = self.in_flight();
        if let Some(sampler) = &mut self.sampler {
            sampler.on_resent(now, range, before, after);
        }
    }

    /// `range` was sent again by rule (4) of RFC 6675's NextSeg: `pipe` takes no notice.
    pub(crate) fn on_rescue(&mut self, now: Instant, range: &Range<SeqNum>) {
        if let Some(index) = self.cut_out(range) {
            let sent = &mut self.records[index];
            (sent.sent_at, sent.retransmitted) = (now, true);
            self.repaired_to = self.repaired_to.max(Some(range.end));
        }
    }

    /// The oldest range that is lost and not sent again yet.
    pub(crate) fn next_lost(&self) -> Option<Range<SeqNum>> {
        if self.lost == 0 {
            return None;
        }
        let from = self
            .lost_from
            .map_or(0, |from| self.records.partition_point(|s| s.end() <= from));
        self.records
            .range(from..)
            .find(|sent| sent.fate == Fate::Lost)
            .map(SentRange::range)
    }

    /// The last segment, unless the peer holds it: what a probe of the tail sends again.
    pub(crate) fn tail(&self) -> Option<Range<SeqNum>> {
        let last = self.records.back()?;
        let rest = (last.len - 1) / u32::from(last.mss) * u32::from(last.mss);
        (last.fate != Fate::Sacked).then(|| last.start + rest..last.end())
    }

    /// The lowest hole below what the peer holds that was neither judged lost nor sent again:
    /// rule (3) of RFC 6675's NextSeg.
    pub(crate) fn next_hole(&self) -> Option<Range<SeqNum>> {
        if self.sacked == 0 {
            return None;
        }
        self.records
            .iter()
            .take_while(|sent| Some(sent.start) < self.fack)
            .find(|sent| sent.fate == Fate::InFlight)
            .map(SentRange::range)
    }

    /// The last range that the peer does not hold.
    pub(crate) fn highest_hole(&self) -> Option<Range<SeqNum>> {
        let held = |sent: &&SentRange| sent.fate != Fate::Sacked;
        self.records.iter().rev().find(held).map(SentRange::range)
    }

    /// The peer acknowledged everything below `una` and holds the SACK blocks above it. Blocks
    /// that make no sense are passed over (SK-10).
    pub(crate) fn on_ack(&mut self, now: Instant, arrived: &Arrived<'_>) -> AckOutcome {
        let mut outcome = AckOutcome {
            dsack: arrived.dsack(),
            ..AckOutcome::default()
        };
        let stood_for = self.dup_acked;
        self.on_cumulative(now, arrived, &mut outcome);
        outcome.delivered = outcome.acked - outcome.acked.min(stood_for - self.dup_acked);
        let rack_rtt = outcome.rack_rtt;
        let mut fack = self.fack.max(Some(arrived.una));
        for block in arrived.sack {
            let (left, right) = (
                arrived.una.expand(block.left),
                arrived.una.expand(block.right),
            );
            if arrived.una <= left && left < right && right <= arrived.nxt {
                self.on_sack(now, arrived, left..right, &mut outcome);
            }
        }
        fack = fack.max(outcome.highest);
        outcome.delivered += outcome.sacked;
        outcome.rack_rtt = rack_rtt.or(outcome.newest.map(|newest| newest.rtt));
        self.fack = fack;
        if let Some(sampler) = &mut self.sampler {
            sampler.on_ack(now, &outcome, arrived.una);
        }
        outcome
    }

    /// Whether nothing above `una` was ever sent twice, or is known to have arrived.
    pub(crate) fn is_first_try(&self, una: SeqNum) -> bool {
        self.repaired_to <= Some(una) && self.fack <= Some(una)
    }

    /// [`Flight::on_ack`] where everything [was sent once](Self::is_first_try): SND.UNA moves to
    /// `una`, and nothing else is said.
    pub(crate) fn on_plain_ack(&mut self, now: Instant, una: SeqNum) -> AckOutcome {
        let mut outcome = AckOutcome::default();
        while let Some(front) = self.records.front_mut()
            && front.start < una
        {
            let len = front.len.min(una - front.start);
            outcome.acked += len;
            outcome.on_first_try(now, front.sent_at, front.start + len);
            if len < front.len {
                (front.start, front.len) = (una, front.len - len);
                break;
            }
            self.records.pop_front();
        }
        self.outstanding -= outcome.acked;
        self.fack = Some(una);
        outcome.delivered = outcome.acked;
        outcome
    }

    /// A duplicate ACK of a peer without SACK: `bytes` more have left the network. Returns those
    /// that count; they never add up to more than what is outstanding.
    pub(crate) fn on_dup_ack(&mut self, bytes: u32) -> u32 {
        let room = self.outstanding.saturating_sub(self.lost + bytes);
        let before = self.dup_acked;
        self.dup_acked = (self.dup_acked + bytes).min(room).max(before);
        self.dup_acked - before
    }

    fn on_cumulative(&mut self, now: Instant, arrived: &Arrived<'_>, outcome: &mut AckOutcome) {
        let before = self.outstanding;
        let mut ambiguous = false;
        while let Some(front) = self.records.front()
            && front.start < arrived.una
        {
            self.split(0, arrived.una);
            let Some(gone) = self.records.pop_front() else {
                break;
            };
            self.uncount(&gone);
            self.outstanding -= gone.len;
            if gone.fate != Fate::Sacked {
                outcome.acked += gone.len;
                outcome.on_delivered(now, arrived, &gone);
                outcome.on_order(self.fack, &gone);
                ambiguous |= gone.retransmitted;
            }
        }
        if ambiguous {
            outcome.rtt = None; // what came after the hole may have waited there
        }
        self.dup_acked = self.dup_acked.saturating_sub(before - self.outstanding);
    }

    fn on_sack(
        &mut self,
        now: Instant,
        arrived: &Arrived<'_>,
        block: Range<SeqNum>,
        outcome: &mut AckOutcome,
    ) {
        let mut at = block.start;
        while at < block.end
            && let Some(&sent) = self.records.get(self.index_of(at))
        {
            if sent.fate != Fate::Sacked
                && let Some(whole) = sent.whole_segments(&block)
                && (whole == sent.range() || self.records.len() < MAX_RECORDS)
                && let Some(index) = self.cut_out(&whole)
            {
                let sent = self.records[index];
                outcome.sacked += sent.len;
                outcome.on_delivered(now, arrived, &sent);
                outcome.on_order(self.fack, &sent);
                self.set_fate(index, Fate::Sacked);
                self.records[index].sent_at = now;
                self.join(index);
            }
            at = sent.end();
        }
    }

    /// Joins the SACKed record at `index` with its SACKed neighbours. Where they were cut does not
    /// matter any more, only how many segments they were.
    fn join(&mut self, index: usize) {
        for left in [Some(index), index.checked_sub(1)].into_iter().flatten() {
            let (Some(&one), Some(&next)) = (self.records.get(left), self.records.get(left + 1))
            else {
                continue;
            };
            if (one.fate, next.fate) == (Fate::Sacked, Fate::Sacked) {
                let (len, segments) = (one.len + next.len, one.segments() + next.segments());
                let joined = SentRange {
                    len,
                    mss: segment_size(len.div_ceil(segments)),
                    retransmitted: one.retransmitted | next.retransmitted,
                    sent_at: one.sent_at.min(next.sent_at),
                    ..one
                };
                self.uncount(&one);
                self.uncount(&next);
                self.records.remove(left + 1);
                self.records[left] = joined;
                self.count(&joined);
            }
        }
    }

    /// The record that `at` lies in; the number of records if none.
    fn index_of(&self, at: SeqNum) -> usize {
        self.records.partition_point(|sent| sent.end() <= at)
    }

    /// Makes a record of its own of `range`, which lies in one record, and returns where it is.
    fn cut_out(&mut self, range: &Range<SeqNum>) -> Option<usize> {
        let index = self.index_of(range.start);
        let begins_before = self.records.get(index)?.start < range.start;
        self.split(index, range.start);
        let index = index + usize::from(begins_before);
        self.split(index, range.end);
        Some(index)
    }

    /// Cuts a record in two at `at`, if that lies inside it.
    fn split(&mut self, index: usize, at: SeqNum) {
        let sent = self.records[index];
        if sent.start < at && at < sent.end() {
            self.uncount(&sent);
            let rest = SentRange {
                start: at,
                len: sent.end() - at,
                ..sent
            };
            self.records[index].len = at - sent.start;
            self.records.insert(index + 1, rest);
            let first = self.records[index];
            self.count(&first);
            self.count(&rest);
        }
    }

    fn set_fate(&mut self, index: usize, fate: Fate) {
        let sent = self.records[index];
        self.uncount(&sent);
        self.records[index].fate = fate;
        self.count(&SentRange { fate, ..sent });
        if fate == Fate::Sacked {
            self.ever.sacked = self.ever.sacked.wrapping_add(sent.len);
        }
        if fate == Fate::Lost {
            self.ever.lost = self.ever.lost.wrapping_add(sent.len);
            if let Some(sampler) = self.sampler.as_mut().filter(|_| sent.fate != fate) {
                sampler.on_lost(sent.range());
            }
            let from = self.lost_from.map_or(sent.start, |at| at.min(sent.start));
            self.lost_from = Some(from);
            // Of what is lost no duplicate ACK can tell that it arrived.
            self.dup_acked = self.dup_acked.min(self.outstanding - self.lost);
        }
    }

    fn count(&mut self, sent: &SentRange) {
        match sent.fate {
            Fate::InFlight => {}
            Fate::Sacked => {
                self.sacked += sent.len;
                self.sacked_segments += sent.segments();
            }
            Fate::Lost => self.lost += sent.len,
            Fate::Resent => self.resent += sent.len,
            Fate::Twice => self.twice += sent.len,
        }
    }

    fn uncount(&mut self, sent: &SentRange) {
        match sent.fate {
            Fate::InFlight => {}
            Fate::Sacked => {
                self.sacked -= sent.len;
                self.sacked_segments -= sent.segments();
            }
            Fate::Lost => self.lost -= sent.len,
            Fate::Resent => self.resent -= sent.len,
            Fate::Twice => self.twice -= sent.len,
        }
    }
}

fn segment_size(mss: u32) -> u16 {
    mss.clamp(1, u16::MAX.into()) as u16
}
