//! Senders on one link in virtual time: a bottleneck with a queue, a delay, and losses by chance.
//!
//! A sender is as plain as can be: a packet is lost once three later ones have arrived, what is
//! lost leaves again as a new packet, and each packet is acknowledged alone.

use std::collections::VecDeque;
use std::vec::Vec;

use super::super::{Bbr, State};
use crate::congestion::{
    CongestionController, CongestionEvent, CongestionKind, DeliverySample, LostSample, RateSample,
    SentSample, Setup, initial_window,
};
use crate::time::{Duration, Instant};

pub(super) const MSS: u32 = 1_448;

/// The path that all senders share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Bytes per second.
    pub(super) rate: u64,
    /// Round trip without a queue.
    pub(super) rtt: Duration,
    /// Bytes that wait at most.
    pub(super) queue: u64,
    /// Packets lost by chance, in ten thousand.
    pub(super) loss: u64,
    /// ACKs come in bursts, at multiples of this.
    pub(super) ack_slot: Duration,
    /// A policer: bytes that may come at once; there is no queue then.
    pub(super) bucket: Option<u64>,
}

impl Path {
    /// `megabits` per second, a round trip of `rtt` milliseconds, a queue of one BDP.
    pub(super) fn new(megabits: u64, rtt: u64) -> Self {
        let mut path = Self {
            rate: megabits * 125_000,
            rtt: Duration::from_millis(rtt),
            queue: 0,
            loss: 0,
            ack_slot: Duration::ZERO,
            bucket: None,
        };
        path.queue = path.bdp();
        path
    }

    pub(super) fn bdp(&self) -> u64 {
        self.rate * self.rtt.as_nanos() as u64 / 1_000_000_000
    }
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    id: u64,
    sent_at: Instant,
    delivered: u64,
    delivered_time: Instant,
    first_sent: Instant,
    app_limited: bool,
    tx_in_flight: u32,
    lost: u64,
}

/// What a sender runs, and what it has seen.
pub(super) struct Sender {
    pub(super) bbr: Bbr,
    next_send: Instant,
    next_id: u64,
    pub(super) in_flight: u32,
    sent: VecDeque<Packet>,
    pub(super) delivered: u64,
    delivered_time: Instant,
    first_sent: Instant,
    pub(super) lost: u64,
    app_limited: u64,
    recover: Option<u64>,
    limited_id: u64,
    min_rtt: Duration,
    /// Bytes that the application has still to send; without end, if none.
    pub(super) supply: Option<u64>,
    /// States in their order, with when they began.
    pub(super) states: Vec<(Instant, State)>,
}

impl Sender {
    fn new(seed: u64, begins: Instant) -> Self {
        let mut setup = Setup::new(MSS, initial_window(MSS));
        setup.seed = seed;
        let bbr = Bbr::new(&setup);
        Self {
            bbr,
            next_send: begins,
            next_id: 1,
            in_flight: 0,
            sent: VecDeque::new(),
            delivered: 0,
            delivered_time: begins,
            first_sent: begins,
            lost: 0,
            app_limited: 0,
            recover: None,
            limited_id: 0,
            min_rtt: Duration::MAX,
            supply: None,
            states: Vec::new(),
        }
    }

    fn may_send(&self) -> bool {
        self.has_data() && self.in_flight + MSS <= self.bbr.cwnd()
    }

    fn has_data(&self) -> bool {
        self.supply.is_none_or(|bytes| bytes >= u64::from(MSS))
    }

    /// A packet leaves.
    fn send(&mut self, now: Instant) -> Packet {
        self.bbr.on_sent(&{
            let mut sent = SentSample::new(now, MSS, self.in_flight);
            sent.app_limited = self.app_limited > 0;
            sent
        });
        if self.in_flight == 0 {
            (self.first_sent, self.delivered_time) = (now, now);
        }
        self.in_flight += MSS;
        let packet = Packet {
            id: self.next_id,
            sent_at: now,
            delivered: self.delivered,
            delivered_time: self.delivered_time,
            first_sent: self.first_sent,
            app_limited: self.app_limited > 0,
            tx_in_flight: self.in_flight,
            lost: self.lost,
        };
        self.next_id += 1;
        self.sent.push_back(packet);
        if let Some(bytes) = &mut self.supply {
            *bytes -= u64::from(MSS);
        }
        if self.in_flight + MSS > self.bbr.cwnd() {
            self.limited_id = packet.id;
        }
        self.note_lack();
        let rate = self.bbr.pacing_rate().unwrap();
        let gap = Duration::from_nanos(u64::from(MSS) * 1_000_000_000 / rate.max(1));
        self.next_send = self.next_send.max(now) + gap;
        packet
    }

    /// CheckIfApplicationLimited.
    fn note_lack(&mut self) {
        if !self.has_data() && self.in_flight < self.bbr.cwnd() {
            self.app_limited = self.delivered + u64::from(self.in_flight);
        }
    }

    /// The ACK of one packet.
    pub(super) fn on_ack(&mut self, now: Instant, id: u64) {
        let Ok(index) = self.sent.binary_search_by_key(&id, |packet| packet.id) else {
            return; // judged lost before
        };
        let packet = self.sent.remove(index).unwrap();
        let prior_in_flight = self.in_flight;
        self.in_flight -= MSS;
        self.delivered += u64::from(MSS);
        self.delivered_time = now;
        self.note_lack();
        if self.app_limited > 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        self.first_sent = packet.sent_at;
        self.min_rtt = self.min_rtt.min(now - packet.sent_at);
        if self.recover.is_some_and(|recover| id > recover) {
            self.recover = None;
            self.bbr.on_exit_recovery();
        }
        let newly_lost = self.find_lost(now, |packet| packet.id + 3 <= id);
        let mut sample = DeliverySample::new(now, MSS, self.delivered);
        (sample.prior_in_flight, sample.in_flight) = (prior_in_flight, self.in_flight);
        (sample.lost, sample.newly_lost) = (self.lost, newly_lost);
        sample.rtt = Some(now - packet.sent_at);
        sample.srtt = sample.rtt;
        sample.in_recovery = self.recover.is_some();
        sample.cwnd_limited = self.limited_id >= id;
        sample.app_limited = self.app_limited > 0;
        sample.rate = Some(self.rate_sample(now, &packet));
        self.bbr.on_delivered(&sample);
        self.note_state(now);
    }

    fn rate_sample(&self, now: Instant, packet: &Packet) -> RateSample {
        let sent = packet.sent_at - packet.first_sent;
        let interval = sent.max(now - packet.delivered_time);
        let delivered = self.delivered - packet.delivered;
        let rate = u128::from(delivered) * 1_000_000_000 / interval.as_nanos().max(1);
        RateSample {
            delivery_rate: if interval < self.min_rtt {
                0
            } else {
                rate as u64
            },
            delivered,
            prior_delivered: packet.delivered,
            interval,
            is_app_limited: packet.app_limited,
            tx_in_flight: packet.tx_in_flight,
            lost: self.lost - packet.lost,
        }
    }

    fn find_lost(&mut self, now: Instant, is_lost: impl Fn(&Packet) -> bool) -> u32 {
        let mut lost = Vec::new();
        while let Some(packet) = self.sent.pop_front_if(|packet| is_lost(packet)) {
            lost.push(packet);
        }
        let bytes = lost.len() as u32 * MSS;
        self.in_flight -= bytes;
        if self.recover.is_none() && !lost.is_empty() {
            self.recover = Some(self.next_id - 1);
            self.bbr.on_congestion(&CongestionEvent {
                now,
                kind: CongestionKind::Loss,
                in_flight: self.in_flight,
            });
        }
        for packet in lost {
            self.lost += u64::from(MSS);
            if let Some(supply) = &mut self.supply {
                *supply += u64::from(MSS);
            }
            let mut sample = LostSample::new(now, MSS, packet.tx_in_flight);
            (sample.delivered, sample.in_flight) = (self.delivered, self.in_flight);
            sample.lost = self.lost - packet.lost;
            sample.is_app_limited = packet.app_limited;
            self.bbr.on_lost(&sample);
        }
        bytes
    }

    /// Nothing comes any more: all is lost.
    fn on_timeout(&mut self, now: Instant) {
        self.recover = Some(self.next_id - 1);
        self.bbr.on_congestion(&CongestionEvent {
            now,
            kind: CongestionKind::Timeout,
            in_flight: self.in_flight,
        });
        self.find_lost(now, |_| true);
    }

    fn note_state(&mut self, now: Instant) {
        let state = self.bbr.state;
        if self.states.last().map(|last| last.1) != Some(state) {
            self.states.push((now, state));
        }
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.states.iter().map(|entry| entry.1).collect()
    }
}

/// Senders and the link between them and their peers.
pub(super) struct Net {
    pub(super) path: Path,
    pub(super) now: Instant,
    pub(super) senders: Vec<Sender>,
    /// When the link has sent all that it has.
    free: Instant,
    tokens: (Instant, u64),
    acks: VecDeque<(Instant, usize, u64)>,
    random: u64,
    /// The longest queue of late, in bytes, and a sum with its count for the mean.
    pub(super) queue_max: u64,
    queue_sum: u64,
    queue_count: u64,
}

impl Net {
    pub(super) fn new(path: Path, seed: u64) -> Self {
        Self {
            path,
            now: Instant::ZERO,
            senders: Vec::new(),
            free: Instant::ZERO,
            tokens: (Instant::ZERO, path.bucket.unwrap_or(0)),
            acks: VecDeque::new(),
            random: seed * 2 + 1,
            queue_max: 0,
            queue_sum: 0,
            queue_count: 0,
        }
    }

    /// One sender that always has something to send.
    pub(super) fn bulk(path: Path, seed: u64) -> Self {
        let mut net = Self::new(path, seed);
        net.add(seed, Duration::ZERO);
        net
    }

    pub(super) fn add(&mut self, seed: u64, begins: Duration) {
        self.senders.push(Sender::new(seed, Instant::ZERO + begins));
    }

    pub(super) fn bbr(&self) -> &Bbr {
        &self.senders[0].bbr
    }

    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 10_000
    }

    fn queued(&self) -> u64 {
        let time = self.free - self.now;
        (u128::from(self.path.rate) * time.as_nanos() / 1_000_000_000) as u64
    }

    /// Forgets what the queue was.
    pub(super) fn reset_queue(&mut self) {
        (self.queue_max, self.queue_sum, self.queue_count) = (0, 0, 0);
    }

    pub(super) fn queue_mean(&self) -> u64 {
        self.queue_sum / self.queue_count.max(1)
    }

    fn push(&mut self, flow: usize, id: u64) {
        let queued = self.queued();
        self.queue_max = self.queue_max.max(queued);
        self.queue_sum += queued;
        self.queue_count += 1;
        let lost = self.chance() < self.path.loss;
        if lost || queued + u64::from(MSS) > self.path.queue || !self.polices() {
            return;
        }
        let nanos = u64::from(MSS) * 1_000_000_000 / self.path.rate;
        if self.path.bucket.is_none() {
            self.free = self.free.max(self.now) + Duration::from_nanos(nanos);
        }
        let arrived = self.free.max(self.now) + self.path.rtt;
        let slot = self.path.ack_slot.as_nanos() as u64;
        let acked = if slot == 0 {
            arrived
        } else {
            Instant::from_nanos(arrived.as_nanos().div_ceil(slot) * slot)
        };
        self.acks.push_back((acked, flow, id));
    }

    /// Whether the policer lets a packet through.
    fn polices(&mut self) -> bool {
        let Some(bucket) = self.path.bucket else {
            return true;
        };
        let since = self.now - self.tokens.0;
        let filled = (u128::from(self.path.rate) * since.as_nanos() / 1_000_000_000) as u64;
        self.tokens = (self.now, (self.tokens.1 + filled).min(bucket));
        let through = self.tokens.1 >= u64::from(MSS);
        if through {
            self.tokens.1 -= u64::from(MSS);
        }
        through
    }

    /// Goes on for `time`.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end, |_| false);
    }

    /// Goes on until `done`, or to `end`; whether it was done.
    pub(super) fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step(end) {
                self.now = end;
                return false;
            }
        }
        true
    }

    /// What comes next: an ACK, or a packet that leaves.
    fn step(&mut self, end: Instant) -> bool {
        let ack = self.acks.front().map(|ack| ack.0);
        let next = self.senders.iter().enumerate();
        let next = next.filter(|(_, sender)| sender.may_send());
        let next = next.map(|(flow, sender)| (sender.next_send.max(self.now), flow));
        let send = next.min();
        match (ack, send) {
            (Some(at), send) if at <= end && send.is_none_or(|send| at <= send.0) => {
                let (at, flow, id) = self.acks.pop_front().unwrap();
                self.now = at;
                self.senders[flow].on_ack(at, id);
            }
            (_, Some((at, flow))) if at <= end => {
                self.now = at;
                let packet = self.senders[flow].send(at);
                self.push(flow, packet.id);
            }
            (None, None) => {
                let Some(sender) = self.senders.iter_mut().find(|sender| sender.in_flight > 0)
                else {
                    return false;
                };
                self.now += Duration::from_secs(1);
                sender.on_timeout(self.now);
                return self.now <= end;
            }
            _ => return false,
        }
        true
    }

    /// Bytes per second that a sender delivers in the next `time`, of the link's rate, in percent.
    pub(super) fn share(&mut self, flow: usize, time: Duration) -> u64 {
        let before = self.senders[flow].delivered;
        self.run(time);
        let delivered = self.senders[flow].delivered - before;
        delivered * 100_000 / time.as_millis() as u64 / self.path.rate
    }
}
