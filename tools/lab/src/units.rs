//! Values with units, as experiment files write them: `100mbit`, `20ms`, `1%`, `64kB`, `1bdp`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use ustack_tcp::time::Duration;

/// Bits of IP packet per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// A span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A share of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// How much waits before a bottleneck at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// So many packets.
    Packets(usize),
    /// So many bytes.
    Bytes(usize),
    /// So many times rate × round-trip time.
    Bdp(f64),
}

const RATES: [(&str, f64); 4] = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
const TIMES: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
const SIZES: [(&str, f64); 6] = [
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("B", 1.0),
];

/// What experiment files may not say in these units: a year, a thousand terabytes.
const MOST: f64 = 1e15;
/// The longest time.
const MOST_NANOS: f64 = 86_400e9;

/// A number without sign, exponent or name.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain && !text.is_empty())
        .then(|| text.parse().ok())
        .flatten()
}

/// A number and its unit, in the smallest unit.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number(digits.trim_end())? * factor)
}

/// `value` in the largest unit that keeps it whole.
fn in_unit(f: &mut fmt::Formatter<'_>, value: u64, units: &[(u64, &str)]) -> fmt::Result {
    match units
        .iter()
        .find(|(factor, _)| value.is_multiple_of(*factor))
    {
        Some((factor, unit)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

/// Why a text is not such a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {allowed}")]
pub struct UnitError {
    text: String,
    allowed: &'static str,
}

/// What is needed of a unit besides its type.
trait Unit: Sized {
    /// What a user may write.
    const ALLOWED: &'static str;
    fn parse(text: &str) -> Option<Self>;
    /// A bare number, where that makes sense.
    fn from_number(_: f64) -> Option<Self> {
        None
    }
}

impl Unit for Rate {
    const ALLOWED: &'static str =
        "a rate of at least 1bit, such as \"100mbit\" (units bit, kbit, mbit, gbit)";

    fn parse(text: &str) -> Option<Self> {
        let bits = with_unit(text, &RATES)?;
        (1.0..=MOST).contains(&bits).then_some(Self(bits as u64))
    }
}

impl Unit for Time {
    const ALLOWED: &'static str = "a time up to 86400s, such as \"20ms\" (units ns, us, ms, s)";

    fn parse(text: &str) -> Option<Self> {
        let nanos = with_unit(text, &TIMES)?;
        (nanos <= MOST_NANOS).then(|| Self(Duration::from_nanos(nanos.round() as u64)))
    }

    fn from_number(number: f64) -> Option<Self> {
        (number == 0.0).then_some(Self::default())
    }
}

impl Unit for Share {
    const ALLOWED: &'static str = "a share from 0% to 100%, such as \"1%\" or 0.01";

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => Self::from_number(number(percent.trim_end())? / 100.0),
            None => Self::from_number(number(text)?),
        }
    }

    fn from_number(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }
}

impl Unit for Size {
    const ALLOWED: &'static str =
        "a size, such as \"64kB\" or 1448 (units B, kB, MB, GB, KiB, MiB)";

    fn parse(text: &str) -> Option<Self> {
        Self::from_number(with_unit(text, &SIZES).or_else(|| number(text))?)
    }

    fn from_number(number: f64) -> Option<Self> {
        (0.0..=MOST)
            .contains(&number)
            .then_some(Self(number.round() as u64))
    }
}

impl Unit for Queue {
    const ALLOWED: &'static str = "a queue, such as \"1bdp\" (times rate × round trip), 100 (packets) or \"500kB\" (units B, kB, MB)";

    fn parse(text: &str) -> Option<Self> {
        if let Some(times) = text.strip_suffix("bdp") {
            let times = number(times.trim_end())?;
            return (times > 0.0 && times <= 1000.0).then_some(Self::Bdp(times));
        }
        if let Some(bytes) = with_unit(text, &SIZES) {
            return (1.0..=1e9)
                .contains(&bytes)
                .then_some(Self::Bytes(bytes as usize));
        }
        Self::from_number(number(text)?)
    }

    fn from_number(number: f64) -> Option<Self> {
        let whole = number.fract() == 0.0 && (1.0..=100_000.0).contains(&number);
        whole.then_some(Self::Packets(number as usize))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "gbit"),
            (1_000_000, "mbit"),
            (1000, "kbit"),
            (1, "bit"),
        ];
        in_unit(f, self.0, &units)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1000, "us"),
            (1, "ns"),
        ];
        in_unit(f, self.0.as_nanos() as u64, &units)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six digits of a percent: more than any text above means.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "GB"),
            (1_000_000, "MB"),
            (1000, "kB"),
            (1, "B"),
        ];
        in_unit(f, self.0, &units)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packets(packets) => write!(f, "{packets}"),
            Self::Bytes(bytes) => Size(*bytes as u64).fmt(f),
            Self::Bdp(times) => write!(f, "{times}bdp"),
        }
    }
}

/// Accepts the text and, where it makes sense, the number.
struct Reader<U>(std::marker::PhantomData<U>);

impl<U: Unit> Visitor<'_> for Reader<U> {
    type Value = U;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(U::ALLOWED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<U, E> {
        U::parse(text.trim()).ok_or_else(|| E::custom(format!("`{text}` is not {}", U::ALLOWED)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<U, E> {
        U::from_number(number).ok_or_else(|| E::custom(format!("`{number}` is not {}", U::ALLOWED)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<U, E> {
        self.visit_f64(number as f64)
    }
}

macro_rules! unit {
    ($($unit:ident),*) => {$(
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(std::marker::PhantomData))
            }
        }

        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl FromStr for $unit {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                Self::parse(text).ok_or_else(|| UnitError {
                    text: text.to_owned(),
                    allowed: Self::ALLOWED,
                })
            }
        }
    )*};
}
unit!(Rate, Time, Share, Size, Queue);

impl Rate {
    /// Bytes that pass in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        (u128::from(self.0) * time.as_nanos() / 8_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written() {
        assert_eq!("100mbit".parse(), Ok(Rate(100_000_000)));
        assert_eq!("1.5 gbit".parse(), Ok(Rate(1_500_000_000)));
        assert_eq!(
            "16.667ms".parse(),
            Ok(Time(Duration::from_nanos(16_667_000)))
        );
        assert_eq!("0.01%".parse(), Ok(Share(0.0001)));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert_eq!("1.5MB".parse(), Ok(Size(1_500_000)));
        assert_eq!("0.5bdp".parse(), Ok(Queue::Bdp(0.5)));
        assert_eq!("100".parse(), Ok(Queue::Packets(100)));
        assert_eq!("500kB".parse(), Ok(Queue::Bytes(500_000)));
        for text in ["100mbit", "1500kbit"] {
            assert_eq!(
                text.parse::<Rate>().map(|rate| rate.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(Share(0.0001).to_string(), "0.01%");
        assert_eq!(Time(Duration::from_micros(1500)).to_string(), "1500us");
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_is() {
        assert_eq!(
            "fast".parse::<Rate>().map_err(|error| error.to_string()),
            Err("`fast` is not a rate of at least 1bit, such as \"100mbit\" (units bit, kbit, mbit, gbit)".into())
        );
        for text in ["", "ms", "-1ms", "1", "1e3ms", "100000s"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        for text in ["101%", "2", "-1%", "nan"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in ["0", "1.5", "0bdp", "200000", "-1"] {
            assert!(text.parse::<Queue>().is_err(), "{text}");
        }
    }
}
