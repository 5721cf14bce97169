//! Whole transfers between two endpoints under virtual time, over good and bad links.

use std::num::NonZeroU64;
use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{Config, CongestionAlgorithm, State, Tcp};

/// A debug build is some thirty times slower: it tries fewer cases, a release build all.
const fn scaled(release: u64, debug: u64) -> u64 {
    if cfg!(debug_assertions) {
        debug
    } else {
        release
    }
}

fn config(congestion: CongestionAlgorithm, tso: bool) -> Config {
    let mut config = Config::default();
    config.congestion = congestion;
    config.tso = tso;
    config
}

#[test]
fn a_clean_link_carries_both_directions() {
    for tso in [false, true] {
        let mut pair = Pair::new(1, &config(CongestionAlgorithm::Cubic, tso), Link::default());
        let (client, server) = pair.open();
        let limit = Duration::from_secs(20);
        let bytes = scaled(10 << 20, 1 << 20);
        pair.transfer((Side::Client, client), server, bytes, limit);
        pair.transfer((Side::Server, server), client, bytes, limit);
        let retransmitted: u64 = pair
            .tcp
            .iter()
            .flat_map(Tcp::connections)
            .map(|c| c.total_retrans)
            .sum();
        assert_eq!(retransmitted, 0);
        let states: Vec<_> = pair
            .tcp
            .iter()
            .flat_map(Tcp::connections)
            .map(|c| c.state)
            .collect();
        assert!(
            states.contains(&State::TimeWait) || states.contains(&State::FinWait2),
            "{states:?}"
        );
    }
}

/// Answers come within the same reading of the clock, as those of a host to itself do: a round trip
/// of nothing is no reason to send nothing.
#[test]
fn a_link_that_takes_no_time_carries_both_directions() {
    for congestion in [
        CongestionAlgorithm::Reno,
        CongestionAlgorithm::Cubic,
        CongestionAlgorithm::Bbr,
    ] {
        let link = Link {
            delay: Duration::ZERO,
            ..Link::default()
        };
        let mut pair = Pair::new(1, &config(congestion, false), link);
        let (client, server) = pair.open();
        let limit = Duration::from_secs(1);
        pair.transfer((Side::Client, client), server, 100_000, limit);
        pair.transfer((Side::Server, server), client, 100_000, limit);
    }
}

#[test]
fn losses_are_repaired() {
    for congestion in [CongestionAlgorithm::Reno, CongestionAlgorithm::Cubic] {
        for (loss, bytes) in [
            (10, scaled(8 << 20, 1 << 20)),
            (100, scaled(4 << 20, 1 << 20)),
            (1_000, 1 << 20),
            (3_000, 100 << 10),
        ] {
            for seed in 0..scaled(5, 1) {
                let link = Link {
                    loss,
                    ..Link::default()
                };
                let mut pair = Pair::new(seed, &config(congestion, seed % 2 == 0), link);
                pair.quiet = true;
                let (client, server) = pair.open();
                let took = pair.transfer(
                    (Side::Client, client),
                    server,
                    bytes,
                    Duration::from_secs(600),
                );
                println!("{congestion:?} loss {loss}/10000 seed {seed}: {took:?}");
            }
        }
    }
}

#[test]
fn reordering_and_duplicates_do_no_harm() {
    for seed in 0..scaled(5, 2) {
        let link = Link {
            reorder: 200,
            duplicate: 100,
            loss: 50,
            ..Link::default()
        };
        let mut pair = Pair::new(seed, &config(CongestionAlgorithm::Cubic, true), link);
        pair.quiet = true;
        let (client, server) = pair.open();
        let took = pair.transfer(
            (Side::Client, client),
            server,
            4 << 20,
            Duration::from_secs(120),
        );
        println!("seed {seed}: {took:?}");
    }
}

#[test]
fn a_narrow_link_is_filled() {
    for congestion in [CongestionAlgorithm::Reno, CongestionAlgorithm::Cubic] {
        let link = Link {
            rate: NonZeroU64::new(20_000_000),
            queue: 70,
            delay: Duration::from_millis(20),
            ..Link::default()
        };
        let mut pair = Pair::new(3, &config(congestion, true), link);
        pair.quiet = true;
        let (client, server) = pair.open();
        let bytes = scaled(30 << 20, 12 << 20);
        let took = pair.transfer(
            (Side::Client, client),
            server,
            bytes,
            Duration::from_secs(60),
        );
        let share = bytes as f64 * 8.0 / 20e6 / took.as_secs_f64();
        println!("{congestion:?}: {took:?}, {share:.3} of the link");
        assert!(share > 0.85, "{congestion:?}: {share}");
    }
}
