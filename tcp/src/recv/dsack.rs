//! Duplicates that the peer is to hear of (RFC 2883).

use arrayvec::ArrayVec;

use crate::seq::SeqRange;

/// Reports that wait for an ACK each; more in one turn are dropped, which the RFC allows for: an
/// ACK may get lost, too.
const MAX_WAITING: usize = 4;

/// Ranges received twice, oldest first. Each is reported once, in one ACK.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dsacks(ArrayVec<SeqRange, MAX_WAITING>);

impl Dsacks {
    /// `range` arrived again; what continues the last report joins it.
    pub(crate) fn push(&mut self, range: SeqRange) {
        if let Some(last) = self.0.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        let _ = self.0.try_push(range);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing is reported any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What the next ACK reports.
    pub(crate) fn first(&self) -> Option<&SeqRange> {
        self.0.first()
    }

    /// Takes it.
    pub(crate) fn pop(&mut self) -> Option<SeqRange> {
        self.0.pop_at(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::{SeqNum, WireSeq};

    fn range(from: u32, to: u32) -> SeqRange {
        let zero = SeqNum::first(WireSeq(0));
        zero + from..zero + to
    }

    #[test]
    fn neighbours_are_one_report_and_the_number_is_bounded() {
        let mut waiting = Dsacks::default();
        waiting.push(range(0, 10));
        waiting.push(range(10, 20));
        (0..10).for_each(|n| waiting.push(range(100 * n + 50, 100 * n + 60)));
        assert_eq!(waiting.pop(), Some(range(0, 20)));
        assert_eq!(waiting.first(), Some(&range(50, 60)));
        assert_eq!((0..10).filter_map(|_| waiting.pop()).count(), 3);
        assert!(waiting.is_empty());
    }
}
