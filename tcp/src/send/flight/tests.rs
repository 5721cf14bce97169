use super::*;
use crate::segment::SackBlock;
use crate::segment::SackBlocks;
use crate::seq::WireSeq;
use crate::time::Duration;
use covers::covers;
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

/// What an ACK of everything below `una`, with `blocks`, says to `flight`, which ends at `nxt`.
fn ack(flight: &mut Flight, now: Instant, una: u32, nxt: u32, blocks: &[(u32, u32)]) -> AckOutcome {
    flight.on_ack(
        now,
        &Arrived {
            ack: at(una),
            una: at(una),
            nxt: at(nxt),
            sack: &sack(blocks),
            min_rtt: None,
            echo: None,
        },
    )
}

impl Flight {
    /// Recounts what the counters say.
    fn check(&self) {
        assert_eq!(self.recount(), Ok(()));
    }
}

impl Flight {
    /// Judges by time, and checks that no record was passed over whose time is up.
    fn check_by_time(&mut self, now: Instant, newest: Delivered, patience: Patience) {
        let is_due = |(index, sent): (usize, &SentRange)| {
            !matches!(sent.fate, Fate::Sacked | Fate::Lost)
                && (sent.sent_at, sent.end()) < newest.order()
                && self.due(sent, index + 1, &mut 0, newest, patience) <= now
        };
        let due = self.records.iter().enumerate();
        let due: Vec<_> = due
            .filter(|&entry| is_due(entry))
            .map(|(_, sent)| sent.start)
            .collect();
        let before = self
            .records
            .iter()
            .filter(|sent| sent.fate == Fate::Lost)
            .count();
        self.mark_lost_by_time(now, newest, patience);
        let lost: HashSet<_> = self
            .records
            .iter()
            .filter(|sent| sent.fate == Fate::Lost)
            .map(|sent| sent.start)
            .collect();
        assert!(due.iter().all(|start| lost.contains(start)), "{due:?}");
        assert_eq!(lost.len(), before + due.len());
    }
}

fn ten_segments() -> Flight {
    let mut flight = Flight::default();
    (0..10).for_each(|n| flight.on_sent(Instant::from_millis(n.into()), at(n)..at(n + 1), MSS));
    flight
}

/// SR-1: three SACKed ranges, or more than two segments of SACKed bytes, above a hole.
#[test]
fn a_hole_is_lost_at_the_third_segment_above_it() {
    let mut flight = ten_segments();
    let now = Instant::from_millis(50);
    ack(&mut flight, now, 0, 10, &[(1, 3)]);
    assert_eq!(flight.mark_lost_by_sack(MSS), 0);
    ack(&mut flight, now, 0, 10, &[(1, 4)]);
    assert_eq!(flight.mark_lost_by_sack(MSS), MSS);
    assert_eq!(flight.next_lost(), Some(at(0)..at(1)));
    assert_eq!(flight.in_flight(), 6 * MSS);
}

#[test]
fn one_ack_can_show_several_holes() {
    let mut flight = ten_segments();
    let now = Instant::from_millis(50);
    ack(&mut flight, now, 0, 10, &[(7, 10), (3, 4), (1, 2)]);
    assert_eq!(flight.mark_lost_by_sack(MSS), 5 * MSS);
    assert_eq!(flight.in_flight(), 0);
}

/// RT-6: no sample from what was sent twice.
#[test]
fn retransmissions_give_no_sample() {
    let mut flight = ten_segments();
    flight.mark_lost_on_timeout(None);
    flight.on_retransmit(Instant::from_millis(100), &(at(0)..at(1)), MSS);
    let outcome = ack(&mut flight, Instant::from_millis(110), 1, 10, &[]);
    assert_eq!((outcome.acked, outcome.rtt_sample(true)), (MSS, None));
    assert_eq!(outcome.newest.unwrap().rtt, Duration::from_millis(10));
}

#[test]
fn the_sample_is_of_the_newest_segment() {
    let mut flight = ten_segments();
    let outcome = ack(&mut flight, Instant::from_millis(20), 5, 10, &[]);
    assert_eq!(outcome.rtt_sample(true), Some(Duration::from_millis(16)));
}

/// RT-6: what lies behind a repair had arrived long before, and the ACK of it was lost.
#[test]
fn an_ack_of_a_repair_and_more_gives_no_sample() {
    let mut flight = ten_segments();
    flight.mark_lost_on_timeout(None);
    let late = Instant::from_millis(64_000);
    flight.on_retransmit(late, &(at(0)..at(1)), MSS);
    let sack = SackBlocks::new();
    let arrived = Arrived {
        ack: at(2),
        una: at(2),
        nxt: at(10),
        sack: &sack,
        min_rtt: None,
        echo: Some(1), // the second segment's
    };
    let outcome = flight.on_ack(late + Duration::from_millis(10), &arrived);
    assert_eq!((outcome.acked, outcome.rtt_sample(true)), (2 * MSS, None));
}

/// SK-10: inverted, out of range, or below SND.UNA.
#[test]
fn senseless_blocks_change_nothing() {
    let mut flight = ten_segments();
    let now = Instant::from_millis(50);
    let outcome = ack(&mut flight, now, 2, 10, &[(5, 3), (8, 12), (4, 4)]);
    assert_eq!((outcome.sacked, outcome.dsack), (0, None));
    let outcome = ack(&mut flight, now, 2, 10, &[(0, 1)]);
    assert_eq!((outcome.sacked, outcome.dsack), (0, Some(at(0)..at(1))));
    flight.check();
}

/// RFC 2018 §8: a timeout with SND.UNA SACKed means that the peer threw data away.
#[test]
fn a_reneging_peer_gets_everything_again() {
    let mut flight = ten_segments();
    let now = Instant::from_millis(50);
    ack(&mut flight, now, 0, 10, &[(0, 5)]);
    flight.mark_lost_on_timeout(None);
    assert_eq!(flight.next_lost(), Some(at(0)..at(5)));
    assert_eq!(flight.in_flight(), 0);
    flight.check();
}

/// SK-6, RFC 8985 §6.3: a timeout sends SND.UNA's segment again however lately it left; what else
/// left lately may still arrive.
#[test]
#[covers("SK-6")]
fn a_timeout_takes_the_oldest_for_lost_however_recent() {
    let mut flight = ten_segments();
    flight.mark_lost(&(at(0)..at(1)));
    flight.on_retransmit(Instant::from_millis(100), &(at(0)..at(1)), MSS);
    flight.mark_lost_on_timeout(Some(Instant::from_millis(5)));
    assert_eq!(flight.lost(), 6 * MSS);
    assert_eq!(flight.next_lost(), Some(at(0)..at(1)));
    flight.check();
}

/// Without SACK, duplicate ACKs tell of bytes that arrived, not of which. A path that shrinks may
/// leave fewer on their way than they told of.
#[test]
fn duplicate_acks_tell_of_no_more_than_is_on_its_way() {
    let lose: [fn(&mut Flight); 2] = [
        |flight| flight.mark_oversized(at(0), MSS - 1),
        |flight| (0..10).for_each(|n| flight.mark_lost(&(at(n)..at(n + 1)))),
    ];
    for lose in lose {
        let mut flight = ten_segments();
        assert_eq!(flight.on_dup_ack(8 * MSS), 2 * MSS);
        lose(&mut flight);
        assert_eq!((flight.dup_acked(), flight.in_flight()), (0, 0));
        flight.on_retransmit(Instant::from_millis(100), &(at(0)..at(1)), MSS);
        assert_eq!(flight.in_flight(), MSS);
        flight.check();
    }
}

/// Where the peer holds everything but the first segment there is one record of it, however
/// unequal the segments were.
#[test]
fn what_is_held_is_one_record_whatever_its_cuts() {
    let mut flight = Flight::default();
    let mut ends = std::vec![at(0)];
    for n in 0..100u32 {
        let (start, len) = (*ends.last().unwrap(), 1 + n * 37 % MSS);
        let now = Instant::from_millis(n.into());
        flight.on_sent(now, start..start + len, len.max(MSS / (1 + n % 3)));
        ends.push(start + len);
    }
    for pair in ends.windows(2).skip(1).rev() {
        let (left, right) = (pair[0].wire(), pair[1].wire());
        let arrived = Arrived {
            ack: at(0),
            una: at(0),
            nxt: *ends.last().unwrap(),
            sack: &[SackBlock { left, right }].into_iter().collect(),
            min_rtt: None,
            echo: None,
        };
        flight.on_ack(Instant::from_millis(200), &arrived);
        flight.check();
    }
    assert_eq!(flight.records.len(), 2);
    let segments = flight.sacked_segments();
    assert!((85..=99).contains(&segments), "about as many: {segments}");
}

/// Thousands of segments that left one by one are still told apart.
#[test]
fn five_thousand_segments_are_told_apart() {
    let mut flight = Flight::default();
    for n in 0..5_000 {
        flight.on_sent(Instant::from_millis(n.into()), at(n)..at(n + 1), MSS);
    }
    let now = Instant::from_millis(6_000);
    let lost = |n: u32| n % 10 == 3;
    for n in (0..5_000).filter(|&n| !lost(n)) {
        ack(&mut flight, now, 0, 5_000, &[(n, n + 1)]);
    }
    flight.mark_lost_by_sack(MSS);
    assert_eq!((flight.lost(), flight.sacked()), (500 * MSS, 4_500 * MSS));
    assert_eq!(flight.records.len(), 1_001);
    for n in (0..5_000).filter(|&n| lost(n)) {
        assert_eq!(flight.next_lost(), Some(at(n)..at(n + 1)));
        flight.on_retransmit(now, &(at(n)..at(n + 1)), MSS);
    }
    flight.check();
}

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    Ack(u32, Vec<(u32, u32)>),
    DetectBySack,
    DetectByTime(u64),
    Retransmit(u32),
    Probe,
    Restore,
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
        (0u64..20).prop_map(Op::DetectByTime),
        (1u32..4).prop_map(Op::Retransmit),
        Just(Op::Probe),
        Just(Op::Restore),
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
        let mut newest: Option<Delivered> = None;
        for op in ops {
            now += Duration::from_millis(1);
            match op {
                Op::Send(n) => {
                    flight.on_sent(now, at(nxt)..at(nxt + n), MSS);
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
                    let outcome = ack(&mut flight, now, una, nxt, &blocks);
                    newest = outcome.newest.or(newest);
                }
                Op::DetectBySack => {
                    flight.mark_lost_by_sack(MSS);
                }
                Op::DetectByTime(window) => if let Some(newest) = newest {
                    let patience = Patience {
                        rtt: newest.rtt,
                        window: Duration::from_millis(window / 2),
                        settle: Duration::from_millis(window % 5),
                        doubt: Duration::from_millis(1),
                    };
                    flight.check_by_time(now, newest, patience);
                },
                Op::Probe => if let Some(tail) = flight.tail() {
                    flight.on_retransmit(now, &tail, MSS);
                },
                Op::Restore => flight.restore(),
                Op::Retransmit(n) => if let Some(lost) = flight.next_lost() {
                    let first = (lost.start - at(0)) / MSS;
                    prop_assert!(first >= una && !held.contains(&first), "{first} is there");
                    let end = lost.end.min(lost.start + n * MSS);
                    flight.on_retransmit(now, &(lost.start..end), MSS);
                },
                Op::Timeout => {
                    if held.contains(&una) {
                        held.clear();
                    }
                    flight.mark_lost_on_timeout(None);
                }
            }
            flight.check();
            prop_assert_eq!(flight.outstanding(), (nxt - una) * MSS);
        }
    }
}
