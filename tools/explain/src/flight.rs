//! What one end has sent and the other has not acknowledged yet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::moment::Moment;

/// Ranges kept of what is on its way; above that the oldest are forgotten.
const MAX_RANGES: usize = 8192;
/// Ranges kept of what has arrived, for those that come once more.
const MAX_PAST: usize = 128;

/// A range of positions as it was sent last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When any of it passed first, and last.
    pub(crate) first: Moment,
    pub(crate) last: Moment,
    /// How often it passed; 0: what follows it did, and it did not.
    pub(crate) times: u32,
    pub(crate) sacked: bool,
    /// Since when the receiver says that something below what it got is missing.
    pub(crate) signal: Option<Moment>,
    /// Bytes of the packet that carried it last, and its TSval.
    pub(crate) wire: usize,
    pub(crate) tsval: Option<u32>,
}

/// A segment that passes, as a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    pub(crate) now: Moment,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes of its packet.
    pub(crate) wire: usize,
    pub(crate) tsval: Option<u32>,
}

/// What a segment is to those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// It goes on where the last one ended, or leaves a gap.
    New,
    /// It fills a gap, as it was until now.
    Late(Sent),
    /// It was here before.
    Again(Sent),
    /// It was acknowledged before it came by, or so long ago that nobody remembers.
    Old,
}

/// What an acknowledgment covers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acked {
    pub(crate) bytes: u64,
    /// How long ago the last of it was sent, if only once.
    pub(crate) after: Option<Duration>,
    /// The largest packet among it.
    pub(crate) wire: usize,
}

/// Ranges in order, the first unacknowledged one first.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    ranges: VecDeque<Sent>,
    past: VecDeque<Sent>,
    /// Everything below is acknowledged.
    pub(crate) una: u64,
    /// After the highest position that passed.
    pub(crate) nxt: u64,
    /// Up to here ranges know that something above them has arrived.
    signaled: u64,
    /// Ranges that had to be forgotten.
    pub(crate) forgotten: u64,
    /// Bytes that arrived and never came by here.
    pub(crate) missed: u64,
}

impl Flight {
    /// Bytes of memory that it takes, about.
    pub(crate) fn held(&self) -> usize {
        (self.ranges.len() + self.past.len()) * size_of::<Sent>()
    }

    /// Nothing more is expected: what is kept for repetitions is forgotten.
    pub(crate) fn rest(&mut self) {
        self.past = VecDeque::new();
        self.ranges.shrink_to_fit();
    }

    /// Positions between what is acknowledged and what was sent last.
    pub(crate) fn size(&self) -> u64 {
        self.nxt.saturating_sub(self.una)
    }

    /// The first range that nobody has acknowledged, in part or by SACK.
    pub(crate) fn first(&self) -> Option<&Sent> {
        self.ranges.iter().find(|range| !range.sacked)
    }

    /// The SYN lies behind, seen or not.
    pub(crate) fn begin(&mut self) {
        if self.nxt == 0 {
            (self.una, self.nxt) = (1, 1);
        }
    }

    /// A segment passes.
    pub(crate) fn send(&mut self, passing: &Passing) -> Place {
        let Passing {
            now,
            start,
            end,
            wire,
            tsval,
        } = *passing;
        let fresh = Sent {
            start,
            end,
            first: now,
            last: now,
            times: 1,
            sacked: false,
            signal: None,
            wire,
            tsval,
        };
        if start >= self.nxt {
            if start > self.nxt && self.nxt > 0 {
                self.push(Sent {
                    start: self.nxt,
                    end: start,
                    times: 0,
                    ..fresh
                });
            }
            self.nxt = end;
            self.push(fresh);
            return Place::New;
        }
        let place = self.repeat(&fresh);
        if end > self.nxt {
            let start = self.nxt;
            self.nxt = end;
            self.push(Sent { start, ..fresh });
        }
        place
    }

    /// Some of `fresh` is there already.
    fn repeat(&mut self, fresh: &Sent) -> Place {
        self.split(fresh.start);
        self.split(fresh.end.min(self.nxt));
        let (from, to) = (self.index(fresh.start), self.index(fresh.end));
        let mut known: Option<Sent> = None;
        let mut gap: Option<Sent> = None;
        for range in self.ranges.range_mut(from..to.max(from)) {
            if range.times == 0 {
                gap.get_or_insert(*range);
            } else {
                known.get_or_insert(*range);
                range.signal = None;
            }
            range.times += 1;
            range.last = fresh.last;
            range.wire = fresh.wire;
            range.tsval = fresh.tsval;
        }
        match (known, gap) {
            (Some(known), _) => Place::Again(known),
            (None, Some(gap)) => Place::Late(gap),
            (None, None) => self.repeat_past(fresh),
        }
    }

    /// What was acknowledged already comes once more.
    fn repeat_past(&mut self, fresh: &Sent) -> Place {
        let mut past = self.past.iter_mut().rev();
        let known = past.find(|one| one.start < fresh.end && fresh.start < one.end);
        let Some(known) = known.filter(|known| known.times > 0) else {
            return Place::Old;
        };
        let before = *known;
        known.times += 1;
        known.last = fresh.last;
        known.tsval = fresh.tsval;
        Place::Again(Sent {
            sacked: true,
            ..before
        })
    }

    /// Everything below `ack` has arrived.
    pub(crate) fn acknowledge(&mut self, now: Moment, ack: u64) -> Acked {
        let mut acked = Acked::default();
        if ack <= self.una {
            return acked;
        }
        self.split(ack);
        acked.bytes = ack - self.una;
        self.missed += ack.saturating_sub(self.nxt.max(self.una));
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        while self.ranges.front().is_some_and(|range| range.start < ack) {
            let Some(range) = self.ranges.pop_front() else {
                break;
            };
            if range.times == 1 && !range.sacked {
                acked.after = Some(now.at.saturating_sub(range.last.at));
            } else if range.times > 1 {
                acked.after = None;
            }
            if range.times == 0 {
                self.missed += range.end - range.start;
            } else {
                acked.wire = acked.wire.max(range.wire);
            }
            if self.past.len() == MAX_PAST {
                self.past.pop_front();
            }
            self.past.push_back(range);
        }
        acked
    }

    /// `left..right` has arrived out of order. Answers with what was not known, and the largest
    /// packet among it.
    pub(crate) fn sack(&mut self, now: Moment, left: u64, right: u64) -> Acked {
        let right = right.min(self.nxt);
        let mut acked = Acked::default();
        if left >= right || left < self.una {
            return acked;
        }
        self.split(left);
        self.split(right);
        let (from, to) = (self.index(left), self.index(right));
        for range in self.ranges.range_mut(from..to.max(from)) {
            if !range.sacked {
                range.sacked = true;
                acked.bytes += range.end - range.start;
                acked.wire = acked.wire.max(range.wire);
            }
        }
        if acked.bytes > 0 {
            self.signal(now, left);
        }
        acked
    }

    /// The receiver says that something below `above` is missing.
    pub(crate) fn signal(&mut self, now: Moment, above: u64) {
        let from = self.index(self.signaled);
        for range in self.ranges.range_mut(from..) {
            if range.start >= above {
                break;
            }
            if !range.sacked {
                range.signal.get_or_insert(now);
            }
        }
        self.signaled = self.signaled.max(above);
        // What was sent again lies below the mark, and needs to be told again.
        if let Some(first) = self.ranges.iter_mut().find(|range| !range.sacked)
            && first.start < above
        {
            first.signal.get_or_insert(now);
        }
    }

    fn push(&mut self, range: Sent) {
        if range.start >= range.end {
            return;
        }
        if self.ranges.len() == MAX_RANGES {
            self.shed();
        }
        self.ranges.push_back(range);
    }

    /// Forgets the older half.
    pub(crate) fn shed(&mut self) {
        let half = self.ranges.len().div_ceil(2);
        self.ranges.drain(..half);
        self.rest();
        self.forgotten += half as u64;
    }

    /// The first range that ends above `at`.
    fn index(&self, at: u64) -> usize {
        self.ranges.partition_point(|range| range.end <= at)
    }

    /// No range shall lie across `at`.
    fn split(&mut self, at: u64) {
        let index = self.index(at);
        let Some(range) = self.ranges.get_mut(index).filter(|range| range.start < at) else {
            return;
        };
        let upper = Sent {
            start: at,
            ..*range
        };
        range.end = at;
        self.ranges.insert(index + 1, upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(packet: usize, start: u64, end: u64) -> Passing {
        Passing {
            now: at(packet),
            start,
            end,
            wire: 40 + (end - start) as usize,
            tsval: None,
        }
    }

    fn at(packet: usize) -> Moment {
        Moment {
            packet,
            at: Duration::from_millis(packet as u64),
        }
    }

    #[test]
    fn new_again_and_late_are_told_apart() {
        let mut flight = Flight::default();
        assert!(matches!(flight.send(&pass(1, 1, 101)), Place::New));
        assert!(matches!(flight.send(&pass(2, 201, 301)), Place::New));
        let Place::Late(gap) = flight.send(&pass(3, 101, 201)) else {
            panic!("it fills the gap");
        };
        assert_eq!(gap.first.packet, 2);
        let Place::Again(before) = flight.send(&pass(4, 101, 301)) else {
            panic!("it was here");
        };
        assert_eq!((before.last.packet, before.times), (3, 1));
        assert_eq!(flight.acknowledge(at(5), 301).bytes, 301);
        assert!(matches!(
            flight.send(&pass(6, 1, 101)),
            Place::Again(Sent {
                sacked: true,
                first: Moment { packet: 1, .. },
                ..
            })
        ));
        assert_eq!(flight.size(), 0);
    }

    #[test]
    fn a_sack_signals_what_lies_below_it_once() {
        let mut flight = Flight::default();
        for number in 0..4 {
            let start = 1 + number * 100;
            flight.send(&pass(number as usize, start, start + 100));
        }
        assert_eq!(flight.sack(at(10), 201, 301).bytes, 100);
        let signals = |flight: &Flight| {
            let signals = flight
                .ranges
                .iter()
                .map(|one| one.signal.map(|at| at.packet));
            signals.collect::<Vec<_>>()
        };
        assert_eq!(signals(&flight), [Some(10), Some(10), None, None]);
        flight.send(&pass(11, 1, 101));
        assert_eq!(signals(&flight), [None, Some(10), None, None]);
        assert_eq!(flight.sack(at(12), 301, 401).bytes, 100);
        assert_eq!(signals(&flight), [Some(12), Some(10), None, None]);
        assert_eq!(flight.sack(at(13), 301, 401).bytes, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut flight = Flight::default();
        for number in 0..3 * MAX_RANGES {
            let start = 1 + number as u64;
            flight.send(&pass(number, start, start + 1));
        }
        assert!(flight.ranges.len() <= MAX_RANGES && flight.forgotten > 0);
    }
}
