//! Numbers with units, there and back.

use ustack_tcp::time::Duration;

pub(super) const TIMES: [(u128, &str); 4] = [
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1000, "us"),
    (1, "ns"),
];
pub(super) const RATES: [(u128, &str); 4] = [
    (1_000_000_000, "gbit"),
    (1_000_000, "mbit"),
    (1000, "kbit"),
    (1, "bit"),
];
pub(super) const SIZES: [(u128, &str); 3] = [(1_000_000, "MB"), (1000, "kB"), (1, "B")];

/// A number in the largest unit that keeps it whole.
pub(super) fn in_unit(value: u128, units: &[(u128, &str)]) -> String {
    let whole = units
        .iter()
        .find(|(factor, _)| value.is_multiple_of(*factor));
    whole.map_or_else(String::new, |(factor, unit)| {
        format!("{}{unit}", value / factor)
    })
}

/// A probability in percent, unless that would not read back as the same number.
pub(super) fn share(value: f64) -> String {
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

pub(super) fn probability(text: &str) -> Option<f64> {
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim())? / 100.0,
        None => number(text)?,
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

/// A number and its unit; the first unit that fits is taken.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number_part, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number(number_part.trim())? * factor)
}

pub(super) fn time(text: &str) -> Option<Duration> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let nanos = with_unit(text, &units)?;
    (nanos <= 60e9).then(|| Duration::from_nanos(nanos.round() as u64))
}

pub(super) fn rate(text: &str) -> Option<u64> {
    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
    let bits = with_unit(text, &units)?;
    (1.0..=1e15).contains(&bits).then_some(bits as u64)
}

/// Bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let units = [("kB", 1e3), ("MB", 1e6), ("B", 1.0)];
    let bytes = with_unit(text, &units)?;
    (1.0..=256e6).contains(&bytes).then_some(bytes as usize)
}
