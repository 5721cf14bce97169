use super::*;
use crate::seq::WireSeq;
use alloc::vec::Vec;
use proptest::prelude::*;

const START: SeqNum = SeqNum::first(WireSeq(u32::MAX - 5000));

fn pattern(at: usize, len: usize) -> Bytes {
    (at..at + len)
        .map(|i| (i ^ (i >> 7)) as u8)
        .collect::<Vec<_>>()
        .into()
}

fn insert(queue: &mut Reassembler, at: usize, len: usize) -> Inserted {
    queue.insert(START + at, pattern(at, len))
}

fn block(range: Range<usize>) -> SackBlock {
    SackBlock {
        left: (START + range.start).wire(),
        right: (START + range.end).wire(),
    }
}

fn drain(queue: &mut Reassembler, max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(data) = queue.read(max) {
        assert!(!data.is_empty() && data.len() <= max);
        out.extend_from_slice(&data);
    }
    out
}

#[test]
fn in_order_bytes_are_handed_on_without_a_copy() {
    let mut queue = Reassembler::new(START);
    let data = pattern(0, 1448);
    assert_eq!(queue.insert(START, data.clone()).in_order, 1448);
    assert_eq!(queue.read(9000).unwrap().as_ptr(), data.as_ptr());
    assert_eq!(queue.charged(), 0);
}

/// The example of RFC 2018 §4, case 2 and 3: eight segments of 500, some lost.
#[test]
fn blocks_are_in_the_order_of_rfc_2018() {
    let mut queue = Reassembler::new(START);
    assert!(insert(&mut queue, 500, 500).ooo);
    assert!(insert(&mut queue, 1500, 500).ooo);
    assert!(insert(&mut queue, 2500, 500).ooo);
    assert_eq!(
        queue.sack_blocks(3, None)[..],
        [block(2500..3000), block(1500..2000), block(500..1000)]
    );
    // The fourth segment fills the lower gap: its range is now the most recent one.
    let filled = insert(&mut queue, 1000, 500);
    assert!(filled.filled_gap && filled.in_order == 0);
    assert_eq!(
        queue.sack_blocks(4, None)[..],
        [block(500..2000), block(2500..3000)]
    );
    let filled = insert(&mut queue, 0, 500);
    assert!(filled.filled_gap && filled.in_order == 2000);
    assert_eq!(queue.sack_blocks(4, None)[..], [block(2500..3000)]);
    assert_eq!(queue.sack_blocks(0, None)[..], []);
}

/// RFC 2883 §4.1 and §4.2: below the cumulative ACK, and inside a block.
#[test]
fn the_first_duplicate_range_is_reported() {
    let mut queue = Reassembler::new(START);
    insert(&mut queue, 0, 1000);
    insert(&mut queue, 1500, 500);
    let below = insert(&mut queue, 500, 600);
    assert_eq!(below.duplicate, Some(START + 500u32..START + 1000u32));
    assert_eq!(below.in_order, 100);
    let inside = insert(&mut queue, 1400, 300);
    assert_eq!(inside.duplicate, Some(START + 1500u32..START + 1700u32));
    let again = insert(&mut queue, 1600, 100);
    assert_eq!(again.duplicate, Some(START + 1600u32..START + 1700u32));
    assert_eq!(insert(&mut queue, 1200, 100).duplicate, None);
}

#[test]
fn tiny_segments_pin_little_memory() {
    for reversed in [false, true] {
        let mut queue = Reassembler::new(START);
        let frame = Bytes::from(alloc::vec![0; 65_536]);
        for i in 0..10_000usize {
            let at = if reversed { 10_000 - i } else { i + 1 };
            assert!(queue.insert(START + at, frame.slice(i..=i)).ooo);
        }
        assert_eq!(queue.ooo_bytes(), 10_000);
        assert!(queue.charged() < 30_000, "{}", queue.charged());
        assert!(
            frame.try_into_mut().is_ok(),
            "the frame is still referenced"
        );
    }
}

#[test]
fn ranges_are_bounded() {
    let mut queue = Reassembler::new(START);
    for i in 0..MAX_RANGES {
        assert!(!insert(&mut queue, 10 + 10 * i, 5).refused);
    }
    let charged = queue.charged();
    let refused = insert(&mut queue, 10 + 10 * MAX_RANGES, 5);
    assert!(refused.refused && refused.ooo);
    assert!(
        !insert(&mut queue, 15, 5).refused,
        "joining is no new range"
    );
    assert_eq!(queue.ooo_bytes(), 5 * MAX_RANGES as u32 + 5);
    assert!(queue.charged() <= charged + 100);
    assert_eq!(queue.discard_out_of_order(), 5 * MAX_RANGES as u32 + 5);
    assert_eq!((queue.charged(), queue.has_gap()), (0, false));
}

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, usize),
    Next(usize),
    Read(usize),
    Discard,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..6000, prop_oneof![0usize..5, 0usize..300, 0usize..3000])
            .prop_map(|(at, len)| Op::Insert(at, len)),
        3 => (1usize..1500).prop_map(Op::Next),
        2 => (1usize..2500).prop_map(Op::Read),
        1 => Just(Op::Discard),
    ]
}

/// One flag per byte: has it been received?
#[derive(Default)]
struct Oracle {
    got: Vec<bool>,
    nxt: usize,
}

impl Oracle {
    fn insert(&mut self, at: usize, len: usize) -> Inserted {
        let end = at + len;
        if self.got.len() < end {
            self.got.resize(end, false);
        }
        let first = (at..end).find(|&i| self.got[i]);
        let duplicate = first.map(|first| {
            let last = (first..end).find(|&i| !self.got[i]).unwrap_or(end);
            START + first..START + last
        });
        let before = self.nxt;
        let ranges = self.ranges();
        let had_gap = !ranges.is_empty();
        let ooo = len > 0 && at > self.nxt;
        let joined = ranges
            .iter()
            .filter(|range| range.start <= end && at <= range.end)
            .count();
        self.got[at..end].fill(true);
        self.nxt = (before..=self.got.len()).find(|&i| !self.has(i)).unwrap();
        Inserted {
            in_order: (self.nxt - before) as u32,
            duplicate,
            filled_gap: if ooo {
                joined > 1
            } else {
                had_gap && self.nxt > before
            },
            ooo,
            refused: false,
        }
    }

    fn has(&self, i: usize) -> bool {
        self.got.get(i).copied().unwrap_or(false)
    }

    fn ranges(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for i in (self.nxt..self.got.len()).filter(|&i| self.got[i]) {
            match ranges.last_mut() {
                Some(last) if last.end == i => last.end += 1,
                _ => ranges.push(i..i + 1),
            }
        }
        ranges
    }
}

proptest! {
    #[test]
    fn behaves_like_a_bitmap(ops in proptest::collection::vec(op(), 1..50)) {
        let mut queue = Reassembler::new(START);
        let mut oracle = Oracle::default();
        let mut read = 0usize;
        let mut last_ooo = None;
        for op in ops {
            match op {
                Op::Insert(at, len) => {
                    let inserted = insert(&mut queue, at, len);
                    prop_assert_eq!(&inserted, &oracle.insert(at, len));
                    if inserted.ooo {
                        last_ooo = Some(at);
                    }
                }
                Op::Next(len) => {
                    let at = oracle.nxt;
                    prop_assert_eq!(insert(&mut queue, at, len), oracle.insert(at, len));
                }
                Op::Read(max) => {
                    if let Some(data) = queue.read(max) {
                        prop_assert!(!data.is_empty() && data.len() <= max);
                        prop_assert_eq!(&data, &pattern(read, data.len()));
                        read += data.len();
                    } else {
                        prop_assert_eq!(read, oracle.nxt);
                    }
                }
                Op::Discard => {
                    let held = queue.ooo_bytes();
                    prop_assert_eq!(queue.discard_out_of_order(), held);
                    oracle.got.truncate(oracle.nxt);
                    last_ooo = None;
                }
            }
            let ranges = oracle.ranges();
            prop_assert_eq!(queue.nxt(), START + oracle.nxt);
            prop_assert_eq!(queue.readable() as usize, oracle.nxt - read);
            prop_assert_eq!(queue.has_gap(), !ranges.is_empty());
            prop_assert_eq!(queue.ooo_bytes() as usize, ranges.iter().map(Range::len).sum::<usize>());
            prop_assert!(queue.charged() >= queue.readable() + queue.ooo_bytes());
            let recount = queue.queue.chunks.iter().map(Chunk::charge).sum::<u32>()
                + queue.ranges.iter().map(|r| RANGE_OVERHEAD + r.queue.chunks.iter().map(Chunk::charge).sum::<u32>()).sum::<u32>();
            prop_assert_eq!(queue.charged(), recount);
            let blocks = queue.sack_blocks(4, None);
            prop_assert_eq!(blocks.len(), ranges.len().min(4));
            for reported in &blocks {
                prop_assert!(ranges.iter().any(|range| block(range.clone()) == *reported));
            }
            if let Some(range) = last_ooo.and_then(|at| ranges.iter().find(|range| range.contains(&at))) {
                prop_assert_eq!(blocks[0], block(range.clone()));
            }
        }
        let all = oracle.nxt;
        prop_assert_eq!(drain(&mut queue, 700), &pattern(read, all - read)[..]);
    }
}
