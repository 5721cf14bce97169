//! Sets of stream positions: what arrived, how often something was sent.

/// Positions covered at least once, as disjoint ranges in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `start..end`; says whether every position of it was there already.
    pub(crate) fn insert(&mut self, start: u64, end: u64) -> bool {
        if self.covers(start, end) {
            return true;
        }
        let (mut low, mut high) = (start, end);
        self.0.retain(|&(from, to)| {
            let apart = to < start || from > end;
            if !apart {
                low = low.min(from);
                high = high.max(to);
            }
            apart
        });
        let at = self.0.partition_point(|&(from, _)| from < low);
        self.0.insert(at, (low, high));
        false
    }

    /// Whether all of `start..end` is there.
    pub(crate) fn covers(&self, start: u64, end: u64) -> bool {
        start >= end || self.0.iter().any(|&(from, to)| from <= start && end <= to)
    }

    /// The first position from 0 on that is missing.
    pub(crate) fn contiguous(&self) -> u64 {
        self.0
            .first()
            .map_or(0, |&(from, to)| if from == 0 { to } else { 0 })
    }
}

/// How often every position was covered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted(Vec<(u64, u64)>);

impl Counted {
    /// Counts `start..end` once more.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        if start < end {
            self.0.push((start, end));
        }
    }

    fn count(&self, at: u64) -> usize {
        self.0
            .iter()
            .filter(|&&(from, to)| from <= at && at < to)
            .count()
    }

    /// The first position of `start..end` that `self` does not count more often than `other`.
    pub(crate) fn first_not_above(&self, other: &Self, start: u64, end: u64) -> Option<u64> {
        self.first(other, start, end, false)
    }

    /// The first position of `start..end` that `self` counts more often than `other`.
    pub(crate) fn first_above(&self, other: &Self, start: u64, end: u64) -> Option<u64> {
        self.first(other, start, end, true)
    }

    fn first(&self, other: &Self, start: u64, end: u64, above: bool) -> Option<u64> {
        let mut at = start;
        while at < end {
            if (self.count(at) > other.count(at)) == above {
                return Some(at);
            }
            let edges = (self.0.iter().chain(&other.0)).flat_map(|&(from, to)| [from, to]);
            at = edges.filter(|&edge| edge > at).min().unwrap_or(end);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_touch() {
        let mut ranges = Ranges::default();
        assert!(!ranges.insert(0, 1));
        assert!(!ranges.insert(5, 9));
        assert_eq!(ranges.contiguous(), 1);
        assert!(!ranges.insert(1, 5));
        assert_eq!(ranges.contiguous(), 9);
        assert!(ranges.insert(3, 8));
    }

    #[test]
    fn a_position_lost_once_must_be_sent_twice() {
        let (mut sent, mut lost) = (Counted::default(), Counted::default());
        sent.add(0, 100);
        lost.add(40, 60);
        assert_eq!(sent.first_not_above(&lost, 0, 100), Some(40));
        sent.add(40, 50);
        assert_eq!(sent.first_not_above(&lost, 0, 100), Some(50));
        sent.add(50, 60);
        assert_eq!(sent.first_not_above(&lost, 0, 100), None);
        assert_eq!(sent.first_not_above(&lost, 0, 101), Some(100));
    }
}
