//! What shall go wrong, and the grammar in which users write it.

use std::fmt;
use std::str::FromStr;

use ustack_tcp::time::Duration;

/// The faults of one direction. Written as `loss=1%,delay=10ms,jitter=2ms,reorder=1%`; every key
/// may be left out.
///
/// | key | value | meaning |
/// |---|---|---|
/// | `loss` | `1%` or `0.01` | packets that vanish |
/// | `delay` | `10ms` (`ns`, `us`, `ms`, `s`) | time on the way |
/// | `jitter` | `2ms` | the delay varies by up to this much, both ways; order is kept |
/// | `reorder` | `1%` | packets that skip the delay and overtake (without a delay: that come 1 ms late) |
/// | `duplicate` | `0.5%` | packets that arrive twice |
/// | `corrupt` | `0.1%` | packets with one bit flipped |
/// | `rate` | `100mbit` (`bit`, `kbit`, `mbit`, `gbit`) | a bottleneck, in bits of IP packet per second |
/// | `queue` | `100` | packets that wait for the bottleneck (without `rate`: on the way) at most; the rest is dropped |
/// | `seed` | `7` | makes a run repeatable |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImpairSpec {
    /// Probability of loss, 0 to 1.
    pub loss: f64,
    /// Delay of every packet.
    pub delay: Duration,
    /// Largest deviation from `delay`.
    pub jitter: Duration,
    /// Probability of being reordered, 0 to 1.
    pub reorder: f64,
    /// Probability of being duplicated, 0 to 1.
    pub duplicate: f64,
    /// Probability of one flipped bit, 0 to 1.
    pub corrupt: f64,
    /// Bits per second of the bottleneck, at least 1.
    pub rate: Option<u64>,
    /// Packets that may wait; [`ImpairSpec::DEFAULT_QUEUE`] when there is a rate, else 100,000.
    pub queue: Option<usize>,
    /// Seed of the random choices.
    pub seed: Option<u64>,
}

/// Why a text is not an [`ImpairSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpairParseError {
    /// No such key.
    #[error(
        "`{0}` is not one of loss, delay, jitter, reorder, duplicate, corrupt, rate, queue, seed"
    )]
    UnknownKey(String),
    /// A key without a value.
    #[error("`{0}` lacks its value: write {0}={1}")]
    NoValue(String, &'static str),
    /// A key that was there already.
    #[error("`{0}` is given twice")]
    Repeated(String),
    /// A value that the key does not take.
    #[error("`{key}={value}` is not understood: {key} takes {allowed}")]
    BadValue {
        /// The key.
        key: String,
        /// What was written.
        value: String,
        /// What the key takes.
        allowed: &'static str,
    },
}

const PROBABILITY: &str = "a share from 0% to 100%, such as 1% or 0.01";
const TIME: &str = "a time up to 60s, such as 10ms (units ns, us, ms, s)";
const RATE: &str = "a rate of at least 1bit, such as 100mbit (units bit, kbit, mbit, gbit)";
const QUEUE: &str = "a number of packets from 1 to 100000";
const SEED: &str = "a whole number from 0 to 18446744073709551615";

impl ImpairSpec {
    /// Packets that wait for the bottleneck when `queue` is not given (as Linux netem's `limit`).
    pub const DEFAULT_QUEUE: usize = 1000;

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "loss" => self.loss = probability(value).ok_or(PROBABILITY)?,
            "reorder" => self.reorder = probability(value).ok_or(PROBABILITY)?,
            "duplicate" => self.duplicate = probability(value).ok_or(PROBABILITY)?,
            "corrupt" => self.corrupt = probability(value).ok_or(PROBABILITY)?,
            "delay" => self.delay = time(value).ok_or(TIME)?,
            "jitter" => self.jitter = time(value).ok_or(TIME)?,
            "rate" => self.rate = Some(rate(value).ok_or(RATE)?),
            "queue" => self.queue = Some(queue(value).ok_or(QUEUE)?),
            _ => self.seed = Some(value.parse().map_err(|_| SEED)?),
        }
        Ok(())
    }
}

fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "loss" | "reorder" => "1%",
        "duplicate" => "0.5%",
        "corrupt" => "0.1%",
        "delay" => "10ms",
        "jitter" => "2ms",
        "rate" => "100mbit",
        "queue" => "100",
        "seed" => "7",
        _ => return None,
    })
}

impl FromStr for ImpairSpec {
    type Err = ImpairParseError;

    fn from_str(text: &str) -> Result<Self, ImpairParseError> {
        let mut spec = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => (part, ""),
            };
            let Some(example) = example(key) else {
                return Err(ImpairParseError::UnknownKey(key.to_owned()));
            };
            if value.is_empty() {
                return Err(ImpairParseError::NoValue(key.to_owned(), example));
            }
            if seen.contains(&key) {
                return Err(ImpairParseError::Repeated(key.to_owned()));
            }
            seen.push(key);
            spec.set(key, value)
                .map_err(|allowed| ImpairParseError::BadValue {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    allowed,
                })?;
        }
        Ok(spec)
    }
}

/// The same grammar, so that a logged spec can be given again.
impl fmt::Display for ImpairSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let probabilities = [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
        ];
        for (key, value) in probabilities {
            if value > 0.0 {
                parts.push(format!("{key}={}", share(value)));
            }
        }
        for (key, value) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !value.is_zero() {
                parts.push(format!("{key}={}", in_unit(value.as_nanos(), &TIMES)));
            }
        }
        parts.extend(
            self.rate
                .map(|rate| format!("rate={}", in_unit(rate.into(), &RATES))),
        );
        parts.extend(self.queue.map(|queue| format!("queue={queue}")));
        parts.extend(self.seed.map(|seed| format!("seed={seed}")));
        f.write_str(&parts.join(","))
    }
}

const TIMES: [(u128, &str); 4] = [
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1000, "us"),
    (1, "ns"),
];
const RATES: [(u128, &str); 4] = [
    (1_000_000_000, "gbit"),
    (1_000_000, "mbit"),
    (1000, "kbit"),
    (1, "bit"),
];

/// A number in the largest unit that keeps it whole.
fn in_unit(value: u128, units: &[(u128, &str)]) -> String {
    let whole = units
        .iter()
        .find(|(factor, _)| value.is_multiple_of(*factor));
    whole.map_or_else(String::new, |(factor, unit)| {
        format!("{}{unit}", value / factor)
    })
}

/// A probability in percent, unless that would not read back as the same number.
fn share(value: f64) -> String {
    let percent = (value * 1e8).round() / 1e6;
    if (percent / 100.0).to_bits() == value.to_bits() {
        format!("{percent}%")
    } else {
        value.to_string()
    }
}

/// A number without sign, exponent or name.
fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

fn probability(text: &str) -> Option<f64> {
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim())? / 100.0,
        None => number(text)?,
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

/// A number and its unit; the longest unit that fits wins.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number_part, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number(number_part.trim())? * factor)
}

fn time(text: &str) -> Option<Duration> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let nanos = with_unit(text, &units)?;
    (nanos <= 60e9).then(|| Duration::from_nanos(nanos.round() as u64))
}

fn rate(text: &str) -> Option<u64> {
    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
    let bits = with_unit(text, &units)?;
    (1.0..=1e15).contains(&bits).then_some(bits as u64)
}

fn queue(text: &str) -> Option<usize> {
    let packets = text.parse().ok()?;
    (1..=100_000).contains(&packets).then_some(packets)
}
