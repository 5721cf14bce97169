//! How much ICMP leaves: token buckets with jitter, so that nobody can count their tokens.

use std::net::IpAddr;

use ustack_tcp::time::{Duration, Instant};

use super::config::IpConfig;
use super::keyed::{KeyedHash, Random};

/// Buckets for destinations; two that share one share its tokens.
const DESTINATIONS: usize = 1024;

/// Thousandths: what one error costs on average.
const ONE: u64 = 1000;

/// What a limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send.
    Allowed,
    /// This destination has had its share.
    Host,
    /// All destinations together have.
    Global,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u64,
    at: Instant,
}

impl Bucket {
    const fn full(tokens: u64) -> Self {
        Self {
            tokens,
            at: Instant::ZERO,
        }
    }

    /// Adds what has accrued at `rate` per second, up to `cap`, and takes `cost` if it is there.
    fn take(&mut self, now: Instant, rate: u64, cap: u64, cost: u64) -> bool {
        let nanos = now.saturating_since(self.at).as_nanos();
        let gained = nanos * u128::from(rate) / 1_000_000_000;
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        // The clock moves on by what the gain took, so that fractions are not lost.
        let used = u128::from(gained) * 1_000_000_000 / u128::from(rate.max(1));
        self.at += Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
        self.tokens = self.tokens.saturating_add(gained).min(cap);
        let is_there = self.tokens >= cost;
        if is_there {
            self.tokens -= cost;
        }
        is_there
    }
}

/// The limits on ICMP errors (global and per destination, IC-6, C6-5) and on echo replies.
#[derive(Debug)]
pub(super) struct Limiter {
    errors_per_second: u64,
    errors_burst: u64,
    errors_per_destination: u64,
    echo_bytes_per_second: u64,
    /// What the next error costs, 0.75 to 1.25 tokens. Kept until one is paid: a new draw for each
    /// attempt would let the cheap ones through.
    cost: u64,
    global: Bucket,
    destinations: Box<[Bucket]>,
    echo: Bucket,
    hash: KeyedHash,
    random: Random,
}

impl Limiter {
    pub(super) fn new(config: &IpConfig, hash: KeyedHash, random: Random) -> Self {
        let burst = u64::from(config.icmp_errors_burst) * ONE;
        let host = u64::from(config.icmp_errors_per_destination) * ONE;
        let echo = u64::from(config.echo_bytes_per_second);
        Self {
            errors_per_second: u64::from(config.icmp_errors_per_second) * ONE,
            errors_burst: burst,
            errors_per_destination: host,
            echo_bytes_per_second: echo,
            cost: ONE,
            global: Bucket::full(burst),
            destinations: vec![Bucket::full(host); DESTINATIONS].into(),
            echo: Bucket::full(echo / 2),
            hash,
            random,
        }
    }

    /// Whether an error to `destination` may leave now. The destination is asked first, so that
    /// one flood does not use up what others share; each error costs 0.75 to 1.25 tokens, so that
    /// counting replies tells nothing about what else was sent (CVE-2020-25705).
    pub(super) fn check_error(&mut self, now: Instant, destination: IpAddr) -> Verdict {
        let cost = self.cost;
        let rate = self.errors_per_destination;
        let cap = rate - self.random.below(rate / 4 + 1);
        let bucket = self.hash.of(prefix(destination)) as usize % DESTINATIONS;
        if !self.destinations[bucket].take(now, rate, cap.max(cost), cost) {
            return Verdict::Host;
        }
        let cap = self.errors_burst - self.random.below(self.errors_burst / 4 + 1);
        if !self
            .global
            .take(now, self.errors_per_second, cap.max(cost), cost)
        {
            return Verdict::Global;
        }
        self.cost = ONE * 3 / 4 + self.random.below(ONE / 2 + 1);
        Verdict::Allowed
    }

    /// Whether an echo reply of `len` bytes may leave now.
    pub(super) fn check_echo(&mut self, now: Instant, len: usize) -> bool {
        let rate = self.echo_bytes_per_second;
        self.echo.take(now, rate, rate / 2, len as u64)
    }
}

/// What counts as one destination: an address, or an IPv6 subnet.
fn prefix(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;

    fn limiter(seed: u8) -> Limiter {
        let hash = KeyedHash::new([seed; 16]);
        let config = IpConfig::default();
        Limiter::new(&config, hash, Random::new(hash))
    }

    /// How many of `per_second` errors a second to `hosts` destinations leave in `seconds`.
    fn count(limiter: &mut Limiter, hosts: u32, per_second: u64, seconds: u64) -> u64 {
        (0..per_second * seconds)
            .filter(|n| {
                let now = Instant::from_nanos(1_000_000_000 + n * 1_000_000_000 / per_second);
                let host = IpAddr::V4(std::net::Ipv4Addr::from_bits(*n as u32 % hosts + 1));
                limiter.check_error(now, host) == Verdict::Allowed
            })
            .count() as u64
    }

    /// IC-6, C6-5: 10⁵ triggers a second: the limit and the burst, within a tenth, and not the
    /// same number for every seed.
    #[test]
    #[covers("IC-6", "C6-5")]
    fn errors_are_limited_and_the_limit_is_not_exact() {
        let counts: Vec<_> = (0..4)
            .map(|seed| count(&mut limiter(seed), 5000, 100_000, 4))
            .collect();
        for sent in &counts {
            assert!((3600..=4400 + 50).contains(sent), "{counts:?}");
        }
        assert!(counts.iter().any(|sent| *sent != counts[0]), "{counts:?}");
    }

    #[test]
    #[covers("IC-6", "C6-5")]
    fn one_destination_does_not_take_all() {
        let mut limiter = limiter(9);
        let sent = count(&mut limiter, 1, 10_000, 5);
        assert!((45..=75).contains(&sent), "{sent}");
        let other = "10.9.9.9".parse().expect("an address");
        let now = Instant::from_millis(6_000);
        assert_eq!(limiter.check_error(now, other), Verdict::Allowed);
    }

    #[test]
    fn echo_replies_have_a_byte_budget() {
        let mut limiter = limiter(1);
        let now = Instant::from_millis(1);
        let sent = (0..10_000)
            .filter(|_| limiter.check_echo(now, 65_535))
            .count();
        assert_eq!(sent, (32 << 20) / 65_535);
        let later = Instant::from_millis(501);
        assert!(limiter.check_echo(later, 65_535), "the budget comes back");
    }
}
