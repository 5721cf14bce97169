//! Which records are lost: by SACKed data above (RFC 6675), by time (RFC 8985), by a timeout.

use core::ops::Range;

use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::{DUP_THRESH, Delivered, Fate, Flight, SentRange};

/// What [`Flight::mark_lost_by_time`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// Bytes newly judged lost.
    pub(crate) lost: u32,
    /// Some of that had been lost and sent again before.
    pub(crate) lost_again: bool,
    /// When the next record's time is up.
    pub(crate) deadline: Option<Instant>,
}

/// How long RACK waits before it takes a transmission for lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// RACK.rtt.
    pub(crate) rtt: Duration,
    /// RACK.reo_wnd.
    pub(crate) window: Duration,
    /// What was overtaken has this long from then on: a queue that drains meanwhile makes the
    /// round trips of what was sent later shorter.
    pub(crate) settle: Duration,
    /// What is added for a repair that left in one instant with what was delivered.
    pub(crate) doubt: Duration,
}

impl Flight {
    /// RFC 6675 §4 `IsLost`: judges lost every range with DupThresh discontiguous SACKed ranges,
    /// or more than DupThresh − 1 segments of SACKed bytes, above it. Returns the bytes.
    pub(crate) fn mark_lost_by_sack(&mut self, mss: u32) -> u32 {
        if self.sacked == 0 {
            return 0;
        }
        let before = self.lost;
        let (mut bytes, mut ranges, mut above) = (0, 0, false);
        for index in (0..self.records.len()).rev() {
            let sent = self.records[index];
            let lost = ranges >= DUP_THRESH || bytes > (DUP_THRESH - 1) * mss;
            match sent.fate {
                Fate::Sacked => {
                    bytes += sent.len;
                    ranges += u32::from(!above);
                }
                Fate::InFlight if lost => self.set_fate(index, Fate::Lost),
                Fate::Twice if lost => self.set_fate(index, Fate::Resent),
                _ => {}
            }
            above = sent.fate == Fate::Sacked;
        }
        self.lost - before
    }

    /// RFC 8985 §6.2 step 5: judges lost what was sent before `newest`, once its time is up.
    ///
    /// It looks at what was sent again, and from [`Flight::open_from`] on: what lies between is
    /// held or lost, thousands of records after an overflow of a long queue.
    pub(crate) fn mark_lost_by_time(
        &mut self,
        now: Instant,
        newest: Delivered,
        patience: Patience,
    ) -> Overdue {
        let mut overdue = Overdue::default();
        let (mut index, mut held, mut open) = (0, 0, None);
        while let Some(&sent) = self.records.get(index) {
            let above = Some(sent.start) >= self.repaired_to;
            if above && Some(sent.start) < self.open_from {
                let from = self.open_from.map_or(0, |from| self.index_of(from));
                if from > index {
                    index = from;
                    continue;
                }
            }
            index += 1;
            if matches!(sent.fate, Fate::Sacked | Fate::Lost) {
                continue;
            }
            let later = (sent.sent_at, sent.end()) >= newest.order();
            let due = self.due(&sent, index, &mut held, newest, patience);
            if !later && due <= now {
                overdue.lost_again |= sent.fate == Fate::Resent;
                overdue.lost += sent.len;
                self.set_fate(index - 1, Fate::Lost);
                continue;
            }
            let last = later && !sent.retransmitted; // what follows was sent later, first or again
            if above || last {
                open.get_or_insert(sent.start);
            }
            if last {
                break;
            }
            if !later {
                overdue.deadline = Some(overdue.deadline.map_or(due, |next| next.min(due)));
            }
        }
        self.open_from = open.or(self.records.back().map(SentRange::end));
        overdue
    }

    /// When the time of `sent` is up; what follows it begins at `index`. `held` is the last record
    /// that was found to have overtaken another.
    pub(super) fn due(
        &self,
        sent: &SentRange,
        index: usize,
        held: &mut usize,
        newest: Delivered,
        patience: Patience,
    ) -> Instant {
        let due = sent.sent_at + patience.rtt + patience.window;
        if sent.retransmitted {
            if sent.sent_at == newest.sent_at && !newest.retransmitted {
                return due + patience.doubt; // which of the two left first is not known
            }
            return due;
        }
        if patience.settle.is_zero() {
            return due;
        }
        *held = self.next_held(index.max(*held));
        let overtook = self.records.get(*held).filter(|held| !held.retransmitted);
        overtook.map_or(due, |held| due.max(held.sent_at + patience.settle))
    }

    /// The first record from `index` on that the peer holds.
    fn next_held(&self, index: usize) -> usize {
        let above = self.records.iter().skip(index);
        let held = above.take_while(|sent| sent.fate != Fate::Sacked);
        index + held.count()
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
        let len = mss.min(front.len);
        let end = front.start + len;
        self.split(0, end);
        self.set_fate(0, Fate::Lost);
        len
    }

    /// The retransmission timer fired: judges lost SND.UNA's segment, and what was sent before
    /// `sent_before` (all of it, if that is not known; RFC 8985 §6.3, RFC 6675 §5.1). If even
    /// the oldest byte was SACKed, the peer has reneged, and no SACK counts any more (RFC 2018
    /// §8).
    pub(crate) fn mark_lost_on_timeout(&mut self, sent_before: Option<Instant>) {
        let reneged = self
            .records
            .front()
            .is_some_and(|sent| sent.fate == Fate::Sacked);
        for index in 0..self.records.len() {
            let sent = self.records[index];
            let recent = sent_before.is_some_and(|limit| sent.sent_at > limit) && index > 0;
            if reneged && sent.fate == Fate::Sacked {
                self.records[index].retransmitted = true; // when it was sent is not known any more
                self.repaired_to = self.repaired_to.max(Some(sent.end()));
            }
            if reneged || sent.fate != Fate::Sacked && !recent {
                self.set_fate(index, Fate::Lost);
            }
        }
        self.dup_acked = 0;
    }

    /// Judges lost what is on its way in segments of more than `most` bytes, from `from` on: the
    /// path shrank.
    pub(crate) fn mark_oversized(&mut self, from: SeqNum, most: u32) {
        let mut index = self.index_of(from);
        while let Some(&sent) = self.records.get(index) {
            if sent.fate == Fate::Sacked {
                // It has arrived.
            } else if sent.start < from && from < sent.end() {
                self.split(index, from);
            } else if u32::from(sent.mss).min(sent.len) > most {
                self.set_fate(index, Fate::Lost);
            }
            index += 1;
        }
        self.forgive();
    }

    /// Judges `range` lost, which was sent in one piece.
    pub(crate) fn mark_lost(&mut self, range: &Range<SeqNum>) {
        let sent = self.records.get(self.index_of(range.start));
        if sent.is_some_and(|sent| sent.fate == Fate::InFlight)
            && let Some(index) = self.cut_out(range)
        {
            self.set_fate(index, Fate::Lost);
        }
        self.forgive();
    }

    /// What was just judged lost says something of its size, and nothing of congestion.
    fn forgive(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            sampler.forgive();
        }
    }

    /// The alarm was false: what was judged lost and not sent again is on its way.
    pub(crate) fn restore(&mut self) {
        if self.lost == 0 {
            return;
        }
        self.open_from = None;
        for index in 0..self.records.len() {
            if self.records[index].fate == Fate::Lost {
                self.set_fate(index, Fate::InFlight);
            }
        }
    }
}
