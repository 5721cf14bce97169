//! What is in flight: one record per transmission, and what the peer's SACKs say of it.
//!
//! Records lie in sequence order and cover SND.UNA..SND.NXT without a gap. The byte counters are
//! kept as records change, so nothing is recounted per ACK.

use alloc::collections::VecDeque;
use core::ops::Range;

use crate::segment::SackBlocks;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// Records beyond this many are kept coarser: no split at a SACK edge, no new record for new data.
const MAX_RECORDS: usize = 1024;

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
}

/// One transmission, or part of one.
#[derive(Clone, Copy, Debug)]
struct SentRange {
    start: SeqNum,
    len: u32,
    /// How often it was sent, saturating.
    transmits: u8,
    fate: Fate,
    /// When it was sent last.
    sent_at: Instant,
}

const _: () = assert!(size_of::<SentRange>() <= 32);

impl SentRange {
    fn end(&self) -> SeqNum {
        self.start + self.len
    }

    fn range(&self) -> Range<SeqNum> {
        self.start..self.end()
    }
}

/// What an ACK said about the flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckOutcome {
    /// Bytes newly acknowledged by SND.UNA that were not SACKed before.
    pub(crate) acked: u32,
    /// Bytes newly SACKed.
    pub(crate) sacked: u32,
    /// Round trip of the newest transmission delivered, never of a retransmission (Karn).
    pub(crate) rtt: Option<Duration>,
    /// The delivered transmission that was sent last, retransmissions included.
    pub(crate) newest: Option<Delivered>,
    /// The peer reports data it had already (RFC 2883).
    pub(crate) duplicate: bool,
}

impl AckOutcome {
    /// Bytes that this ACK says have left the network.
    pub(crate) fn delivered(&self) -> u32 {
        self.acked + self.sacked
    }

    fn on_delivered(&mut self, now: Instant, sent: &SentRange) {
        let delivered = Delivered {
            sent_at: sent.sent_at,
            end: sent.end(),
            rtt: now - sent.sent_at,
            retransmitted: sent.transmits > 1,
        };
        if self
            .newest
            .is_none_or(|newest| newest.order() <= delivered.order())
        {
            self.newest = Some(delivered);
            if !delivered.retransmitted {
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
    /// Its round trip (RACK.rtt).
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

/// The records between SND.UNA and SND.NXT.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    records: VecDeque<SentRange>,
    outstanding: u32,
    sacked: u32,
    lost: u32,
    /// Bytes that duplicate ACKs of a peer without SACK stand for.
    dup_acked: u32,
    /// The highest number SACKed so far (RACK.fack).
    highest_sacked: Option<SeqNum>,
    /// A first transmission arrived after something above it (RACK.reordering_seen).
    reordering_seen: bool,
}

impl Flight {
    /// Bytes between SND.UNA and SND.NXT.
    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// `pipe` of RFC 6675 §4: bytes thought to be in the network.
    pub(crate) fn in_flight(&self) -> u32 {
        self.outstanding
            .saturating_sub(self.sacked + self.lost + self.dup_acked)
    }

    /// New data was sent.
    pub(crate) fn on_sent(&mut self, now: Instant, range: Range<SeqNum>) {
        let len = range.end - range.start;
        self.outstanding += len;
        let full = self.records.len() >= MAX_RECORDS;
        if let Some(last) = self.records.back_mut()
            && last.end() == range.start
            && last.transmits == 1
            && last.fate == Fate::InFlight
            && (full || last.sent_at == now && last.len + len <= MAX_RECORD_LEN)
        {
            last.len += len;
            return;
        }
        self.records.push_back(SentRange {
            start: range.start,
            len,
            transmits: 1,
            fate: Fate::InFlight,
            sent_at: now,
        });
    }

    /// The front of the oldest lost record was sent again, up to `end`.
    pub(crate) fn on_retransmit(&mut self, now: Instant, end: SeqNum) {
        let Some(index) = self.records.iter().position(|sent| sent.fate == Fate::Lost) else {
            return;
        };
        self.split(index, end);
        let sent = &mut self.records[index];
        self.lost -= sent.len;
        sent.fate = Fate::InFlight;
        sent.sent_at = now;
        sent.transmits = sent.transmits.saturating_add(1);
    }

    /// The oldest range that is lost and not sent again yet.
    pub(crate) fn next_lost(&self) -> Option<Range<SeqNum>> {
        if self.lost == 0 {
            return None;
        }
        self.records
            .iter()
            .find(|sent| sent.fate == Fate::Lost)
            .map(SentRange::range)
    }

    /// The peer acknowledged everything below `una` and holds `sack` above it. Blocks that make
    /// no sense are passed over (SK-10).
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        una: SeqNum,
        nxt: SeqNum,
        sack: &SackBlocks,
    ) -> AckOutcome {
        let mut outcome = AckOutcome::default();
        self.on_cumulative(now, una, &mut outcome);
        let mut highest = self.highest_sacked;
        for block in sack {
            let (left, right) = (una.expand(block.left), una.expand(block.right));
            if left >= right || right > nxt {
                continue;
            }
            if left < una {
                outcome.duplicate |= right <= una;
                continue;
            }
            self.on_sack(now, left..right, &mut outcome);
            highest = highest.max(Some(right));
        }
        self.highest_sacked = highest;
        outcome
    }

    /// A duplicate ACK of a peer without SACK: one more segment has left the network.
    pub(crate) fn on_dup_ack(&mut self, mss: u32) {
        let room = self.outstanding.saturating_sub(self.lost + mss);
        self.dup_acked = (self.dup_acked + mss).min(room);
    }

    /// RFC 6675 §4 `IsLost`: judges lost every first transmission with DupThresh SACKed ranges,
    /// or more than DupThresh − 1 segments of SACKed bytes, above it. Returns the bytes.
    pub(crate) fn mark_lost_by_sack(&mut self, mss: u32) -> u32 {
        if self.sacked == 0 {
            return 0;
        }
        let (mut bytes, mut ranges, mut above) = (0, 0, false);
        let mut judged = 0;
        for sent in self.records.iter_mut().rev() {
            match sent.fate {
                Fate::Sacked => {
                    bytes += sent.len;
                    ranges += u32::from(!above);
                    above = true;
                    continue;
                }
                Fate::InFlight
                    if sent.transmits == 1
                        && (ranges >= DUP_THRESH || bytes > (DUP_THRESH - 1) * mss) =>
                {
                    sent.fate = Fate::Lost;
                    judged += sent.len;
                }
                Fate::InFlight | Fate::Lost => {}
            }
            above = false;
        }
        self.lost += judged;
        judged
    }

    /// RFC 8985 §6.2 step 5: judges lost what was sent before `newest` and at least `patience`
    /// ago. Returns the bytes, and when the next one's time is up.
    pub(crate) fn mark_lost_by_time(
        &mut self,
        now: Instant,
        newest: Delivered,
        patience: Duration,
    ) -> (u32, Option<Instant>) {
        let (mut judged, mut next) = (0, None);
        for sent in &mut self.records {
            if sent.fate != Fate::InFlight || (sent.sent_at, sent.end()) >= newest.order() {
                continue;
            }
            let due = sent.sent_at + patience;
            if due <= now {
                sent.fate = Fate::Lost;
                judged += sent.len;
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        self.lost += judged;
        (judged, next)
    }

    /// Has the last segment sent again, as a probe of the tail (RFC 8985 §7.3); false when there
    /// is nothing to probe with.
    pub(crate) fn mark_tail_lost(&mut self, mss: u32) -> bool {
        let Some(last) = self.records.back() else {
            return false;
        };
        if last.fate != Fate::InFlight {
            return false;
        }
        let (index, start) = (
            self.records.len() - 1,
            last.start + (last.len - last.len.min(mss)),
        );
        self.split(index, start);
        if let Some(last) = self.records.back_mut() {
            last.fate = Fate::Lost;
            self.lost += last.len;
        }
        true
    }

    /// Bytes held by the peer above its cumulative ACK.
    pub(crate) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Whether the path has been seen to reorder.
    pub(crate) const fn reordering_seen(&self) -> bool {
        self.reordering_seen
    }

    /// Judges the oldest segment lost (RFC 6582 §3.2: third duplicate ACK, or a partial ACK).
    /// Returns the bytes.
    pub(crate) fn mark_front_lost(&mut self, mss: u32) -> u32 {
        let Some(front) = self.records.front() else {
            return 0;
        };
        if front.fate != Fate::InFlight {
            return 0;
        }
        let end = front.start + mss.min(front.len);
        self.split(0, end);
        let front = &mut self.records[0];
        front.fate = Fate::Lost;
        self.lost += front.len;
        self.dup_acked = self
            .dup_acked
            .min(self.outstanding.saturating_sub(self.lost));
        front.len
    }

    /// Judges everything lost that the peer does not hold: the retransmission timer fired, or the
    /// path shrank. If even the oldest byte was SACKed, the peer has reneged and no SACK counts
    /// any more (RFC 2018 §8).
    pub(crate) fn mark_all_lost(&mut self) {
        let reneged = self
            .records
            .front()
            .is_some_and(|sent| sent.fate == Fate::Sacked);
        for sent in &mut self.records {
            if sent.fate == Fate::InFlight || reneged {
                sent.fate = Fate::Lost;
            }
        }
        if reneged {
            self.sacked = 0;
        }
        self.lost = self.outstanding - self.sacked;
        self.dup_acked = 0;
    }

    /// Whether anything was judged lost, be it sent again or not.
    pub(crate) fn has_loss(&self) -> bool {
        let again = |sent: &SentRange| sent.transmits > 1 && sent.fate == Fate::InFlight;
        self.lost > 0 || self.records.iter().any(again)
    }

    fn on_cumulative(&mut self, now: Instant, una: SeqNum, outcome: &mut AckOutcome) {
        let before = self.outstanding;
        while let Some(front) = self.records.front_mut() {
            if front.start >= una {
                break;
            }
            let gone = SentRange {
                len: front.len.min(una - front.start),
                ..*front
            };
            if gone.len == front.len {
                self.records.pop_front();
            } else {
                front.start = una;
                front.len -= gone.len;
            }
            self.outstanding -= gone.len;
            match gone.fate {
                Fate::Sacked => self.sacked -= gone.len,
                Fate::Lost => {
                    self.lost -= gone.len;
                    outcome.acked += gone.len;
                }
                Fate::InFlight => {
                    outcome.acked += gone.len;
                    outcome.on_delivered(now, &gone);
                    self.reordering_seen |=
                        gone.transmits == 1 && self.highest_sacked > Some(gone.end());
                }
            }
        }
        self.dup_acked = self.dup_acked.saturating_sub(before - self.outstanding);
    }

    fn on_sack(&mut self, now: Instant, block: Range<SeqNum>, outcome: &mut AckOutcome) {
        let mut index = self
            .records
            .partition_point(|sent| sent.end() <= block.start);
        while let Some(&sent) = self.records.get(index)
            && sent.start < block.end
        {
            let whole = block.start <= sent.start && sent.end() <= block.end;
            if sent.fate == Fate::Sacked || !whole && self.records.len() >= MAX_RECORDS {
                index += 1;
            } else if sent.start < block.start {
                self.split(index, block.start);
                index += 1;
            } else {
                self.split(index, block.end);
                self.mark_sacked(now, index, outcome);
                index += 1;
            }
        }
    }

    fn mark_sacked(&mut self, now: Instant, index: usize, outcome: &mut AckOutcome) {
        let sent = &mut self.records[index];
        match sent.fate {
            Fate::Lost => self.lost -= sent.len,
            Fate::InFlight => {
                outcome.on_delivered(now, sent);
                self.reordering_seen |=
                    sent.transmits == 1 && self.highest_sacked > Some(sent.end());
            }
            Fate::Sacked => return,
        }
        sent.fate = Fate::Sacked;
        self.sacked += sent.len;
        outcome.sacked += sent.len;
    }

    /// Cuts a record in two at `at`, if that lies inside it.
    fn split(&mut self, index: usize, at: SeqNum) {
        let sent = self.records[index];
        if sent.start < at && at < sent.end() {
            self.records[index].len = at - sent.start;
            self.records.insert(
                index + 1,
                SentRange {
                    start: at,
                    len: sent.end() - at,
                    ..sent
                },
            );
        }
    }

    /// Recounts what the counters say; a debugging aid for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let sum = |fate| {
            self.records
                .iter()
                .filter(|s| Some(s.fate) == fate || fate.is_none())
                .map(|s| s.len)
                .sum()
        };
        assert_eq!(self.outstanding, sum(None));
        assert_eq!(self.sacked, sum(Some(Fate::Sacked)));
        assert_eq!(self.lost, sum(Some(Fate::Lost)));
        let mut records = self.records.iter().peekable();
        while let (Some(sent), Some(next)) = (records.next(), records.peek()) {
            assert_eq!(sent.end(), next.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SackBlock;
    use crate::seq::WireSeq;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    const MSS: u32 = 100;

    fn at(segment: u32) -> SeqNum {
        SeqNum::first(WireSeq(0)) + segment * MSS
    }

    fn sack(blocks: &[(u32, u32)]) -> SackBlocks {
        let block = |&(left, right)| SackBlock {
            left: at(left).wire(),
            right: at(right).wire(),
        };
        blocks.iter().map(block).collect()
    }

    fn ten_segments() -> Flight {
        let mut flight = Flight::default();
        (0..10).for_each(|n| flight.on_sent(Instant::from_millis(n.into()), at(n)..at(n + 1)));
        flight
    }

    /// SR-1: three SACKed ranges, or more than two segments of SACKed bytes, above a hole.
    #[test]
    fn a_hole_is_lost_at_the_third_segment_above_it() {
        let mut flight = ten_segments();
        let now = Instant::from_millis(50);
        flight.on_ack(now, at(0), at(10), &sack(&[(1, 3)]));
        assert_eq!(flight.mark_lost_by_sack(MSS), 0);
        flight.on_ack(now, at(0), at(10), &sack(&[(1, 4)]));
        assert_eq!(flight.mark_lost_by_sack(MSS), MSS);
        assert_eq!(flight.next_lost(), Some(at(0)..at(1)));
        assert_eq!(flight.in_flight(), 6 * MSS);
    }

    #[test]
    fn one_ack_can_show_several_holes() {
        let mut flight = ten_segments();
        flight.on_ack(
            Instant::from_millis(50),
            at(0),
            at(10),
            &sack(&[(7, 10), (3, 4), (1, 2)]),
        );
        assert_eq!(flight.mark_lost_by_sack(MSS), 5 * MSS);
        assert_eq!(flight.in_flight(), 0);
    }

    /// RT-6: no sample from what was sent twice.
    #[test]
    fn retransmissions_give_no_sample() {
        let mut flight = ten_segments();
        flight.mark_all_lost();
        flight.on_retransmit(Instant::from_millis(100), at(1));
        let outcome = flight.on_ack(Instant::from_millis(110), at(1), at(10), &sack(&[]));
        assert_eq!((outcome.acked, outcome.rtt), (MSS, None));
        assert_eq!(outcome.newest.unwrap().rtt, Duration::from_millis(10));
    }

    #[test]
    fn the_sample_is_of_the_newest_segment() {
        let mut flight = ten_segments();
        let outcome = flight.on_ack(Instant::from_millis(20), at(5), at(10), &sack(&[]));
        assert_eq!(outcome.rtt, Some(Duration::from_millis(16)));
    }

    /// SK-10: inverted, out of range, or below SND.UNA.
    #[test]
    fn senseless_blocks_change_nothing() {
        let mut flight = ten_segments();
        let now = Instant::from_millis(50);
        let blocks = sack(&[(5, 3), (8, 12), (4, 4)]);
        assert_eq!(flight.on_ack(now, at(2), at(10), &blocks).sacked, 0);
        assert!(
            flight
                .on_ack(now, at(2), at(10), &sack(&[(0, 1)]))
                .duplicate
        );
        flight.check();
    }

    /// RFC 2018 §8: a timeout with SND.UNA SACKed means that the peer threw data away.
    #[test]
    fn a_reneging_peer_gets_everything_again() {
        let mut flight = ten_segments();
        let now = Instant::from_millis(50);
        flight.on_ack(now, at(0), at(10), &sack(&[(0, 5)]));
        flight.mark_all_lost();
        assert_eq!(flight.next_lost(), Some(at(0)..at(1)));
        assert_eq!(flight.in_flight(), 0);
        flight.check();
    }

    #[derive(Clone, Debug)]
    enum Op {
        Send(u32),
        Ack(u32, Vec<(u32, u32)>),
        DetectBySack,
        Retransmit(u32),
        Timeout,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (1u32..20).prop_map(Op::Send),
            (
                0u32..5,
                proptest::collection::vec((0u32..40, 1u32..10), 0..4)
            )
                .prop_map(|(ahead, blocks)| Op::Ack(ahead, blocks)),
            Just(Op::DetectBySack),
            (1u32..4).prop_map(Op::Retransmit),
            Just(Op::Timeout),
        ]
    }

    proptest! {
        /// The counters equal a recount, whatever happens, and what was SACKed or acknowledged
        /// is never sent again (short of a timeout).
        #[test]
        fn counters_equal_a_recount(ops in proptest::collection::vec(op(), 1..200)) {
            let (mut flight, mut una, mut nxt) = (Flight::default(), 0u32, 0u32);
            let mut now = Instant::ZERO;
            let mut held = HashSet::new();
            for op in ops {
                now += Duration::from_millis(1);
                match op {
                    Op::Send(n) => {
                        flight.on_sent(now, at(nxt)..at(nxt + n));
                        nxt += n;
                    }
                    Op::Ack(ahead, blocks) => {
                        una = (una + ahead).min(nxt);
                        let blocks: Vec<_> = blocks
                            .into_iter()
                            .map(|(left, len)| (una + left, una + left + len))
                            .filter(|(_, right)| *right <= nxt)
                            .collect();
                        for (left, right) in &blocks {
                            held.extend(*left..*right);
                        }
                        flight.on_ack(now, at(una), at(nxt), &sack(&blocks));
                    }
                    Op::DetectBySack => {
                        flight.mark_lost_by_sack(MSS);
                    }
                    Op::Retransmit(n) => if let Some(lost) = flight.next_lost() {
                        let first = (lost.start - at(0)) / MSS;
                        prop_assert!(first >= una && !held.contains(&first), "{first} is there");
                        flight.on_retransmit(now, lost.end.min(lost.start + n * MSS));
                    },
                    Op::Timeout => {
                        if held.contains(&una) {
                            held.clear();
                        }
                        flight.mark_all_lost();
                    }
                }
                flight.check();
                prop_assert_eq!(flight.outstanding(), (nxt - una) * MSS);
            }
        }
    }
}
