//! The grammar in which users write a spec.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use ustack_tcp::time::Duration;

use super::unit::{RATES, SIZES, TIMES, in_unit, probability, rate, share, size, time};
use super::{CodelSpec, Drop, DropPattern, GilbertElliott, ImpairSpec, QueueLimit};

/// Why a text is not an [`ImpairSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpairParseError {
    /// No such key.
    #[error(
        "`{0}` is not one of loss, delay, jitter, reorder, duplicate, corrupt, rate, queue, seed, \
         gemodel, drop, hold, codel, target, interval, ce, mtu"
    )]
    UnknownKey(String),
    /// A key without a value.
    #[error("`{0}` lacks its value: write {0}={1}")]
    NoValue(String, &'static str),
    /// A key that was there already.
    #[error("`{0}` is given twice")]
    Repeated(String),
    /// A key that means something beside another one only.
    #[error("`{0}` has no effect without {1}: add {1}, or leave {0} out")]
    Alone(&'static str, &'static str),
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
const QUEUE: &str = "a number of packets from 1 to 100000, or of bytes up to 256MB, such as 500kB (units B, kB, MB)";
const GEMODEL: &str = "shares p/r/1-h/1-k, such as 1%/30% or 1%/30%/70%/0.1%";
const DROP: &str = "up to 256 numbers, ranges and periods, such as 5;8-12;every:100";
const CODEL: &str = "no value, or drop";
const MTU: &str = "a number of bytes from 68 to 65535";
const SEED: &str = "a whole number from 0 to 18446744073709551615";

/// What stands for the value of a key that needs none.
const FLAG: &str = "";

/// A text on its way to a spec: CoDel's parameters may come before `codel`.
#[derive(Default)]
struct Reader {
    spec: ImpairSpec,
    target: Option<Duration>,
    interval: Option<Duration>,
}

impl Reader {
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let spec = &mut self.spec;
        match key {
            "loss" => spec.loss = probability(value).ok_or(PROBABILITY)?,
            "gemodel" => spec.gemodel = Some(value.parse().map_err(|()| GEMODEL)?),
            "drop" => spec.drop = value.parse().map_err(|()| DROP)?,
            "reorder" => spec.reorder = probability(value).ok_or(PROBABILITY)?,
            "hold" => spec.hold = Some(time(value).ok_or(TIME)?),
            "duplicate" => spec.duplicate = probability(value).ok_or(PROBABILITY)?,
            "corrupt" => spec.corrupt = probability(value).ok_or(PROBABILITY)?,
            "delay" => spec.delay = time(value).ok_or(TIME)?,
            "jitter" => spec.jitter = time(value).ok_or(TIME)?,
            "rate" => spec.rate = Some(rate(value).ok_or(RATE)?),
            "queue" => spec.queue = Some(value.parse().map_err(|()| QUEUE)?),
            "codel" => spec.codel = Some(codel(value).ok_or(CODEL)?),
            "target" => self.target = Some(time(value).ok_or(TIME)?),
            "interval" => self.interval = Some(time(value).ok_or(TIME)?),
            "ce" => spec.ce = probability(value).ok_or(PROBABILITY)?,
            "mtu" => spec.mtu = Some(mtu(value).ok_or(MTU)?),
            _ => spec.seed = Some(value.parse().map_err(|_| SEED)?),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ImpairSpec, ImpairParseError> {
        for (key, time) in [("target", self.target), ("interval", self.interval)] {
            match (&mut self.spec.codel, time) {
                (_, None) => {}
                (None, Some(_)) => return Err(ImpairParseError::Alone(key, "codel")),
                (Some(codel), Some(time)) if key == "target" => codel.target = time,
                (Some(codel), Some(time)) => codel.interval = time,
            }
        }
        match &self.spec {
            spec if spec.codel.is_some() && spec.rate.is_none() => {
                Err(ImpairParseError::Alone("codel", "rate"))
            }
            spec if spec.hold.is_some() && spec.reorder == 0.0 => {
                Err(ImpairParseError::Alone("hold", "reorder"))
            }
            _ => Ok(self.spec),
        }
    }
}

fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "loss" | "reorder" | "ce" => "1%",
        "gemodel" => "1%/30%",
        "drop" => "5;8-12;every:100",
        "duplicate" => "0.5%",
        "corrupt" => "0.1%",
        "delay" => "10ms",
        "jitter" => "2ms",
        "hold" | "target" => "5ms",
        "interval" => "100ms",
        "rate" => "100mbit",
        "queue" => "100",
        "mtu" => "1400",
        "seed" => "7",
        "codel" => FLAG,
        _ => return None,
    })
}

impl FromStr for ImpairSpec {
    type Err = ImpairParseError;

    fn from_str(text: &str) -> Result<Self, ImpairParseError> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => (part, ""),
            };
            let Some(example) = example(key) else {
                return Err(ImpairParseError::UnknownKey(key.to_owned()));
            };
            if value.is_empty() && example != FLAG {
                return Err(ImpairParseError::NoValue(key.to_owned(), example));
            }
            if seen.contains(&key) {
                return Err(ImpairParseError::Repeated(key.to_owned()));
            }
            seen.push(key);
            reader
                .set(key, value)
                .map_err(|allowed| ImpairParseError::BadValue {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    allowed,
                })?;
        }
        reader.finish()
    }
}

/// The same grammar, so that a logged spec can be given again.
impl fmt::Display for ImpairSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |time: Duration| in_unit(time.as_nanos(), &TIMES);
        let chance = |value: f64| (value > 0.0).then(|| share(value));
        let length = |time: Duration| (!time.is_zero()).then(|| times(time));
        let drop = (!self.drop.is_empty()).then(|| self.drop.to_string());
        let codel = self
            .codel
            .map(|codel| if codel.marks { "" } else { "drop" });
        let parts = [
            ("loss", chance(self.loss)),
            ("gemodel", self.gemodel.map(|model| model.to_string())),
            ("drop", drop),
            ("reorder", chance(self.reorder)),
            ("hold", self.hold.map(times)),
            ("duplicate", chance(self.duplicate)),
            ("corrupt", chance(self.corrupt)),
            ("delay", length(self.delay)),
            ("jitter", length(self.jitter)),
            ("rate", self.rate.map(|rate| in_unit(rate.into(), &RATES))),
            ("queue", self.queue.map(|queue| queue.to_string())),
            ("codel", codel.map(str::to_owned)),
            ("target", self.codel.map(|codel| times(codel.target))),
            ("interval", self.codel.map(|codel| times(codel.interval))),
            ("ce", chance(self.ce)),
            ("mtu", self.mtu.map(|mtu| mtu.to_string())),
            ("seed", self.seed.map(|seed| seed.to_string())),
        ];
        let given = parts.into_iter().filter_map(|(key, value)| {
            let value = value?;
            let separator = if value.is_empty() { "" } else { "=" };
            Some(format!("{key}{separator}{value}"))
        });
        f.write_str(&given.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for GilbertElliott {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let shares: Vec<f64> = text
            .split('/')
            .map(|share| probability(share.trim()))
            .collect::<Option<_>>()
            .ok_or(())?;
        let at = |index: usize, default: f64| shares.get(index).copied().unwrap_or(default);
        let p = at(0, 0.0);
        (shares.len() <= 4).then_some(()).ok_or(())?;
        Ok(Self {
            p,
            r: at(1, 1.0 - p),
            bad_loss: at(2, 1.0),
            good_loss: at(3, 0.0),
        })
    }
}

impl fmt::Display for GilbertElliott {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = [self.p, self.r, self.bad_loss, self.good_loss];
        f.write_str(&shares.map(share).join("/"))
    }
}

impl FromStr for DropPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.trim().parse().ok();
        let part = |text: &str| {
            Some(match (text.split_once(':'), text.split_once('-')) {
                (Some((every, period)), None) if every.trim() == "every" => {
                    Drop::Every(number(period).and_then(NonZeroU64::new)?)
                }
                (None, Some((first, last))) => Drop::Range(number(first)?, number(last)?),
                _ => Drop::Range(number(text)?, number(text)?),
            })
        };
        let parts: Vec<_> = text.split(';').map(part).collect::<Option<_>>().ok_or(())?;
        let fits = |part: &Drop| match *part {
            Drop::Range(first, last) => first >= 1 && first <= last,
            Drop::Every(_) => true,
        };
        let good = parts.len() <= Self::MAX_PARTS && parts.iter().all(fits);
        good.then_some(Self { parts }).ok_or(())
    }
}

impl fmt::Display for DropPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Drop| match *part {
            Drop::Range(first, last) if first == last => first.to_string(),
            Drop::Range(first, last) => format!("{first}-{last}"),
            Drop::Every(period) => format!("every:{period}"),
        };
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        f.write_str(&parts.join(";"))
    }
}

impl FromStr for QueueLimit {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.ends_with('B') {
            return size(text).map(Self::Bytes).ok_or(());
        }
        let packets = text.parse().map_err(|_| ())?;
        let good = (1..=100_000).contains(&packets);
        good.then_some(Self::Packets(packets)).ok_or(())
    }
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Packets(packets) => write!(f, "{packets}"),
            Self::Bytes(bytes) => f.write_str(&in_unit(bytes as u128, &SIZES)),
        }
    }
}

fn codel(text: &str) -> Option<CodelSpec> {
    let marks = match text {
        FLAG => true,
        "drop" => false,
        _ => return None,
    };
    Some(CodelSpec {
        marks,
        ..CodelSpec::default()
    })
}

fn mtu(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&mtu| mtu >= 68)
}
