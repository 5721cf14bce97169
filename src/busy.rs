//! How long to look for packets before sleeping: as long as looking has paid off lately, as the
//! polling of an idle virtual CPU in KVM has it (`halt_poll_ns`).

use std::time::Duration;

use ustack_tcp::time::Instant;

/// The first step up from nothing, and the last one down, as a part of the limit.
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
}

impl BusyPoll {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            window: Duration::ZERO,
            idle_since: None,
        }
    }

    /// Something arrived. If it was soon enough to be looked for, more looking would have found it;
    /// if not, all looking was in vain.
    pub(crate) fn on_arrival(&mut self, now: Instant) {
        let Some(since) = self.idle_since.take() else {
            return;
        };
        let step = self.limit / STEPS;
        self.window = if now - since <= self.limit {
            (self.window * 2).clamp(step, self.limit)
        } else if self.window > step {
            self.window / 2
        } else {
            Duration::ZERO
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
    fn seldom_packets_cost_nothing_in_the_end() {
        assert_eq!(spent(&[1_000_000; 4]), [0; 4]);
        let often_then_seldom: Vec<_> = [[40; 5], [1000; 5]].concat();
        assert_eq!(spent(&often_then_seldom)[5..], [48, 24, 12, 6, 0]);
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
