//! How long to look for packets before sleeping: as long as looking has paid off lately, as the
//! polling of an idle virtual CPU in KVM has it (`halt_poll_ns`).

use std::time::Duration;

use ustack_tcp::time::Instant;

/// After all of the limit was spent in vain: so many packets later it may be tried again.
const RETRY: u8 = 64;

/// The first step up from nothing, and each one down, as a part of the limit.
const STEPS: u32 = 8;

/// Busy polling of one driver.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// What it may take at most; zero: it is off.
    limit: Duration,
    /// What it takes now.
    window: Duration,
    /// Since when there has been nothing to do.
    idle_since: Option<Instant>,
    /// Packets until it is worth trying whether looking is quicker than sleeping.
    retry: u8,
}

impl BusyPoll {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            window: Duration::ZERO,
            idle_since: None,
            retry: 0,
        }
    }

    /// Something arrived. If it was soon enough to be looked for, more looking would have found it;
    /// if not, all looking was in vain.
    ///
    /// Sleeping takes time of its own: what came to a sleeper within twice the limit may have been
    /// there within the limit. That is tried now and then.
    pub(crate) fn on_arrival(&mut self, now: Instant) {
        let Some(since) = self.idle_since.take() else {
            return;
        };
        let (step, waited) = (self.limit / STEPS, now - since);
        let was_all = self.window == self.limit;
        let is_soon = waited <= self.limit
            || waited <= self.limit.saturating_mul(2) && !was_all && self.retry == 0;
        if !is_soon {
            self.retry = if was_all {
                RETRY
            } else {
                self.retry.saturating_sub(1)
            };
        }
        self.window = if is_soon {
            self.window.saturating_mul(2).clamp(step, self.limit)
        } else {
            self.window.saturating_sub(step)
        };
    }

    /// Something was sent, whose answer may come soon.
    pub(crate) const fn on_sent(&mut self) {
        self.idle_since = None;
    }

    /// There is nothing to do: whether to look again at once instead of sleeping.
    pub(crate) fn is_worth_it(&mut self, now: Instant) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now - since < self.window
    }

    /// Whether the last turn ended in looking again, or may have.
    pub(crate) const fn is_looking(&self) -> bool {
        self.idle_since.is_some() && !self.window.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(48);

    /// Packets at these distances, in microseconds; what was spent on looking for each.
    fn spent(distances: &[u64]) -> Vec<u64> {
        let mut busy = BusyPoll::new(LIMIT);
        let mut now = Instant::from_millis(1);
        let mut spent = Vec::new();
        for &distance in distances {
            let arrival = now + Duration::from_micros(distance);
            let mut turns = 0;
            while now < arrival && busy.is_worth_it(now) {
                now += Duration::from_micros(1);
                turns += 1;
            }
            spent.push(turns);
            now = arrival;
            busy.on_arrival(now);
        }
        spent
    }

    #[test]
    fn it_looks_as_long_as_that_finds_something() {
        assert_eq!(spent(&[10, 10, 10, 10]), [0, 6, 10, 10]);
        assert_eq!(spent(&[40; 6]), [0, 6, 12, 24, 40, 40]);
    }

    #[test]
    fn what_comes_late_to_a_sleeper_is_looked_for_once_in_a_while() {
        let spent = spent(&[80; 200]);
        assert_eq!(spent[..5], [0, 6, 12, 24, 48]);
        assert_eq!(spent[5..14], [42, 36, 30, 24, 18, 12, 6, 0, 0]);
        assert!(spent[14..60].iter().all(|&spent| spent == 0), "{spent:?}");
        assert_eq!(spent[69..74], [0, 6, 12, 24, 48], "{spent:?}");
    }

    #[test]
    fn seldom_packets_cost_nothing_in_the_end() {
        assert_eq!(spent(&[1_000_000; 4]), [0; 4]);
        let often_then_seldom: Vec<_> = [&[40; 5][..], &[1000; 9]].concat();
        assert_eq!(
            spent(&often_then_seldom)[5..],
            [48, 42, 36, 30, 24, 18, 12, 6, 0]
        );
    }

    #[test]
    fn off_is_off() {
        let mut busy = BusyPoll::new(Duration::ZERO);
        for at in 1..100 {
            let now = Instant::from_millis(at);
            assert!(!busy.is_worth_it(now) && !busy.is_looking());
            busy.on_arrival(now);
        }
    }
}
