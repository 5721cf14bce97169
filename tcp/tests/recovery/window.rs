//! One window with losses in it: as long as SACK says what is missing, no timer is needed.

use std::num::NonZeroU64;
use std::time::Duration;

use covers::covers;
use ustack_tcp::testing::Link;
use ustack_tcp::{Config, CongestionAlgorithm};

use crate::bulk::Bulk;
use crate::{Random, peer::MS};

/// Payload of a segment of these tests.
const MSS: u64 = 1448;

/// The window of one round trip, and what becomes of it.
#[derive(Clone, Debug)]
struct Case {
    /// Segments of the window.
    window: u64,
    /// How many of them are lost.
    lost: u64,
    rtt: Duration,
    /// The link takes a round trip for the window; else it leaves in one instant.
    paced: bool,
    /// Data follows the window.
    more: bool,
    congestion: CongestionAlgorithm,
}

impl Case {
    /// A connection whose window has grown to this size, and a link that has seen it arrive.
    fn warm(&self, seed: u64) -> Bulk {
        let bits = self.window * 8 * 1500 * 1_000_000 / self.rtt.as_micros() as u64;
        let link = Link {
            delay: self.rtt / 2,
            rate: NonZeroU64::new(bits).filter(|_| self.paced),
            queue: 2_000,
            ..Link::default()
        };
        let mut config = Config::default();
        config.congestion = self.congestion;
        config.hystart = false;
        config.send_buffer_initial = 4 << 20;
        config.recv_buffer_initial = 4 << 20;
        let mut bulk = Bulk::new(seed, &config, link);
        let mut rounds = 0;
        while rounds < 3 || u64::from(bulk.info().snd_cwnd) < (self.window + 1) * MSS {
            bulk.send(self.window * MSS);
            rounds += 1;
            assert!(rounds < 100, "{self:?}: {:?}", bulk.info());
        }
        bulk
    }

    /// Loses of the next window and gives back how it went.
    fn run(&self, seed: u64) -> Bulk {
        let mut bulk = self.warm(seed);
        let mut random = Random(seed);
        let mut which: Vec<u64> = (0..self.window).collect();
        for n in 0..self.lost as usize {
            let other = n + random.below(self.window - n as u64) as usize;
            which.swap(n, other);
        }
        which.truncate(self.lost as usize);
        let base = bulk.written();
        bulk.lose_first(move |offset| offset >= base && which.contains(&((offset - base) / MSS)));
        let more = if self.more { 3 * self.window } else { 0 };
        bulk.send((self.window + more) * MSS);
        bulk
    }
}

/// Losses of 1, 3, 10 and 30 % of windows of these sizes, over round trips from 5 to 200 ms.
fn check(windows: &[u64], seeds: u64, congestion: CongestionAlgorithm) {
    let mut runs = 0;
    for &window in windows {
        for (percent, rtt) in [1, 3, 10, 30]
            .into_iter()
            .flat_map(|p| [5, 20, 66, 200].map(|rtt| (p, rtt)))
        {
            for (paced, more) in [(false, false), (false, true), (true, false), (true, true)] {
                let case = Case {
                    window,
                    lost: (window * percent).div_ceil(100),
                    rtt: rtt * MS,
                    paced,
                    more,
                    congestion,
                };
                for seed in 0..seeds {
                    let bulk = case.run(seed);
                    let done = (bulk.timeouts, bulk.needless(), bulk.info().total_retrans);
                    assert_eq!(done, (0, 0, case.lost), "seed {seed}, {case:?}: {bulk:?}");
                    runs += 1;
                }
            }
        }
    }
    println!("no timeout in {runs} runs");
}

/// As only first transmissions are lost, each is repaired once, and no timer is needed.
#[test]
#[covers("RK-2")]
fn no_timeout_in_windows_of_ten_to_a_hundred() {
    check(&[10, 40, 100], 4, CongestionAlgorithm::Cubic);
    check(&[10, 40], 4, CongestionAlgorithm::Reno);
}

/// The same with several hundred.
#[test]
#[covers("RK-2")]
fn no_timeout_in_windows_of_four_hundred() {
    check(&[400], 2, CongestionAlgorithm::Cubic);
}
