//! One direction of a link: packets go in, and come out later, damaged, twice or never.
//!
//! ```text
//! on_packet ─► loss, drop ─► mtu ─► corrupt ─► ce ─► duplicate ─► queue, rate ─► delay, reorder ─► poll_due
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use ustack_tcp::time::{Duration, Instant};

use super::bottleneck::{Bottleneck, Waiting};
use super::chance::{Choice, Dice};
use super::counters::{LaneCounters, add, count};
use super::delay::{DelayLine, shortest};
use super::loss::Loss;
use super::packet::{mark_ce, too_big};
use super::spec::{ImpairSpec, QueueLimit};
use crate::device::{Frame, LostPacket, gso};

/// Bytes a lane holds at most, whatever the spec says.
const MAX_BYTES: usize = 256 << 20;
/// Packets a lane holds at most, unless the spec says less.
const MAX_PACKETS: usize = 200_000;
/// Answers that wait for [`Lane::poll_answer`]; more are not made.
const MAX_ANSWERS: usize = 64;
/// Set in the number of a packet's second copy, which has its own luck on the way.
const COPY: u64 = 1 << 63;

/// One direction of a link with the faults of an [`ImpairSpec`], on the caller's time.
///
/// Packets are numbered from 1 as they come in. Every random decision depends on the seed, the kind
/// of fault and the packet's number only: the same numbers are lost whoever sends and whatever
/// else happens. What leaves does so at its exact time however late the caller asks; only
/// `now` must not go backwards.
#[derive(Debug)]
pub struct Lane {
    spec: ImpairSpec,
    dice: Dice,
    /// Packets that came in so far.
    packets: u64,
    loss: Loss,
    bottleneck: Bottleneck,
    line: DelayLine,
    answers: VecDeque<Vec<u8>>,
    counters: Arc<LaneCounters>,
}

impl Lane {
    /// A lane with nothing in it. `stream` keeps lanes with the same seed apart; without a seed
    /// there is a random one, see [`Lane::spec`].
    pub fn new(mut spec: ImpairSpec, stream: u64) -> Self {
        let seed = *spec.seed.get_or_insert_with(|| fastrand::u64(..));
        Self {
            dice: Dice::new(seed, stream),
            packets: 0,
            loss: Loss::default(),
            bottleneck: Bottleneck::new(&spec),
            line: DelayLine::new(),
            answers: VecDeque::new(),
            counters: Arc::default(),
            spec,
        }
    }

    /// What was asked for, as changed since, with the seed filled in.
    pub fn spec(&self) -> &ImpairSpec {
        &self.spec
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Arc<LaneCounters> {
        &self.counters
    }

    /// A finished IP packet comes in.
    pub fn on_packet(&mut self, now: Instant, mut packet: Vec<u8>) {
        self.advance(now);
        self.packets += 1;
        let number = self.packets;
        count(&self.counters.packets);
        if self.loss.takes(&self.spec, self.dice, number) {
            count(&self.counters.lost);
            self.bottleneck.lost().push(now, "loss", &packet);
            return;
        }
        if let Some(mtu) = self.spec.mtu.filter(|&mtu| packet.len() > usize::from(mtu)) {
            count(&self.counters.oversized);
            self.bottleneck.lost().push(now, "too large", &packet);
            if self.answers.len() < MAX_ANSWERS {
                self.answers.extend(too_big(&packet, mtu));
            }
            return;
        }
        if self.happens(Choice::Corrupt, self.spec.corrupt) && !packet.is_empty() {
            let bits = packet.len() as u64 * 8;
            let bit = self.dice.below(Choice::Bit, number, bits) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
            count(&self.counters.corrupted);
        }
        if self.happens(Choice::Mark, self.spec.ce) && mark_ce(&mut packet) {
            count(&self.counters.marked);
        }
        if self.happens(Choice::Duplicate, self.spec.duplicate) {
            count(&self.counters.duplicated);
            self.enqueue(now, packet.clone(), number | COPY);
        }
        self.enqueue(now, packet, number);
    }

    /// Whether something of this probability happens to the packet that came in last.
    fn happens(&self, choice: Choice, probability: f64) -> bool {
        self.dice.happens(choice, self.packets, probability)
    }

    fn enqueue(&mut self, now: Instant, packet: Vec<u8>, number: u64) {
        let held = self.bottleneck.packets() + self.line.packets();
        let bytes = self.bottleneck.bytes() + self.line.bytes() + packet.len();
        // Without a bottleneck the limit is that of the way.
        let way = match (self.spec.rate, self.spec.queue) {
            (None, Some(QueueLimit::Packets(limit))) => held >= limit,
            (None, Some(QueueLimit::Bytes(limit))) => bytes > limit,
            _ => false,
        };
        if way || held >= MAX_PACKETS || bytes > MAX_BYTES {
            count(&self.counters.overflowed);
            self.bottleneck.lost().push(now, "queue full", &packet);
            return;
        }
        let waiting = Waiting {
            packet,
            number,
            arrived: now,
        };
        self.bottleneck.offer(waiting, &self.counters);
        self.advance(now);
    }

    /// Brings the queue to its state at `now`. The other calls with a time do so too; this one is
    /// for who wants to look.
    pub fn advance(&mut self, now: Instant) {
        while let Some((at, sent)) = self.bottleneck.poll_sent(now, &self.counters) {
            self.line
                .push(at, sent, &self.spec, self.dice, &self.counters);
        }
    }

    /// The next packet that has come out by `now`, in the order of their times.
    pub fn poll_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.advance(now);
        let packet = self.line.pop_due(now)?;
        count(&self.counters.delivered);
        add(&self.counters.delivered_bytes, packet.len() as u64);
        Some(packet)
    }

    /// When [`Lane::poll_due`] is to be called next. With jitter or reordering it may have nothing
    /// then.
    pub fn next_due(&self) -> Option<Instant> {
        let sent = self.bottleneck.next_sent();
        let from_queue = sent.map(|at| at + shortest(&self.spec));
        let on_its_way = self.line.next_due();
        from_queue.into_iter().chain(on_its_way).min()
    }

    /// The next ICMP error about a packet that was too large for `mtu`: to go to its sender.
    pub fn poll_answer(&mut self) -> Option<Vec<u8>> {
        self.answers.pop_front()
    }

    /// Changes the rate from `now` on, for the packet on the wire too: bits of IP packet per
    /// second, 0 to stand still, `None` for no bottleneck.
    pub fn set_rate(&mut self, now: Instant, rate: Option<u64>) {
        self.advance(now);
        self.spec.rate = rate;
        self.bottleneck.set_rate(now, rate);
        self.advance(now);
    }

    /// Changes the delay of what leaves the queue from `now` on. Nothing overtakes what is already
    /// on its way.
    pub fn set_delay(&mut self, now: Instant, delay: Duration) {
        self.advance(now);
        self.spec.delay = delay;
    }

    /// Changes the probability of loss, 0 to 1.
    pub fn set_loss(&mut self, loss: f64) {
        self.spec.loss = loss;
    }

    /// Changes how much may wait; what waits already stays.
    pub fn set_queue(&mut self, queue: Option<QueueLimit>) {
        self.spec.queue = queue;
        self.bottleneck
            .set_limit(queue.unwrap_or(ImpairSpec::DEFAULT_QUEUE));
    }

    /// Packets in the queue, the one on the wire included.
    pub fn queue_packets(&self) -> usize {
        self.bottleneck.packets()
    }

    /// Bytes in the queue, those on the wire included.
    pub fn queue_bytes(&self) -> usize {
        self.bottleneck.bytes()
    }

    /// How long the packet that began to be sent last had waited for that.
    pub fn last_sojourn(&self) -> Duration {
        self.bottleneck.last_sojourn()
    }

    /// Packets behind the queue, on their way.
    pub fn in_flight_packets(&self) -> usize {
        self.line.packets()
    }

    /// Takes the wire packets of a frame in.
    pub(super) fn take(&mut self, now: Instant, frame: &Frame) {
        if gso::cut(frame, |packet| self.on_packet(now, packet)).is_err() {
            count(&self.counters.malformed);
        }
    }

    /// Whether [`Lane::poll_due`] has something.
    pub(super) fn has_due(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.line.next_due().is_some_and(|due| due <= now)
    }

    /// Moves what got lost to `into`, and keeps what will.
    pub(super) fn take_lost(&mut self, is_sent: bool, into: &mut Vec<LostPacket>) {
        self.bottleneck.lost().take(is_sent, into);
    }

    pub(super) fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }
}
