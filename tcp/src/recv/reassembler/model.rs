//! The reassembler against an array of bytes.

use super::tests::{START, block};
use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Op {
    /// A segment's place and length, and what tells its bytes from those of another copy.
    Insert(usize, usize, u8),
    Next(usize, u8),
    Read(usize),
    Peek(usize),
    Discard,
    Prune(Index),
    /// An ACK with so many blocks, perhaps after the report of a duplicate.
    Report(usize, Option<(usize, usize)>),
    /// An ACK that reports older ranges only.
    ReportBefore(Index),
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![0usize..5, 0usize..300, 0usize..3000];
    let duplicate = (0usize..6000, 1usize..500);
    prop_oneof![
        8 => (0usize..6000, len(), any::<u8>()).prop_map(|(at, len, salt)| Op::Insert(at, len, salt)),
        3 => (1usize..1500, any::<u8>()).prop_map(|(len, salt)| Op::Next(len, salt)),
        2 => (0usize..2500).prop_map(Op::Read),
        1 => (0usize..2500).prop_map(Op::Peek),
        1 => Just(Op::Discard),
        1 => any::<Index>().prop_map(Op::Prune),
        3 => (0usize..6, proptest::option::of(duplicate)).prop_map(|(max, seen)| Op::Report(max, seen)),
        1 => any::<Index>().prop_map(Op::ReportBefore),
    ]
}

/// What is known of each byte ever sent: its value, and which arrival touched it last.
#[derive(Default)]
struct Oracle {
    bytes: Vec<Option<(u8, u64)>>,
    nxt: usize,
    read: usize,
    arrivals: u64,
    reported: u64,
    /// The segment above the gap that came last.
    newest: Option<Range<usize>>,
}

/// A range above the gap, and the arrival that touched it last.
struct Held {
    range: Range<usize>,
    arrival: u64,
}

fn payload(at: usize, len: usize, salt: u8) -> Vec<u8> {
    (at..at + len).map(|i| (i ^ i >> 7) as u8 ^ salt).collect()
}

impl Oracle {
    fn has(&self, i: usize) -> bool {
        self.bytes.get(i).copied().flatten().is_some()
    }

    fn held(&self) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        for i in self.nxt..self.bytes.len() {
            let Some((_, arrival)) = self.bytes[i] else {
                continue;
            };
            match held.last_mut().filter(|last| last.range.end == i) {
                Some(last) => {
                    last.range.end += 1;
                    last.arrival = last.arrival.max(arrival);
                }
                None => held.push(Held {
                    range: i..i + 1,
                    arrival,
                }),
            }
        }
        held
    }

    fn insert(&mut self, at: usize, data: &[u8]) -> Inserted {
        let end = at + data.len();
        if data.is_empty() {
            return Inserted::default();
        }
        let first = (at..end).find(|&i| self.has(i));
        let duplicate = first.map(|first| {
            let last = (first..end).find(|&i| !self.has(i)).unwrap_or(end);
            START + first..START + last
        });
        let held = self.held();
        let above = at > self.nxt;
        let touches = |held: &&Held| held.range.start <= end && at <= held.range.end;
        let joined = held.iter().filter(touches).count();
        let refused = above && joined == 0 && held.len() >= MAX_RANGES;
        self.arrivals += u64::from(above);
        if above {
            self.newest = Some(at..end);
        } else if end > self.nxt {
            self.newest = None;
        }
        if !refused {
            self.bytes.resize(self.bytes.len().max(end), None);
            for (byte, &value) in self.bytes[at..end].iter_mut().zip(data) {
                let value = byte.map_or(value, |(first, _)| first);
                *byte = Some((value, self.arrivals));
            }
        }
        let before = self.nxt;
        while self.has(self.nxt) {
            self.nxt += 1;
        }
        let advanced = self.nxt > before;
        Inserted {
            in_order: (self.nxt - before) as u32,
            duplicate,
            filled_gap: above && joined > 1 || advanced && !held.is_empty(),
            ooo: above,
            refused,
        }
    }

    fn unread(&self, max: usize) -> Vec<u8> {
        let unread = self.bytes.get(self.read..self.nxt).unwrap_or_default();
        let values = unread.iter().map(|byte| byte.expect("in order").0);
        values.take(max).collect()
    }

    fn forget_from(&mut self, from: usize) {
        let from = from.max(self.nxt);
        self.bytes.truncate(from);
    }

    /// What an ACK reports of ranges older than `below`.
    fn blocks(&self, max: usize, seen: Option<&Range<usize>>, below: u64) -> Vec<SackBlock> {
        let mut held = self.held();
        held.sort_by_key(|held| core::cmp::Reverse(held.arrival));
        let around = |at: usize| held.iter().position(|held| held.range.contains(&at));
        let first = match (seen, &self.newest) {
            (Some(seen), _) => around(seen.start).map(|at| held.remove(at).range),
            (None, Some(newest)) if below == u64::MAX => {
                around(newest.start).is_none().then(|| newest.clone())
            }
            _ => None,
        };
        let others = held.into_iter().filter(|held| held.arrival < below);
        let all = first.into_iter().chain(others.map(|held| held.range));
        all.map(block).take(max.min(4)).collect()
    }

    /// The arrivals that no ACK has told of, newest first.
    fn unreported(&self) -> Vec<u64> {
        let mut news: Vec<_> = self.held().iter().map(|held| held.arrival).collect();
        news.retain(|&arrival| arrival > self.reported);
        news.sort_unstable_by(|one, other| other.cmp(one));
        news
    }

    fn check(&self, queue: &Reassembler) {
        assert_eq!(queue.recount(), Ok(()));
        let held = self.held();
        assert_eq!(queue.nxt(), START + self.nxt);
        assert_eq!(queue.readable() as usize, self.nxt - self.read);
        assert_eq!(queue.has_gap(), !held.is_empty());
        let end = held.last().map_or(self.nxt, |last| last.range.end);
        assert_eq!(queue.end(), START + end);
        let above: usize = held.iter().map(|held| held.range.len()).sum();
        assert_eq!(queue.ooo_bytes() as usize, above);
        assert!(queue.charged() >= queue.readable() + queue.ooo_bytes());
        let news = self.unreported();
        let most = news.len().min(MAX_UNREPORTED);
        assert_eq!(queue.unreported()[..], news[..most]);
    }
}

/// As many ranges as there may be but two, far above what the operations touch.
fn comb(queue: &mut Reassembler, oracle: &mut Oracle) {
    oracle.bytes.resize(10_000 + 3 * MAX_RANGES, None);
    for n in 0..MAX_RANGES - 2 {
        let at = 10_000 + 3 * n;
        queue.insert(START + at, Bytes::from_static(b"x"));
        oracle.arrivals += 1;
        oracle.bytes[at] = Some((b'x', oracle.arrivals));
        oracle.newest = Some(at..at + 1);
    }
}

fn apply(op: Op, queue: &mut Reassembler, oracle: &mut Oracle) {
    let (at, len, salt) = match op {
        Op::Insert(at, len, salt) => (at, len, salt),
        Op::Next(len, salt) => (oracle.nxt, len, salt),
        other => return apply_reader(&other, queue, oracle),
    };
    let data = payload(at, len, salt);
    let inserted = queue.insert(START + at, data.clone().into());
    assert_eq!(inserted, oracle.insert(at, &data));
}

fn apply_reader(op: &Op, queue: &mut Reassembler, oracle: &mut Oracle) {
    match *op {
        Op::Read(max) => {
            let data = queue.read(max).unwrap_or_default();
            assert_eq!(data, oracle.unread(data.len()));
            assert!(data.len() <= max);
            assert!(!data.is_empty() || max == 0 || oracle.read == oracle.nxt);
            oracle.read += data.len();
        }
        Op::Peek(max) => assert_eq!(queue.peek(max), oracle.unread(max)),
        Op::Discard => {
            let held = queue.ooo_bytes();
            assert_eq!(queue.discard_out_of_order(), held);
            oracle.forget_from(0);
            oracle.newest = None;
        }
        Op::Prune(index) => {
            let charges = queue.ranges.iter();
            let charges = charges.map(|range| range.queue.charged + RANGE_OVERHEAD);
            let mut charges: Vec<u32> = charges.collect();
            let limit = index.index(charges.iter().sum::<u32>() as usize + 1) as u32;
            let mut held = oracle.held();
            let mut pruned = 0;
            while charges.iter().sum::<u32>() > limit && charges.len() > 1 {
                charges.pop();
                oracle.forget_from(held.pop().expect("a range").range.start);
                pruned += 1;
            }
            assert_eq!(queue.prune(limit), pruned);
        }
        Op::Report(max, seen) => {
            let seen = seen.map(|(at, len)| at..at + len);
            let duplicate = seen
                .clone()
                .map(|seen| START + seen.start..START + seen.end);
            let blocks = queue.sack_blocks(max, duplicate.as_ref());
            assert_eq!(blocks[..], oracle.blocks(max, seen.as_ref(), u64::MAX));
            queue.on_reported();
            oracle.reported = oracle.arrivals;
        }
        Op::ReportBefore(index) => {
            let below = index.index(oracle.arrivals as usize + 1) as u64;
            queue.report_before(Some(below));
            assert_eq!(
                queue.sack_blocks(4, None)[..],
                oracle.blocks(4, None, below)
            );
            queue.on_reported(); // tells nothing of the newest
            queue.report_before(None);
        }
        Op::Insert(..) | Op::Next(..) => {}
    }
}

proptest! {
    #[test]
    fn behaves_like_an_array(
        full in 0u8..32,
        ops in proptest::collection::vec(op(), 1..50),
    ) {
        let mut queue = Reassembler::new(START);
        let mut oracle = Oracle::default();
        if full == 31 {
            comb(&mut queue, &mut oracle);
        }
        for op in ops {
            apply(op, &mut queue, &mut oracle);
            oracle.check(&queue);
        }
        while let Some(data) = queue.read(700) {
            prop_assert_eq!(&data, &oracle.unread(data.len()));
            oracle.read += data.len();
        }
        prop_assert_eq!(oracle.read, oracle.nxt);
    }
}
