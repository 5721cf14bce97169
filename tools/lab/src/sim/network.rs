//! The network between the hosts: lanes, and the way from lane to lane of every pair of hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ustack::device::impair::{Lane, LaneCounters};
use ustack_tcp::time::{Duration, Instant};

use super::wire::{self, HostId};
use crate::scenario::{Change, ChangeTo, LaneSpec, Scenario};

/// Where packets go that have passed the last lane of their way.
pub(super) trait Arrivals {
    /// A packet is at its host.
    fn arrive(&mut self, host: HostId, packet: Vec<u8>, finished: bool);
}

/// Lanes and ways.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    /// Ways from each host; few, so that searching them is the fastest.
    ways: Vec<Vec<Way>>,
    /// Packets whose destination was damaged.
    pub(super) stray: u64,
}

/// A lane and what it did so far.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) is_reported: bool,
    pub(super) lane: Lane,
    next: Option<Instant>,
    rate: Option<u64>,
    /// Bits that the rate so far would have carried since the measured window began.
    capacity: Capacity,
    /// Queueing time of packets that came out, added up, in nanoseconds.
    pub(super) sojourn_sum: u128,
    pub(super) sojourns: u64,
    pub(super) sojourn_max: Duration,
    /// Queueing time at the samples, in milliseconds.
    pub(super) delays: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Capacity {
    since: Instant,
    bits: f64,
}

#[derive(Debug)]
struct Way {
    to: HostId,
    lanes: Vec<usize>,
    /// Some lane of it flips bits, so that packets need checksums.
    finished: bool,
}

impl Network {
    pub(super) fn new(scenario: &Scenario, seed: u64, hosts: usize) -> Self {
        let lanes = scenario.lanes.iter().enumerate();
        Self {
            links: lanes
                .map(|(index, spec)| Link::new(spec, seed, index as u64))
                .collect(),
            ways: std::iter::repeat_with(Vec::new).take(hosts).collect(),
            stray: 0,
        }
    }

    pub(super) fn connect(&mut self, from: HostId, to: HostId, lanes: Vec<usize>) {
        let flips = |lane: &usize| self.links[*lane].lane.spec().corrupt > 0.0;
        self.ways[from].push(Way {
            to,
            finished: lanes.iter().any(flips),
            lanes,
        });
    }

    fn way(&self, from: HostId, to: HostId) -> Option<&Way> {
        self.ways.get(from)?.iter().find(|way| way.to == to)
    }

    /// Whether packets between these two need their checksums.
    pub(super) fn needs_checksum(&self, from: HostId, to: HostId) -> bool {
        self.way(from, to).is_some_and(|way| way.finished)
    }

    /// A packet leaves its host.
    pub(super) fn send(&mut self, now: Instant, packet: Vec<u8>, arrivals: &mut impl Arrivals) {
        self.pass(now, packet, None, arrivals);
    }

    /// A packet goes into the first lane of its way, or the one after `passed`.
    fn pass(
        &mut self,
        now: Instant,
        packet: Vec<u8>,
        passed: Option<usize>,
        arrivals: &mut impl Arrivals,
    ) {
        let ends = wire::source(&packet).zip(wire::destination(&packet));
        let Some((way, to)) = ends.and_then(|(from, to)| Some((self.way(from, to)?, to))) else {
            self.stray += 1;
            return;
        };
        let mut lanes = way.lanes.iter();
        if let Some(passed) = passed {
            lanes.find(|lane| **lane == passed);
        }
        match lanes.next().copied() {
            Some(lane) => self.links[lane].on_packet(now, packet, arrivals),
            None => arrivals.arrive(to, packet, way.finished),
        }
    }

    /// Moves on every packet that is due; false when none was.
    pub(super) fn advance(&mut self, now: Instant, arrivals: &mut impl Arrivals) -> bool {
        let mut moved = false;
        for index in 0..self.links.len() {
            if self.links[index].next.is_none_or(|next| next > now) {
                continue;
            }
            moved = true;
            while let Some(packet) = self.links[index].poll_due(now) {
                self.pass(now, packet, Some(index), arrivals);
            }
            self.links[index].settle();
        }
        moved
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| link.next).min()
    }

    pub(super) fn change(&mut self, now: Instant, change: &Change) {
        self.links[change.lane].change(now, change.to);
    }
}

impl Link {
    fn new(spec: &LaneSpec, seed: u64, stream: u64) -> Self {
        let mut impair = spec.spec.clone();
        impair.seed = Some(seed);
        Self {
            name: spec.name.clone(),
            is_reported: spec.is_reported,
            rate: impair.rate,
            lane: Lane::new(impair, stream),
            next: None,
            capacity: Capacity {
                since: Instant::ZERO,
                bits: 0.0,
            },
            sojourn_sum: 0,
            sojourns: 0,
            sojourn_max: Duration::ZERO,
            delays: Vec::new(),
        }
    }

    fn on_packet(&mut self, now: Instant, packet: Vec<u8>, arrivals: &mut impl Arrivals) {
        self.lane.on_packet(now, packet);
        // What was too large is answered to its sender, by whoever stands before the lane.
        while let Some(answer) = self.lane.poll_answer() {
            if let Some(host) = wire::destination(&answer) {
                arrivals.arrive(host, answer, true);
            }
        }
        self.settle();
    }

    fn poll_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let packet = self.lane.poll_due(now)?;
        let sojourn = self.lane.last_sojourn();
        self.sojourn_sum += sojourn.as_nanos();
        self.sojourns += 1;
        self.sojourn_max = self.sojourn_max.max(sojourn);
        Some(packet)
    }

    fn settle(&mut self) {
        self.next = self.lane.next_due();
    }

    fn change(&mut self, now: Instant, to: ChangeTo) {
        match to {
            ChangeTo::Rate(rate) => {
                self.capacity.bits = self.capacity(now);
                self.capacity.since = now;
                self.rate = Some(rate);
                self.lane.set_rate(now, Some(rate));
            }
            ChangeTo::Delay(delay) => self.lane.set_delay(now, delay),
            ChangeTo::Loss(loss) => self.lane.set_loss(loss),
            ChangeTo::Queue(queue) => self.lane.set_queue(Some(queue)),
        }
        self.settle();
    }

    /// The measured window begins.
    pub(super) fn begin_window(&mut self, now: Instant) {
        self.capacity = Capacity {
            since: now,
            bits: 0.0,
        };
        self.sojourn_sum = 0;
        self.sojourns = 0;
        self.sojourn_max = Duration::ZERO;
        self.delays.clear();
    }

    /// Bits that could have passed since the window began; 0 without a rate.
    pub(super) fn capacity(&self, now: Instant) -> f64 {
        let since = crate::app::seconds(now.saturating_since(self.capacity.since));
        self.capacity.bits + self.rate.unwrap_or(0) as f64 * since
    }

    pub(super) fn counters(&self) -> &Arc<LaneCounters> {
        self.lane.counters()
    }
}

/// The value of a counter.
pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
