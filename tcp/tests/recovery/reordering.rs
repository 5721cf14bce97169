//! Reordering and loss on one link: what is late is not sent again for long.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use covers::covers;
use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{Config, CongestionAlgorithm, Options, Read};

use crate::Random;
use crate::bulk::Bulk;

const MS: Duration = Duration::from_millis(1);

/// Bytes of one transfer.
const TOTAL: usize = 3_000_000;

/// How a transfer went: its time, segments sent, sent again, and reported as duplicates after ten
/// round trips.
struct Report {
    taken: Duration,
    segments: usize,
    needless: usize,
}

fn run(seed: u64, loss: u32, reorder: u32) -> Report {
    let link = Link {
        delay: 20 * MS,
        rate: NonZeroU64::new(30_000_000),
        loss,
        reorder,
        ..Link::default()
    };
    let mut pair = Pair::new(seed, &Config::default(), link);
    let (client, server) = pair.open();
    let start = pair.now;
    let data = Bytes::from(vec![0; 64 << 10]);
    let mut read = 0;
    while read < TOTAL {
        let now = pair.now;
        pair.end(Side::Client)
            .write(now, client, &data)
            .expect("write");
        while let Ok(Read::Data(data)) = pair.end(Side::Server).read(now, server, 1 << 20) {
            read += data.len();
        }
        assert!(now - start < 600_000 * MS && pair.step());
    }
    let taken = pair.now - start;
    let settled = start + 10 * 40 * MS;
    let late = || pair.log.iter().filter(|(at, _, _)| *at > settled);
    let data = |side: Side, len: usize| side == Side::Client && len > 0;
    let needless = late().filter(|(_, side, sent)| {
        let sack = match &sent.segment.options {
            Options::Segment(options) => Some(&options.sack),
            Options::Syn(_) => None,
        };
        let ack = sent.segment.ack.0;
        *side == Side::Server
            && sack.is_some_and(|sack| {
                sack.first().is_some_and(|block| {
                    let below = ack.wrapping_sub(block.right.0) as i32 >= 0;
                    let inside = sack.get(1).is_some_and(|second| {
                        block.left.0.wrapping_sub(second.left.0) as i32 >= 0
                            && second.right.0.wrapping_sub(block.right.0) as i32 >= 0
                    });
                    below || inside
                })
            })
    });
    let needless = needless.count();
    Report {
        taken,
        segments: late()
            .filter(|(_, s, sent)| data(*s, sent.segment.payload.len()))
            .count(),
        needless,
    }
}

/// Three percent of the segments come half a round trip late, one in a hundred not at all: after
/// ten round trips at most one in a hundred is sent for nothing.
#[test]
#[covers("RK-3")]
fn what_is_late_is_not_taken_for_lost() {
    let (mut segments, mut needless) = (0, 0);
    for seed in 0..2 {
        for (loss, reorder) in [(0, 300), (20, 300), (100, 300), (10, 1000)] {
            let report = run(seed, loss, reorder);
            println!(
                "seed {seed}, loss {loss}, reordering {reorder}: {:?}, {} of {} needless",
                report.taken, report.needless, report.segments
            );
            segments += report.segments;
            needless += report.needless;
        }
    }
    assert!(needless * 100 <= segments, "{needless} of {segments}");
}

/// Reordering alone costs little time.
#[test]
#[covers("RK-3")]
fn reordering_alone_costs_little() {
    for seed in 0..2 {
        let clean = run(seed, 0, 0).taken;
        let reordered = run(seed, 0, 300).taken;
        assert!(
            reordered < 2 * clean + 400 * MS,
            "seed {seed}: {clean:?} to {reordered:?}"
        );
    }
}

/// What a path does to the order of segments; it loses none.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// So many of a thousand come up to a quarter of the round trip late.
    Spread(u64),
    /// So many of a thousand come a quarter of the round trip late.
    Quarter(u64),
    /// Every so many milliseconds all come a quarter of the round trip late, for a millisecond.
    Bursts(u64),
    /// Two paths in turn; the second is longer by an eighth of the round trip.
    TwoPaths,
}

impl Pattern {
    fn late(self, random: &mut Random, now: Duration, number: u64, rtt: Duration) -> Duration {
        let quarter = rtt / 4;
        let some = |is_late: bool, late| if is_late { late } else { Duration::ZERO };
        match self {
            Self::Spread(share) => {
                let part = random.below(1000) as u32 + 1;
                some(random.below(1000) < share, quarter * part / 1000)
            }
            Self::Quarter(share) => some(random.below(1000) < share, quarter),
            Self::Bursts(every) => some((now.as_millis() as u64).is_multiple_of(every), quarter),
            Self::TwoPaths => some(number % 2 == 1, quarter / 2),
        }
    }
}

/// One connection over such a path.
fn reorder(pattern: Pattern, rtt: Duration, link: Link, config: &Config, seed: u64) -> Bulk {
    let mut bulk = Bulk::new(seed, config, link);
    let (mut random, mut number) = (Random(seed), 0);
    let start = bulk.pair.now;
    bulk.script(move |now, _| {
        number += 1;
        Some(pattern.late(&mut random, now - start, number, rtt))
    });
    bulk.run_for(30 * rtt + 500 * MS);
    bulk
}

/// Reordering up to a quarter of the round trip, and no loss: the first that is seen may cost an
/// episode of recovery, and none after that.
fn check(congestion: CongestionAlgorithm) {
    use Pattern::{Bursts, Quarter, Spread, TwoPaths};
    let patterns = [
        Spread(10),
        Spread(200),
        Quarter(10),
        Quarter(100),
        Bursts(37),
        TwoPaths,
    ];
    let mut config = Config::default();
    config.congestion = congestion;
    (config.send_buffer_initial, config.send_buffer_max) = (200_000, 200_000);
    let (mut runs, mut episodes, mut segments, mut needless) = (0, 0, 0, 0);
    for (pattern, rtt) in patterns
        .into_iter()
        .flat_map(|pattern| [5, 20, 66, 200].map(|rtt| (pattern, rtt * MS)))
    {
        for rate in [None, NonZeroU64::new(20_000_000)] {
            for seed in 0..2 {
                let link = Link {
                    delay: rtt / 2,
                    rate,
                    queue: 10_000,
                    ..Link::default()
                };
                let bulk = reorder(pattern, rtt, link, &config, seed);
                assert!(
                    bulk.episodes.len() <= 1 && bulk.timeouts == 0,
                    "seed {seed}, {pattern:?}, {rtt:?}, {rate:?}: {bulk:?}"
                );
                runs += 1;
                episodes += bulk.episodes.len();
                segments += bulk.info().data_segs_out;
                needless += bulk.info().total_retrans;
            }
        }
    }
    println!("{runs} runs: {episodes} episodes, {needless} of {segments} segments for nothing");
    assert!(needless * 1000 <= segments, "{needless} of {segments}");
}

#[test]
#[covers("RK-3")]
fn a_quarter_of_a_round_trip_late_is_not_lost_with_cubic() {
    check(CongestionAlgorithm::Cubic);
}

#[test]
#[covers("RK-3")]
fn a_quarter_of_a_round_trip_late_is_not_lost_with_reno() {
    check(CongestionAlgorithm::Reno);
}
