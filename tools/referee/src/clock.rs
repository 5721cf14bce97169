//! Timestamps: the values an end said, and those that reached it.

use crate::position::unwrapped;
use crate::ranges::Ranges;

/// Values kept as ranges; of more, the oldest are forgotten.
const MAX_RANGES: usize = 4096;
/// The first value lies here, so that older ones are above zero.
const ORIGIN: u64 = 1 << 32;

/// Timestamp values of one clock without their wrap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    newest: Option<u64>,
    seen: Ranges,
    /// Below this nothing is known any more.
    floor: u64,
}

impl Values {
    fn expand(&self, wire: u32) -> u64 {
        let near = self.newest.unwrap_or(ORIGIN + wire as u64);
        unwrapped(near, near as u32, wire)
    }

    /// How far `wire` lies above the newest value; negative: below.
    pub(crate) fn advance(&self, wire: u32) -> Option<i64> {
        self.newest
            .map(|newest| self.expand(wire) as i64 - newest as i64)
    }

    pub(crate) fn add(&mut self, wire: u32) {
        let value = self.expand(wire);
        self.newest = self.newest.max(Some(value));
        self.seen.insert(value, value + 1);
        if self.seen.count() > MAX_RANGES {
            self.floor = self.seen.forget_first();
        }
    }

    pub(crate) fn add_some(&mut self, wire: Option<u32>) {
        if let Some(wire) = wire {
            self.add(wire);
        }
    }

    pub(crate) fn contains(&self, wire: u32) -> bool {
        let value = self.expand(wire);
        value < self.floor || self.seen.covers(value, value + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_on_over_the_wrap() {
        let mut values = Values::default();
        assert!(!values.contains(5) && values.advance(5).is_none());
        values.add(u32::MAX);
        values.add(3);
        assert_eq!(values.advance(2), Some(-1));
        assert!(values.contains(3) && values.contains(u32::MAX) && !values.contains(2));
    }

    #[test]
    fn what_is_forgotten_is_believed() {
        let mut values = Values::default();
        for value in 0..=MAX_RANGES as u32 {
            values.add(10 + 2 * value);
        }
        assert!(values.contains(9) && !values.contains(13));
    }
}
