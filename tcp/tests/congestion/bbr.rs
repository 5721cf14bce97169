//! BBR with everything around it: recovery, buffers that grow, pacing, the peer's ACKs.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::CongestionAlgorithm::{self, Bbr, Cubic};
use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::time::Instant;
use ustack_tcp::{Config, ConnId, Info, Read, SocketOptions};

const SECOND: Duration = Duration::from_secs(1);

/// Senders that always have something to send, over one link.
struct Bulk {
    pair: Pair,
    flows: Vec<Flow>,
}

struct Flow {
    client: ConnId,
    server: ConnId,
    begins: Instant,
    read: u64,
}

/// What flows did in a while, in percent.
#[derive(Debug)]
struct Figures {
    /// Of the link, headers included, by flow.
    shares: Vec<f64>,
    /// How much longer than the empty path's the senders' round trip was, in the mean.
    queue: f64,
}

impl Bulk {
    /// Each flow begins a second after the one before.
    fn new(seed: u64, algorithms: &[CongestionAlgorithm], link: Link) -> Self {
        let mut config = Config::default();
        config.tso = true;
        let mut pair = Pair::new(seed, &config, link);
        pair.quiet = true;
        let listener = pair.listen(16);
        let mut flows: Vec<Flow> = Vec::new();
        for &algorithm in algorithms {
            let options = SocketOptions {
                congestion: Some(algorithm),
                ..SocketOptions::default()
            };
            let client = pair.connect(options);
            let server = loop {
                if let Some((server, _)) = pair.end(Side::Server).accept(listener) {
                    break server;
                }
                assert!(pair.step());
            };
            let last = flows.last().map(|flow| flow.begins + SECOND);
            flows.push(Flow {
                client,
                server,
                begins: last.unwrap_or(pair.now),
                read: 0,
            });
        }
        Self { pair, flows }
    }

    /// Writes all that fits, reads all that is there.
    fn pump(&mut self) {
        const DATA: Bytes = Bytes::from_static(&[7; 64 << 10]);
        let now = self.pair.now;
        for flow in &mut self.flows {
            let client = self.pair.end(Side::Client);
            while now >= flow.begins
                && client.write(now, flow.client, &DATA).expect("write") == DATA.len()
            {}
            let server = self.pair.end(Side::Server);
            while let Read::Data(data) = server.read(now, flow.server, 1 << 20).expect("read") {
                flow.read += data.len() as u64;
            }
        }
    }

    fn info(&self, flow: usize) -> Info {
        let client = self.flows[flow].client;
        self.pair.tcp[0].info(self.pair.now, client).expect("open")
    }

    fn run(&mut self, time: Duration) -> Figures {
        let end = self.pair.now + time;
        let before: Vec<_> = self.flows.iter().map(|flow| flow.read).collect();
        let empty = 2 * self.pair.link.delay;
        let (mut sum, mut count, mut look) = (0.0, 0, self.pair.now);
        while self.pair.now < end {
            self.pump();
            if !self.pair.step() {
                self.pair.now = end; // all are silent
            }
            if self.pair.now >= look {
                look = self.pair.now + SECOND / 100;
                let srtt = self.info(0).rtt.expect("a round trip");
                sum += srtt.as_secs_f64() / empty.as_secs_f64() - 1.0;
                count += 1;
            }
        }
        let rate = self.pair.link.rate.expect("a rate").get() as f64 / 8.0;
        let headers = (1_448.0 + 40.0) / 1_448.0; // what the link counts
        let share = |(flow, before): (&Flow, &u64)| {
            (flow.read - before) as f64 * headers * 100.0 / rate / time.as_secs_f64()
        };
        Figures {
            shares: self.flows.iter().zip(&before).map(share).collect(),
            queue: sum / f64::from(count) * 100.0,
        }
    }
}

/// A link with one BDP of queue; `loss` in ten thousand.
fn link(megabits: u64, rtt: u64, loss: u32) -> Link {
    Link {
        rate: NonZeroU64::new(megabits * 1_000_000),
        delay: Duration::from_micros(rtt * 500),
        queue: (megabits * rtt * 1_000 / 8 / 1_500) as usize,
        loss,
        ..Link::default()
    }
}

/// A hundredth of all segments lost, in both directions, and that is not congestion: the link is
/// used all the same, from its start on.
#[test]
fn losses_by_chance_are_no_congestion() {
    for seed in 1..4 {
        let mut bulk = Bulk::new(seed, &[Bbr], link(100, 66, 100));
        let start = bulk.run(5 * SECOND);
        let then = bulk.run(15 * SECOND);
        println!("seed {seed}: {start:.1?}, then {then:.1?}");
        assert!(start.shares[0] >= 65.0);
        assert!(then.shares[0] >= 80.0);
    }
}

#[test]
fn a_clean_link_is_filled_and_its_queue_is_not() {
    for (megabits, rtt) in [(20, 20), (100, 66)] {
        let mut bulk = Bulk::new(1, &[Bbr], link(megabits, rtt, 0));
        bulk.run(4 * SECOND);
        let figures = bulk.run(15 * SECOND);
        println!("{megabits} Mbit/s, {rtt} ms: {figures:.1?}");
        assert!(figures.shares[0] >= 95.0 && figures.queue <= 40.0);
    }
}

/// Ten BDPs of queue: CUBIC fills them, BBR does not.
#[test]
fn a_deep_queue_stays_short() {
    let mut deep = link(20, 40, 0);
    deep.queue *= 10;
    let queue = |algorithm| {
        let mut bulk = Bulk::new(1, &[algorithm], deep);
        bulk.run(4 * SECOND);
        let figures = bulk.run(16 * SECOND);
        println!("{algorithm:?}: {figures:.1?}");
        assert!(figures.shares[0] >= 95.0);
        figures.queue
    };
    assert!(queue(Bbr) <= 40.0);
    assert!(queue(Cubic) >= 80.0);
}

#[test]
fn two_flows_share_a_link() {
    for (megabits, rtt) in [(10, 20), (20, 40)] {
        let mut bulk = Bulk::new(1, &[Bbr, Bbr], link(megabits, rtt, 0));
        bulk.run(10 * SECOND);
        let figures = bulk.run(30 * SECOND);
        println!("{megabits} Mbit/s, {rtt} ms: {figures:.1?}");
        let (sum, squares) = sums(&figures.shares);
        assert!(sum >= 95.0);
        assert!(sum * sum / (2.0 * squares) >= 0.95, "Jain's index");
    }
}

/// Beside CUBIC, with one BDP of queue: neither starves.
#[test]
fn beside_cubic() {
    for algorithms in [[Bbr, Cubic], [Cubic, Bbr]] {
        let mut bulk = Bulk::new(1, &algorithms, link(20, 40, 0));
        bulk.run(10 * SECOND);
        let figures = bulk.run(30 * SECOND);
        println!("{algorithms:?}: {figures:.1?}");
        let (sum, _) = sums(&figures.shares);
        assert!(sum >= 95.0);
        assert!(figures.shares.iter().all(|&share| share >= 25.0));
    }
}

fn sums(shares: &[f64]) -> (f64, f64) {
    let squares = shares.iter().map(|share| share * share);
    (shares.iter().sum(), squares.sum())
}

/// An idle minute: it goes on at the rate that it knew, paced, without a new start.
#[test]
fn after_a_pause_it_goes_on_at_its_rate() {
    let mut bulk = Bulk::new(1, &[Bbr], link(20, 40, 0));
    bulk.run(4 * SECOND);
    let (cwnd, repaired) = (bulk.info(0).snd_cwnd, bulk.info(0).total_retrans);
    bulk.flows[0].begins = bulk.pair.now + 60 * SECOND;
    bulk.run(60 * SECOND);
    assert_eq!(bulk.info(0).unacked, 0);
    let figures = bulk.run(SECOND / 2);
    println!("{figures:.1?}");
    assert!(figures.shares[0] >= 85.0); // a round trip is over before anything is read
    assert!(bulk.info(0).snd_cwnd >= cwnd / 2);
    assert_eq!(bulk.info(0).total_retrans, repaired);
}
