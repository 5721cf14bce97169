//! Random loss on a link of limited rate: how long the repairs take, and what they cost.

use std::num::NonZeroU64;
use std::time::Duration;

use covers::covers;
use ustack_tcp::testing::Link;
use ustack_tcp::{Config, CongestionAlgorithm};

use crate::bulk::Bulk;
use crate::{Random, peer::MS};

const MSS: f64 = 1448.0;

/// Bytes per second by RFC 5348 §3.1, with b = 1 and a timeout of four round trips.
fn expected(loss: f64, rtt: f64) -> f64 {
    let timeouts = 4.0 * 3.0 * (3.0 * loss / 8.0).sqrt() * loss * (1.0 + 32.0 * loss * loss);
    MSS / (rtt * ((2.0 * loss / 3.0).sqrt() + timeouts))
}

/// Bulk data at 20 Mbit/s, with a queue of one bandwidth-delay product, for so long.
fn run(
    congestion: CongestionAlgorithm,
    rtt: u32,
    per_mille: u64,
    seed: u64,
    time: Duration,
) -> Bulk {
    let link = Link {
        delay: rtt * MS / 2,
        rate: NonZeroU64::new(20_000_000),
        queue: (20_000 / 8 * rtt / 1500) as usize,
        ..Link::default()
    };
    let mut config = Config::default();
    config.congestion = congestion;
    let mut bulk = Bulk::new(seed, &config, link);
    let mut random = Random(seed);
    bulk.script(move |_, _| (random.below(1000) >= per_mille).then_some(Duration::ZERO));
    bulk.run_for(time);
    bulk
}

/// One and three percent of all transmissions are lost, repairs too: the timer has nothing to do,
/// nothing is sent for nothing, an episode takes little more than a round trip, and the rate is
/// what the formula says.
#[test]
#[covers("RK-2", "RK-7", "PR-3")]
fn random_loss_is_repaired_within_a_round_trip() {
    let time = 30_000 * MS;
    for congestion in [CongestionAlgorithm::Cubic, CongestionAlgorithm::Reno] {
        for (rtt, per_mille) in [20, 66, 200]
            .into_iter()
            .flat_map(|rtt| [(rtt, 10), (rtt, 30)])
        {
            let (mut bytes, mut episodes, mut recovering) = (0, 0, Duration::ZERO);
            let runs = 3;
            for seed in 0..runs {
                let bulk = run(congestion, rtt, per_mille, seed, time);
                let case =
                    format!("seed {seed}, {congestion:?}, {rtt} ms, {per_mille} ‰: {bulk:?}");
                assert_eq!((bulk.timeouts, bulk.needless()), (0, 0), "{case}");
                bytes += bulk.info().bytes_acked;
                episodes += bulk.episodes.len() as u32;
                recovering += bulk.recovering;
            }
            let (loss, seconds) = (per_mille as f64 / 1e3, runs as f64 * time.as_secs_f64());
            let share = bytes as f64 / seconds / expected(loss, f64::from(rtt) / 1e3);
            let each = (recovering / episodes).as_secs_f64() * 1e3 / f64::from(rtt);
            println!(
                "{congestion:?}, {rtt} ms, {per_mille} ‰: {share:.2} of the formula, {episodes} episodes of {each:.2} round trips"
            );
            assert!(
                each < 1.4 && share > 0.85,
                "{congestion:?}, {rtt} ms, {per_mille} ‰"
            );
        }
    }
}
