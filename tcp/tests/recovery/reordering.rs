//! Reordering and loss on one link: what is late is not sent again for long.

use std::time::Duration;

use bytes::Bytes;
use covers::covers;
use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{Config, Options, Read};

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
        rate: std::num::NonZeroU64::new(30_000_000),
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
