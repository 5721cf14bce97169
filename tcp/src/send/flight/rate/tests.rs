//! Worked examples of delivery rate samples: segments of 1,000 bytes, one each 10 ms, round trip
//! 100 ms, unless a test says otherwise.

use std::vec::Vec;

use super::super::{AckOutcome, Arrived, Flight};
use super::{RateSampler, per_second};
use crate::congestion::{LostSample, RateSample};
use crate::segment::{SackBlock, SackBlocks};
use crate::seq::{SeqNum, WireSeq};
use crate::time::{Duration, Instant};

const MSS: u32 = 1_000;

fn at(segment: u32) -> SeqNum {
    SeqNum::first(WireSeq(7)) + segment * MSS
}

fn ms(ms: u64) -> Instant {
    Instant::from_millis(1_000 + ms)
}

/// A flight whose rate is sampled.
struct Sampled {
    flight: Flight,
    nxt: u32,
    una: u32,
    min_rtt: Option<Duration>,
}

impl Sampled {
    fn new() -> Self {
        let mut flight = Flight::default();
        flight.sample_rate(ms(0), true);
        Self {
            flight,
            nxt: 0,
            una: 0,
            min_rtt: None,
        }
    }

    fn sampler(&mut self) -> &mut RateSampler {
        self.flight.sampler_mut().expect("it samples")
    }

    fn send(&mut self, now: u64, segments: u32) {
        let range = at(self.nxt)..at(self.nxt + segments);
        self.flight.on_sent(ms(now), range, MSS);
        self.nxt += segments;
    }

    fn digest(&mut self, now: u64, una: u32, sack: Option<(u32, u32)>) -> AckOutcome {
        let block = |(left, right)| SackBlock {
            left: at(left).wire(),
            right: at(right).wire(),
        };
        let sack: SackBlocks = sack.into_iter().map(block).collect();
        self.una = una;
        let arrived = Arrived {
            ack: at(una),
            una: at(una),
            nxt: at(self.nxt),
            sack: &sack,
            min_rtt: None,
            echo: None,
        };
        self.flight.on_ack(ms(now), &arrived)
    }

    fn ack(&mut self, now: u64, una: u32) -> RateSample {
        self.digest(now, una, None);
        let min_rtt = self.min_rtt;
        self.sampler().sample(min_rtt).expect("it delivered")
    }

    fn losses(&mut self, now: u64) -> Vec<LostSample> {
        let in_flight = self.flight.in_flight();
        let sampler = self.sampler();
        core::iter::from_fn(|| sampler.next_loss(ms(now), in_flight)).collect()
    }

    /// One segment each 10 ms from 0 on, one ACK each from 100 on, up to `until`.
    fn stream(&mut self, until: u64) -> RateSample {
        let mut last = RateSample::new();
        for now in (0..=until).step_by(10) {
            if now >= 100 {
                last = self.ack(now, (now - 100) as u32 / 10 + 1);
            }
            self.send(now, 1);
        }
        last
    }
}

#[test]
fn the_first_samples_are_stretched_by_the_empty_pipe() {
    let mut sampled = Sampled::new();
    let first = sampled.stream(100);
    assert_eq!((first.delivered, first.prior_delivered), (1_000, 0));
    assert_eq!(first.interval, Duration::from_millis(100));
    assert_eq!(first.delivery_rate, 10_000);
    let second = sampled.ack(110, 2);
    assert_eq!(second.delivered, 2_000);
    assert_eq!(second.interval, Duration::from_millis(110));
}

/// The segment of 100 ms left as the ACK of the first came: 10 segments were delivered from then
/// until its own ACK, 100 ms later.
#[test]
fn a_full_pipe_shows_the_rate_of_the_path() {
    let mut sampled = Sampled::new();
    let sample = sampled.stream(200);
    assert_eq!((sample.prior_delivered, sample.delivered), (1_000, 10_000));
    assert_eq!(sample.interval, Duration::from_millis(100));
    assert_eq!(sample.delivery_rate, 100_000);
    assert_eq!((sample.tx_in_flight, sample.lost), (10_000, 0));
    assert!(!sample.is_app_limited);
}

/// §4.1.1.2.3: ACKs that come bunched make the path look faster than what was sent into it.
#[test]
fn compressed_acks_are_bounded_by_the_send_rate() {
    let mut sampled = Sampled::new();
    (0..20).for_each(|n| sampled.send(10 * n, 1));
    sampled.ack(200, 9); // the ACKs of nine segments, the oldest 100 ms late
    sampled.send(200, 1);
    let sample = sampled.ack(290, 21); // 12 segments in 90 ms
    assert_eq!(sample.delivered, 12_000);
    // The last of the nine left at 80 ms, this one at 200.
    assert_eq!(sample.interval, Duration::from_millis(120));
    assert_eq!(sample.delivery_rate, 100_000);
}

/// What left with too little to send behind it is marked until it is out of the pipe.
#[test]
fn samples_of_a_sender_that_ran_dry_are_marked() {
    let mut sampled = Sampled::new();
    sampled.stream(150); // 16 sent, 6 delivered
    let in_flight = sampled.flight.in_flight();
    sampled.sampler().on_app_limited(in_flight);
    sampled.send(160, 1);
    assert!(!sampled.ack(250, 16).is_app_limited); // sent before that
    assert!(sampled.sampler().is_app_limited());
    assert!(sampled.ack(260, 17).is_app_limited);
    assert!(!sampled.sampler().is_app_limited()); // 17,000 of 16,000 are there
    sampled.send(270, 1);
    assert!(!sampled.ack(370, 18).is_app_limited);
}

/// A pause is no time that the path took.
#[test]
fn an_empty_pipe_begins_a_new_interval() {
    let mut sampled = Sampled::new();
    sampled.stream(200);
    sampled.ack(300, 21);
    sampled.send(5_000, 10);
    let sample = sampled.ack(5_100, 31);
    assert_eq!(sample.interval, Duration::from_millis(100));
    assert_eq!(sample.delivery_rate, 100_000);
}

/// §4.1.2.3: an interval shorter than the path can be is that of a mistaken retransmission.
#[test]
fn too_short_an_interval_gives_no_rate() {
    let mut sampled = Sampled::new();
    sampled.min_rtt = Some(Duration::from_millis(50));
    sampled.send(0, 4);
    let sample = sampled.ack(40, 2);
    assert_eq!((sample.delivery_rate, sample.delivered), (0, 2_000));
    assert_eq!(
        sampled.ack(60, 4).delivery_rate,
        per_second(4_000, Duration::from_millis(60))
    );
}

/// Of ten segments the second, third and fifth are lost; each says what was in flight when it left
/// and what has been lost since.
#[test]
fn each_loss_says_what_was_in_flight_with_it() {
    let mut sampled = Sampled::new();
    (0..10).for_each(|n| sampled.send(n, 1));
    sampled.digest(100, 1, Some((3, 4)));
    sampled.digest(101, 1, Some((5, 10)));
    assert!(sampled.losses(101).is_empty());
    sampled.flight.mark_lost_by_sack(MSS);
    let told: Vec<_> = sampled
        .losses(101)
        .iter()
        .map(|lost| (lost.tx_in_flight / MSS, lost.lost / 1_000, lost.bytes))
        .collect();
    // The records are looked through from the newest to the oldest.
    assert_eq!(told, [(5, 1, MSS), (3, 2, MSS), (2, 3, MSS)]);
    assert_eq!(sampled.sampler().newly_lost(), 3 * MSS);
    assert!(sampled.losses(102).is_empty(), "each is told once");
    let sample = sampled.sampler().sample(None).expect("SACKed data");
    assert_eq!((sample.tx_in_flight / MSS, sample.lost), (10, 3_000));
}

/// What is sent again starts over: its sample is that of the second transmission.
#[test]
fn a_repair_has_its_own_sample() {
    let mut sampled = Sampled::new();
    (0..10).for_each(|n| sampled.send(n, 1));
    sampled.digest(100, 0, Some((1, 10)));
    sampled.flight.mark_lost_by_sack(MSS);
    assert_eq!(sampled.losses(100).len(), 1);
    let lost = sampled.flight.next_lost().expect("one");
    sampled.flight.on_retransmit(ms(101), &lost, MSS);
    let sample = sampled.ack(201, 10);
    assert_eq!((sample.prior_delivered, sample.delivered), (9_000, 1_000));
    assert_eq!(sample.interval, Duration::from_millis(100));
    assert_eq!((sample.tx_in_flight, sample.lost), (MSS, 0));
}

/// A burst that left at one time is one transmission, and the loss of a part of it says so.
#[test]
fn the_lost_part_of_a_burst_is_told_in_pieces() {
    let mut sampled = Sampled::new();
    sampled.send(0, 8);
    sampled.send(0, 2);
    sampled.digest(100, 0, Some((2, 3)));
    sampled.digest(101, 0, Some((5, 10)));
    sampled.flight.mark_lost_on_timeout(None);
    let told: Vec<_> = sampled
        .losses(200)
        .iter()
        .map(|lost| (lost.bytes / MSS, lost.contiguous, lost.tx_in_flight / MSS))
        .collect();
    assert_eq!(told, [(2, false, 10), (2, false, 10)]);
}

/// A segment that was too large for the path says nothing of congestion.
#[test]
fn a_probe_of_the_mtu_is_no_loss() {
    let mut sampled = Sampled::new();
    sampled.send(0, 4);
    sampled.flight.mark_lost(&(at(1)..at(2)));
    assert!(sampled.losses(100).is_empty());
    assert_eq!(sampled.flight.lost(), MSS);
}

/// More transmissions than are kept apart: the samples are coarser, none is missing.
#[test]
fn a_long_flight_is_kept_coarser() {
    let mut sampled = Sampled::new();
    (0..20_000).for_each(|n| sampled.send(n, 1));
    assert!(sampled.sampler().sent.len() <= super::MAX_RECORDS);
    for una in 1..=20_000 {
        let now = 20_000 + u64::from(una);
        assert!(sampled.ack(now, una).delivered > 0);
    }
    assert!(sampled.sampler().sent.is_empty());
}
