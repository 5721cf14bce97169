//! Data that leaves at a rate, as the wire shows it.

use std::num::NonZeroU64;
use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{Config, CongestionAlgorithm, Pacing, SocketOptions};

use super::MS;

const MSS: u64 = 1448;

fn config(pacing: Pacing) -> Config {
    let mut config = Config::default();
    config.pacing = pacing;
    config.hystart = false;
    config
}

/// When the client's data left, in microseconds after the first, and how many bytes.
fn departures(pair: &Pair) -> Vec<(u64, u64)> {
    let data = pair
        .log
        .iter()
        .filter(|(_, side, sent)| *side == Side::Client && !sent.segment.payload.is_empty());
    let all: Vec<_> = data
        .map(|(at, _, sent)| (at.as_micros(), sent.segment.payload.len() as u64))
        .collect();
    let first = all.first().map_or(0, |(at, _)| *at);
    all.iter().map(|(at, len)| (at - first, *len)).collect()
}

/// The most bytes that left within `span` after `from`.
fn largest_burst(departures: &[(u64, u64)], from: u64, span: u64) -> u64 {
    let later: Vec<_> = departures.iter().filter(|(at, _)| *at >= from).collect();
    (0..later.len())
        .map(|first| {
            let end = later[first].0 + span;
            let burst = later[first..].iter().take_while(|(at, _)| *at < end);
            burst.map(|(_, len)| len).sum()
        })
        .max()
        .unwrap_or(0)
}

fn bulk(config: &Config, link: Link, bytes: u64) -> (Pair, Duration) {
    let mut pair = Pair::new(5, config, link);
    let (client, server) = pair.open();
    let took = pair.transfer(
        (Side::Client, client),
        server,
        bytes,
        Duration::from_secs(120),
    );
    (pair, took)
}

/// The receiver answers the whole flight at once: unpaced, twice the window leaves in one burst.
#[test]
fn slow_start_is_spread_over_the_round_trip() {
    let link = Link {
        delay: 50 * MS,
        ..Link::default()
    };
    let [off, on] = [Pacing::Off, Pacing::SlowStart].map(|pacing| {
        let (pair, took) = bulk(&config(pacing), link, 1 << 20);
        let departures = departures(&pair);
        // The initial window is one burst in either case.
        assert_eq!(largest_burst(&departures[..10], 0, 1), 10 * MSS);
        (largest_burst(&departures, 1, 1_000), took)
    });
    assert!(off.0 > 100 * MSS, "{off:?}");
    // A megabyte takes a window of some 500 kB: 10 MB/s, of which a timer's lateness may catch up
    // another millisecond.
    assert!(on.0 <= 20 * MSS, "{on:?}");
    assert!(on.1 < off.1 + 110 * MS, "{on:?} {off:?}");
}

/// `SO_MAX_PACING_RATE` holds whatever `Config::pacing` says, and for repairs, too.
#[test]
fn the_rate_of_the_application_is_not_exceeded() {
    let link = Link {
        delay: 10 * MS,
        loss: 100,
        ..Link::default()
    };
    for tso in [false, true] {
        let mut config = config(Pacing::Off);
        config.tso = tso;
        let mut pair = Pair::new(6, &config, link);
        let listener = pair.listen(1);
        let client = pair.connect(SocketOptions {
            max_pacing_rate: NonZeroU64::new(100_000),
            ..SocketOptions::default()
        });
        let server = loop {
            if let Some((server, _)) = pair.end(Side::Server).accept(listener) {
                break server;
            }
            pair.step();
        };
        pair.transfer(
            (Side::Client, client),
            server,
            300_000,
            Duration::from_secs(10),
        );
        let departures = departures(&pair);
        for span in [100_000, 1_000_000] {
            let most = largest_burst(&departures[10..], 0, span);
            // Two segments at once, and a repair that nothing holds back.
            assert!(
                most <= 100_000 * span / 1_000_000 + 3 * MSS,
                "{most} in {span} µs"
            );
        }
    }
}

/// A device that takes 64 KiB at once gets no more than a millisecond's worth of a slow flow.
#[test]
fn super_segments_are_as_small_as_the_rate() {
    let link = Link {
        delay: 50 * MS,
        rate: NonZeroU64::new(20_000_000),
        queue: 50,
        ..Link::default()
    };
    let mut config = config(Pacing::On);
    config.tso = true;
    let (pair, took) = bulk(&config, link, 4 << 20);
    let departures = departures(&pair);
    // 2.5 MB/s at 1.2 times the window per round trip: two or three segments in a millisecond, and
    // as many to catch up.
    let half = departures[departures.len() / 2].0;
    assert!(largest_burst(&departures, half, 1_000) <= 8 * MSS);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// BBR alone on a link that loses one packet of a hundred fills it all the same.
#[test]
fn bbr_fills_a_lossy_link() {
    let link = Link {
        delay: 20 * MS,
        rate: NonZeroU64::new(20_000_000),
        queue: 70,
        loss: 100,
        ..Link::default()
    };
    let mut config = config(Pacing::Off);
    config.congestion = CongestionAlgorithm::Bbr;
    let (_, took) = bulk(&config, link, 6_000_000);
    // 2.5 s with headers at the full rate.
    assert!(took < 3_200 * MS, "{took:?}");
}
