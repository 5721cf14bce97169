//! What shall go wrong.

mod grammar;
mod unit;

use std::num::NonZeroU64;

use ustack_tcp::time::Duration;

pub use self::grammar::ImpairParseError;

/// The faults of one direction. Written as `loss=1%,delay=10ms,jitter=2ms,reorder=1%`; every key
/// may be left out.
///
/// | key | value | meaning |
/// |---|---|---|
/// | `loss` | `1%` or `0.01` | packets that vanish |
/// | `gemodel` | `1%/30%`, `1%/30%/70%/0.1%` | loss in bursts: how often the good state turns bad, the bad one good, what is lost in the bad state (all) and in the good one (nothing); as netem's `p/r/1-h/1-k` |
/// | `drop` | `5;8-12;every:100` | packets lost by their number, from 1 |
/// | `delay` | `10ms` (`ns`, `us`, `ms`, `s`) | time on the way |
/// | `jitter` | `2ms` | the delay varies by up to this much, both ways; order is kept |
/// | `reorder` | `1%` | packets that skip the delay and overtake (without a delay: that come 1 ms late) |
/// | `hold` | `5ms` | what `reorder` picks comes this much late instead |
/// | `duplicate` | `0.5%` | packets that arrive twice |
/// | `corrupt` | `0.1%` | packets with one bit flipped |
/// | `rate` | `100mbit` (`bit`, `kbit`, `mbit`, `gbit`) | a bottleneck, in bits of IP packet per second |
/// | `queue` | `100` or `500kB` (`B`, `kB`, `MB`) | packets or bytes that wait for the bottleneck (without `rate`: on the way) at most; the rest is dropped |
/// | `codel` | nothing, or `drop` | the queue is kept short (RFC 8289): ECN-capable packets are marked CE, others dropped; with `drop` all are dropped |
/// | `target`, `interval` | `5ms`, `100ms` | CoDel's parameters |
/// | `ce` | `1%` | ECN-capable packets that are marked CE |
/// | `mtu` | `1400` | larger packets are dropped; an ICMP error says so, unless IPv4 allowed to fragment |
/// | `seed` | `7` | makes a run repeatable |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImpairSpec {
    /// Probability of loss, 0 to 1.
    pub loss: f64,
    /// Loss in bursts.
    pub gemodel: Option<GilbertElliott>,
    /// Loss by number.
    pub drop: DropPattern,
    /// Delay of every packet.
    pub delay: Duration,
    /// Largest deviation from `delay`.
    pub jitter: Duration,
    /// Probability of being reordered, 0 to 1.
    pub reorder: f64,
    /// How late a reordered packet comes, instead of skipping the delay.
    pub hold: Option<Duration>,
    /// Probability of being duplicated, 0 to 1.
    pub duplicate: f64,
    /// Probability of one flipped bit, 0 to 1.
    pub corrupt: f64,
    /// Bits per second of the bottleneck; 0 stands still.
    pub rate: Option<u64>,
    /// What may wait; [`ImpairSpec::DEFAULT_QUEUE`] when there is a rate, else 200,000 packets.
    pub queue: Option<QueueLimit>,
    /// Controlled delay in the queue.
    pub codel: Option<CodelSpec>,
    /// Probability that an ECN-capable packet is marked, 0 to 1.
    pub ce: f64,
    /// The largest packet that passes, in bytes.
    pub mtu: Option<u16>,
    /// Seed of the random choices.
    pub seed: Option<u64>,
}

impl ImpairSpec {
    /// What waits for the bottleneck when `queue` is not given (as Linux netem's `limit`).
    pub const DEFAULT_QUEUE: QueueLimit = QueueLimit::Packets(1000);
}

/// When a queue is full. What is being sent counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// This many packets.
    Packets(usize),
    /// This many bytes of IP packet; an empty queue takes one packet of any size.
    Bytes(usize),
}

/// The channel of Gilbert and Elliott: a good and a bad state with a probability of loss each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GilbertElliott {
    /// Probability that the good state turns bad before a packet.
    pub p: f64,
    /// Probability that the bad state turns good before a packet.
    pub r: f64,
    /// Probability of loss in the bad state (netem's 1-h).
    pub bad_loss: f64,
    /// Probability of loss in the good state (netem's 1-k).
    pub good_loss: f64,
}

/// CoDel's parameters (RFC 8289 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelSpec {
    /// The acceptable standing delay.
    pub target: Duration,
    /// How long it may be exceeded.
    pub interval: Duration,
    /// ECN-capable packets are marked instead of dropped.
    pub marks: bool,
}

impl Default for CodelSpec {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            marks: true,
        }
    }
}

/// Packets that are lost by their number; the first one has number 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropPattern {
    parts: Vec<Drop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drop {
    /// First and last.
    Range(u64, u64),
    /// Every multiple of this number.
    Every(NonZeroU64),
}

impl DropPattern {
    /// Parts of a pattern at most: each packet is compared with all of them.
    pub const MAX_PARTS: usize = 256;

    /// Whether this packet is lost.
    pub fn holds(&self, packet: u64) -> bool {
        self.parts.iter().any(|part| match *part {
            Drop::Range(first, last) => (first..=last).contains(&packet),
            Drop::Every(every) => packet.is_multiple_of(every.get()),
        })
    }

    /// Whether it loses nothing.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}
