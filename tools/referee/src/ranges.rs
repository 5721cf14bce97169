//! Sets of stream positions: what arrived, how often something was sent.

/// Positions covered at least once, as disjoint ranges in order.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `start..end`; says whether every position of it was there already.
    pub fn insert(&mut self, start: u64, end: u64) -> bool {
        if self.covers(start, end) {
            return true;
        }
        let first = self.0.partition_point(|&(_, to)| to < start);
        let past = self.0.partition_point(|&(from, _)| from <= end);
        let joined = &self.0[first..past];
        let low = joined.first().map_or(start, |&(from, _)| from.min(start));
        let high = joined.last().map_or(end, |&(_, to)| to.max(end));
        self.0.splice(first..past, [(low, high)]);
        false
    }

    /// Whether all of `start..end` is there.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let at = self.0.partition_point(|&(_, to)| to < end);
        start >= end || self.0.get(at).is_some_and(|&(from, _)| from <= start)
    }

    /// The first position from 0 on that is missing.
    pub fn contiguous(&self) -> u64 {
        self.0
            .first()
            .map_or(0, |&(from, to)| if from == 0 { to } else { 0 })
    }

    /// The position after the last.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |&(_, to)| to)
    }

    /// Forgets the first range; says where it ended.
    pub(crate) fn forget_first(&mut self) -> u64 {
        if self.0.is_empty() {
            0
        } else {
            self.0.remove(0).1
        }
    }

    /// How many ranges there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// How often every position was covered.
#[derive(Clone, Debug, Default)]
pub struct Counted(Vec<(u64, u64)>);

impl Counted {
    /// Counts `start..end` once more.
    pub fn add(&mut self, start: u64, end: u64) {
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
    pub fn first_not_above(&self, other: &Self, start: u64, end: u64) -> Option<u64> {
        self.first(other, start, end, false)
    }

    /// The first position of `start..end` that `self` counts more often than `other`.
    pub fn first_above(&self, other: &Self, start: u64, end: u64) -> Option<u64> {
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
        assert!(!ranges.insert(20, 30) && !ranges.insert(40, 50) && !ranges.insert(8, 41));
        assert_eq!(
            (ranges.contiguous(), ranges.end(), ranges.count()),
            (50, 50, 1)
        );
        assert!(ranges.covers(10, 50) && !ranges.covers(49, 51) && ranges.covers(60, 60));
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
