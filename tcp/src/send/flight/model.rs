//! The flight against an oracle that knows of single segments only.

use super::*;
use crate::segment::{SackBlock, SackBlocks};
use crate::seq::WireSeq;
use crate::time::Duration;
use proptest::prelude::*;
use proptest::sample::Index;
use std::vec;
use std::vec::Vec;

const MSS: u32 = 100;

/// Close to a wrap of the wire's numbers.
const START: SeqNum = SeqNum::first(WireSeq(u32::MAX - 30 * MSS));

fn at(segment: u32) -> SeqNum {
    START + segment * MSS
}

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    /// So many segments are acknowledged, and there are blocks: bytes from SND.UNA, and lengths.
    Ack(u32, Vec<(i32, u32)>, Option<u8>),
    DupAck(u32),
    LostBySack,
    Lost(Index),
    FrontLost,
    Oversized(Index, bool),
    Timeout(Option<Index>),
    Restore,
    Retransmit(u32),
    Repeat(Index),
    Rescue,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    let segments = (0i32..12, 1u32..6).prop_map(|(at, len)| (at * MSS as i32, len * MSS));
    let block = prop_oneof![
        5 => segments,
        1 => (-300i32..1200, 1u32..600),
    ];
    let blocks = proptest::collection::vec(block, 0..4);
    prop_oneof![
        4 => (1u32..8).prop_map(Op::Send),
        5 => (0u32..4, blocks, proptest::option::of(0u8..10))
            .prop_map(|(ahead, blocks, min_rtt)| Op::Ack(ahead, blocks, min_rtt)),
        1 => (1u32..150).prop_map(Op::DupAck),
        1 => Just(Op::LostBySack),
        1 => index().prop_map(Op::Lost),
        1 => Just(Op::FrontLost),
        1 => (index(), any::<bool>()).prop_map(|(from, all)| Op::Oversized(from, all)),
        1 => proptest::option::of(index()).prop_map(Op::Timeout),
        1 => Just(Op::Restore),
        3 => (1u32..4).prop_map(Op::Retransmit),
        1 => index().prop_map(Op::Repeat),
        1 => Just(Op::Rescue),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Seg {
    number: u32,
    fate: Fate,
    sent_at: Instant,
    again: bool,
}

impl Seg {
    fn is(&self, fate: Fate) -> bool {
        self.fate == fate
    }
}

#[derive(Debug, Default)]
struct Oracle {
    una: u32,
    nxt: u32,
    segs: Vec<Seg>,
    fack: Option<SeqNum>,
    dup_acked: u32,
}

impl Oracle {
    fn bytes(&self, fate: Fate) -> u32 {
        self.segs.iter().filter(|seg| seg.is(fate)).count() as u32 * MSS
    }

    fn outstanding(&self) -> u32 {
        (self.nxt - self.una) * MSS
    }

    fn judge(&mut self, lost: impl Fn(&Seg) -> bool) {
        for seg in self.segs.iter_mut().filter(|seg| lost(seg)) {
            seg.fate = Fate::Lost;
        }
        let left = self.outstanding() - self.bytes(Fate::Lost);
        self.dup_acked = self.dup_acked.min(left);
    }

    /// RFC 6675 §4 `IsLost`, segment by segment.
    fn judge_by_sack(&mut self) {
        let old = self.segs.clone();
        for (index, seg) in self.segs.iter_mut().enumerate() {
            let above = &old[index + 1..];
            let held = above.iter().filter(|seg| seg.is(Fate::Sacked)).count() as u32;
            let begins = |pair: &[Seg]| !pair[0].is(Fate::Sacked) && pair[1].is(Fate::Sacked);
            let ranges = old[index..].windows(2).filter(|pair| begins(pair)).count();
            if ranges as u32 >= DUP_THRESH || held >= DUP_THRESH {
                seg.fate = match seg.fate {
                    Fate::InFlight => Fate::Lost,
                    Fate::Twice => Fate::Resent,
                    other => other,
                };
            }
        }
    }

    /// What an ACK delivers, in sequence order within `acked` and within each block.
    fn on_ack(&mut self, now: Instant, arrived: &Arrived<'_>) -> (AckOutcome, Vec<Duration>) {
        let before = self.segs.len();
        let mut acked: Vec<_> = self.segs.clone();
        acked.retain(|seg| at(seg.number + 1) <= arrived.una);
        self.una += acked.len() as u32;
        self.segs.drain(..acked.len());
        let passed = (before - self.segs.len()) as u32 * MSS;
        let stood_for = self.dup_acked;
        self.dup_acked = stood_for.saturating_sub(passed);
        acked.retain(|seg| !seg.is(Fate::Sacked));
        let sacked = self.take_blocks(now, arrived);
        let is_doubtful =
            |seg: &&Seg| seg.again && arrived.min_rtt.is_some_and(|min| now - seg.sent_at < min);
        let delivered = || acked.iter().chain(&sacked);
        let certain = || delivered().filter(|seg| !is_doubtful(seg));
        let newest = certain().max_by_key(|seg| (seg.sent_at, seg.number));
        let newest = newest.map(|seg| Delivered {
            sent_at: seg.sent_at,
            end: at(seg.number + 1),
            rtt: now - seg.sent_at,
            retransmitted: seg.again,
        });
        let last_acked = acked.iter().rfind(|seg| !is_doubtful(seg));
        let late = |seg: &&Seg| !seg.again && self.fack > Some(at(seg.number + 1));
        let reordered = delivered()
            .filter(late)
            .map(|seg| self.fack.expect("it was late") - at(seg.number));
        let originals = || delivered().filter(|seg| !seg.again);
        let acked_bytes = acked.len() as u32 * MSS;
        let outcome = AckOutcome {
            acked: acked_bytes,
            sacked: sacked.len() as u32 * MSS,
            delivered: acked_bytes - acked_bytes.min(stood_for - self.dup_acked)
                + sacked.len() as u32 * MSS,
            has_repairs: delivered().any(|seg| seg.again),
            newest,
            rack_rtt: last_acked
                .map(|seg| now - seg.sent_at)
                .or(newest.map(|newest| newest.rtt)),
            reordered: reordered.max().unwrap_or(0),
            original: originals().map(|seg| at(seg.number)).min(),
            highest: delivered().map(|seg| at(seg.number + 1)).max(),
            dsack: dsack(arrived),
            ..AckOutcome::default()
        };
        self.fack = self.fack.max(outcome.highest).max(Some(arrived.una));
        (outcome, originals().map(|seg| now - seg.sent_at).collect())
    }

    fn take_blocks(&mut self, now: Instant, arrived: &Arrived<'_>) -> Vec<Seg> {
        let mut sacked = Vec::new();
        for block in arrived.sack {
            let range = arrived.una.expand(block.left)..arrived.una.expand(block.right);
            if range.start < arrived.una || range.end > arrived.nxt {
                continue;
            }
            for seg in &mut self.segs {
                let whole = range.start <= at(seg.number) && at(seg.number + 1) <= range.end;
                if whole && !seg.is(Fate::Sacked) {
                    sacked.push(*seg);
                    (seg.fate, seg.sent_at) = (Fate::Sacked, now);
                }
            }
        }
        // Of what lies side by side only the first arrival is remembered.
        let runs = self
            .segs
            .chunk_by_mut(|one, next| one.is(Fate::Sacked) && next.is(Fate::Sacked));
        for run in runs {
            let first = run.iter().map(|seg| seg.sent_at).min().expect("a run");
            let again = run.iter().any(|seg| seg.again);
            for seg in run {
                (seg.sent_at, seg.again) = (first, again);
            }
        }
        sacked
    }

    fn on_timeout(&mut self, limit: Option<Instant>) {
        let reneged = self.segs.first().is_some_and(|seg| seg.is(Fate::Sacked));
        for seg in &mut self.segs {
            seg.again |= reneged && seg.is(Fate::Sacked);
            let recent = limit.is_some_and(|limit| seg.sent_at > limit);
            if reneged || !seg.is(Fate::Sacked) && !recent {
                seg.fate = Fate::Lost;
            }
        }
        self.dup_acked = 0;
    }

    fn repeat(&mut self, now: Instant, segments: Range<u32>) {
        for seg in &mut self.segs {
            if segments.contains(&seg.number) {
                (seg.sent_at, seg.again) = (now, true);
                seg.fate = match seg.fate {
                    Fate::Lost | Fate::Resent => Fate::Resent,
                    _ => Fate::Twice,
                };
            }
        }
    }

    fn check(&self, flight: &Flight) {
        assert_eq!(flight.recount(), Ok(()));
        let counted = [
            flight.outstanding(),
            flight.sacked(),
            flight.lost(),
            flight.resent(),
            flight.twice(),
            flight.dup_acked(),
            flight.sacked_segments() * MSS,
        ];
        let held = self.bytes(Fate::Sacked);
        let (lost, resent) = (self.bytes(Fate::Lost), self.bytes(Fate::Resent));
        let twice = self.bytes(Fate::Twice);
        let expected = [
            self.outstanding(),
            held,
            lost,
            resent,
            twice,
            self.dup_acked,
            held,
        ];
        assert_eq!(counted, expected);
        let gone = held + lost + self.dup_acked;
        let pipe = (self.outstanding() + twice).saturating_sub(gone);
        assert_eq!(flight.in_flight(), pipe);
        assert_eq!(flight.has_loss(), lost + resent > 0);
        let first = |fate| self.segs.iter().find(move |seg| seg.is(fate));
        let start = |seg: Option<&Seg>| seg.map(|seg| at(seg.number));
        let begins = |range: Option<Range<SeqNum>>| range.map(|range| range.start);
        assert_eq!(begins(flight.next_lost()), start(first(Fate::Lost)));
        let below_fack = |seg: &&Seg| held > 0 && Some(at(seg.number)) < self.fack;
        let hole = first(Fate::InFlight).filter(below_fack);
        assert_eq!(begins(flight.next_hole()), start(hole));
        let open = self.segs.iter().rfind(|seg| !seg.is(Fate::Sacked));
        let end = flight.highest_hole().map(|hole| hole.end);
        assert_eq!(end, open.map(|seg| at(seg.number + 1)));
        let last = self.segs.last().filter(|seg| !seg.is(Fate::Sacked));
        let tail = last.map(|seg| at(seg.number)..at(seg.number + 1));
        assert_eq!(flight.tail(), tail);
    }
}

/// RFC 2883 §4: below SEG.ACK, or inside the second block.
fn dsack(arrived: &Arrived<'_>) -> Option<Range<SeqNum>> {
    let expand = |seq| arrived.ack.expand(seq);
    let mut blocks = arrived
        .sack
        .iter()
        .map(|block| expand(block.left)..expand(block.right));
    let (first, second) = (blocks.next()?, blocks.next());
    let sane = |block: &Range<SeqNum>| block.end <= arrived.nxt;
    let inside = second
        .filter(sane)
        .is_some_and(|second| second.start <= first.start && first.end <= second.end);
    (sane(&first) && (first.end <= arrived.ack || inside)).then_some(first)
}

/// The flight, and what the oracle says of it.
#[derive(Default)]
struct Both {
    flight: Flight,
    oracle: Oracle,
    /// The peer uses SACK.
    sack: bool,
}

impl Both {
    fn apply(&mut self, op: &Op, now: Instant) {
        match op {
            Op::Send(n) => self.send(now, *n),
            Op::Ack(ahead, blocks, min_rtt) => self.ack(now, *ahead, blocks, *min_rtt),
            Op::DupAck(bytes) => self.dup_ack(*bytes),
            Op::LostBySack => self.judge_by_sack(),
            Op::FrontLost => self.judge_front(),
            Op::Restore => {
                self.flight.restore();
                let segs = self.oracle.segs.iter_mut();
                for seg in segs.filter(|seg| seg.is(Fate::Lost)) {
                    seg.fate = Fate::InFlight;
                }
            }
            Op::Retransmit(n) => self.retransmit(now, *n),
            Op::Rescue => self.rescue(now),
            _ if self.oracle.segs.is_empty() => {}
            Op::Lost(index) => self.judge(*index),
            Op::Oversized(index, all) => self.judge_oversized(*index, *all),
            Op::Timeout(index) => {
                let segs = &self.oracle.segs;
                let limit = index.map(|index| index.get(segs).sent_at);
                let limit = limit.filter(|limit| segs[0].sent_at <= *limit);
                self.flight.mark_lost_on_timeout(limit);
                self.oracle.on_timeout(limit);
            }
            Op::Repeat(index) => {
                let one = *index.get(&self.oracle.segs);
                if !one.is(Fate::Sacked) {
                    self.repeat(now, one.number..one.number + 1);
                }
            }
        }
    }

    fn send(&mut self, now: Instant, n: u32) {
        let new = self.oracle.nxt..self.oracle.nxt + n;
        self.flight.on_sent(now, at(new.start)..at(new.end), MSS);
        self.oracle.nxt = new.end;
        self.oracle.segs.extend(new.map(|number| Seg {
            number,
            fate: Fate::InFlight,
            sent_at: now,
            again: false,
        }));
    }

    fn ack(&mut self, now: Instant, ahead: u32, blocks: &[(i32, u32)], min_rtt: Option<u8>) {
        let una = (self.oracle.una + ahead).min(self.oracle.nxt);
        let blocks = if self.sack { blocks } else { &[] };
        let block = |&(from, len): &(i32, u32)| {
            let left = at(una).wire().wrapping_add(from as u32);
            let right = left.wrapping_add(len);
            SackBlock { left, right }
        };
        let sack: SackBlocks = blocks.iter().map(block).collect();
        let arrived = Arrived {
            ack: at(una),
            una: at(una),
            nxt: at(self.oracle.nxt),
            sack: &sack,
            min_rtt: min_rtt.map(|ms| Duration::from_millis(ms.into())),
            echo: None,
        };
        let mut outcome = self.flight.on_ack(now, &arrived);
        let (expected, rtts) = self.oracle.on_ack(now, &arrived);
        let rtt = outcome.rtt.take();
        assert!(rtt.is_none_or(|rtt| rtts.contains(&rtt)), "{rtt:?}");
        assert_eq!(outcome, expected);
    }

    fn dup_ack(&mut self, bytes: u32) {
        if self.sack || self.oracle.outstanding() == 0 {
            return;
        }
        let room = self.oracle.outstanding() - self.oracle.bytes(Fate::Lost);
        let more = bytes.min(room.saturating_sub(bytes + self.oracle.dup_acked));
        assert_eq!(self.flight.on_dup_ack(bytes), more);
        self.oracle.dup_acked += more;
    }

    fn judge_by_sack(&mut self) {
        if self.sack {
            let before = self.oracle.bytes(Fate::Lost);
            self.oracle.judge_by_sack();
            let newly = self.oracle.bytes(Fate::Lost) - before;
            assert_eq!(self.flight.mark_lost_by_sack(MSS), newly);
        }
    }

    fn judge_front(&mut self) {
        let front = self
            .oracle
            .segs
            .first()
            .filter(|seg| seg.is(Fate::InFlight));
        let (number, newly) = front.map_or((0, 0), |seg| (seg.number, MSS));
        assert_eq!(self.flight.mark_front_lost(MSS), newly);
        if newly > 0 {
            self.oracle.judge(|seg| seg.number == number);
        }
    }

    fn judge(&mut self, index: Index) {
        let one = index.get(&self.oracle.segs).number;
        self.flight.mark_lost(&(at(one)..at(one + 1)));
        self.oracle
            .judge(|seg| seg.number == one && seg.is(Fate::InFlight));
    }

    fn judge_oversized(&mut self, index: Index, all: bool) {
        let from = index.get(&self.oracle.segs).number;
        let most = if all { MSS - 1 } else { MSS };
        self.flight.mark_oversized(at(from), most);
        self.oracle
            .judge(|seg| all && seg.number >= from && !seg.is(Fate::Sacked));
    }

    fn retransmit(&mut self, now: Instant, n: u32) {
        let number = |seq: SeqNum| (seq - START) / MSS;
        if let Some(lost) = self.flight.next_lost() {
            let segments = number(lost.start)..number(lost.end).min(number(lost.start) + n);
            let repeated = |seg: &&Seg| segments.contains(&seg.number);
            let mut repeated = self.oracle.segs.iter().filter(repeated);
            assert!(repeated.all(|seg| seg.is(Fate::Lost)), "it was not lost");
            self.repeat(now, segments);
        }
    }

    fn repeat(&mut self, now: Instant, segments: Range<u32>) {
        let range = at(segments.start)..at(segments.end);
        self.flight.on_retransmit(now, &range, MSS);
        self.oracle.repeat(now, segments);
    }

    fn rescue(&mut self, now: Instant) {
        if let Some(hole) = self.flight.highest_hole() {
            let last = (hole.end - START) / MSS - 1;
            self.flight.on_rescue(now, &(at(last)..hole.end));
            let seg = self.oracle.segs.iter_mut().find(|seg| seg.number == last);
            let seg = seg.expect("it is outstanding");
            (seg.sent_at, seg.again) = (now, true);
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_single_segments(
        sack: bool,
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut both = Both { sack, ..Both::default() };
        for (n, op) in (1..).zip(&ops) {
            both.apply(op, Instant::from_millis(n));
            both.oracle.check(&both.flight);
        }
    }
}
