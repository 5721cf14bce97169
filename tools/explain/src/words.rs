//! Numbers as people write them.

use std::time::Duration;

/// The ends of a conversation.
pub(crate) const ENDS: [&str; 2] = ["client", "server"];

/// `1.204 s`, `38 ms`, `0.4 ms`, `7 µs`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.3} s")
    } else if seconds >= 0.01 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds >= 0.000_1 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.0} µs", seconds * 1e6)
    }
}

/// A moment of the capture: `1.204 s`.
pub(crate) fn clock(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

/// `1 segment`, `2 segments`.
pub(crate) fn many(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// `once`, `twice`, `3 times`.
pub(crate) fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// `640 bytes`, `12 kB`, `3.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        1 => "1 byte".to_owned(),
        0..10_000 => format!("{count} bytes"),
        10_000..1_000_000 => format!("{:.0} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

/// Bits per second: `3.1 Mbit/s`.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let bits = bytes as f64 * 8.0 / time.as_secs_f64().max(1e-9);
    match bits {
        1e9.. => format!("{:.1} Gbit/s", bits / 1e9),
        1e6.. => format!("{:.1} Mbit/s", bits / 1e6),
        1e3.. => format!("{:.0} kbit/s", bits / 1e3),
        _ => format!("{bits:.0} bit/s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(time(Duration::from_micros(400)), "0.4 ms");
        assert_eq!(time(Duration::from_micros(7)), "7 µs");
        assert_eq!(time(Duration::from_millis(38)), "38 ms");
        assert_eq!(time(Duration::from_millis(1204)), "1.204 s");
        assert_eq!(
            (bytes(640), bytes(12_000)),
            ("640 bytes".into(), "12 kB".into())
        );
        assert_eq!(rate(125_000, Duration::from_secs(1)), "1.0 Mbit/s");
        assert_eq!(
            (many(1_u64, "byte"), many(3_u32, "byte")),
            ("1 byte".into(), "3 bytes".into())
        );
        let parts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            (list(&parts), list(&parts[..1])),
            ("a, b and c".into(), "a".into())
        );
    }
}
