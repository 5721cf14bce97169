//! Whose turn it is to send: who has little goes before who has much (deficit round robin with a list
//! of new flows, RFC 8290 §4.1), so that long bursts of some do not hold up an answer of others.

use alloc::collections::VecDeque;

use crate::connection::SUPER_BURST;

use super::ConnId;

/// Frames that fresh connections may send before one of the spent has its turn again: as many as that
/// may send then, so that neither starves the other.
const MAX_LEAD: usize = SUPER_BURST;

/// Connections that are to be looked at, each once.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    /// Something has happened to them since they had a turn.
    fresh: VecDeque<ConnId>,
    /// They have used up a turn, and have more to send.
    spent: VecDeque<ConnId>,
    /// Frames that fresh ones have sent while spent ones waited, since one of those had its turn.
    lead: usize,
}

/// One connection's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) id: ConnId,
    is_fresh: bool,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnEnd {
    /// Nothing is left that may be sent.
    Done,
    /// There is more, for which there was no budget.
    CutShort,
    /// There is more, for its next turn.
    Spent,
}

impl ReadyList {
    /// Something has happened to `id`.
    pub(super) fn push(&mut self, id: ConnId) {
        self.fresh.push_back(id);
    }

    /// As [`ReadyList::push`], before all others.
    pub(super) fn push_first(&mut self, id: ConnId) {
        self.fresh.push_front(id);
    }

    /// Whose turn it is.
    pub(super) fn begin(&mut self) -> Option<Turn> {
        if self.lead < MAX_LEAD || self.spent.is_empty() {
            let fresh = self.fresh.pop_front();
            if let Some(id) = fresh {
                return Some(Turn { id, is_fresh: true });
            }
        }
        self.lead = 0;
        let id = self.spent.pop_front()?;
        Some(Turn {
            id,
            is_fresh: false,
        })
    }

    /// The turn is over, after so many frames.
    pub(super) fn end(&mut self, turn: Turn, sent: usize, end: TurnEnd) {
        if turn.is_fresh && !self.spent.is_empty() {
            self.lead += sent;
        }
        match end {
            TurnEnd::Done => {}
            TurnEnd::CutShort if turn.is_fresh => self.fresh.push_back(turn.id),
            TurnEnd::CutShort | TurnEnd::Spent => self.spent.push_back(turn.id),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.spent.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.spent.len()
    }

    /// The one at `index`, in no order that means anything.
    pub(super) fn get(&self, index: usize) -> Option<ConnId> {
        let spent = || self.spent.get(index - self.fresh.len());
        self.fresh.get(index).or_else(spent).copied()
    }

    #[cfg(debug_assertions)]
    pub(super) fn iter(&self) -> impl Iterator<Item = ConnId> {
        self.fresh.iter().chain(&self.spent).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ConnId {
        ConnId {
            index,
            generation: 0,
        }
    }

    /// A turn of four frames that leaves more; whose it was.
    fn burst(list: &mut ReadyList) -> u32 {
        let turn = list.begin().expect("somebody is ready");
        list.end(turn, 4, TurnEnd::Spent);
        turn.id.index
    }

    #[test]
    fn who_has_used_up_a_turn_waits_for_the_others() {
        let mut list = ReadyList::default();
        (1..=3).map(id).for_each(|id| list.push(id));
        assert_eq!([1, 2, 3].map(|_| burst(&mut list)), [1, 2, 3]);
        list.push(id(4));
        let turn = list
            .begin()
            .expect("the fresh one, though three were there before");
        assert_eq!(turn.id, id(4));
        list.end(turn, 1, TurnEnd::Done);
        assert_eq!([1, 2, 3, 1].map(|_| burst(&mut list)), [1, 2, 3, 1]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn a_stream_of_fresh_ones_takes_half_at_most_of_what_spent_ones_want() {
        let mut list = ReadyList::default();
        list.push(id(0));
        assert_eq!(burst(&mut list), 0);
        let (mut fresh, mut spent) = (0, 0);
        for _ in 0..10 * MAX_LEAD {
            list.push(id(1));
            let turn = list.begin().expect("somebody is ready");
            if turn.id == id(0) {
                spent += MAX_LEAD;
                list.end(turn, MAX_LEAD, TurnEnd::Spent);
            } else {
                fresh += 1;
                list.end(turn, 1, TurnEnd::Done);
            }
        }
        assert!(
            fresh <= spent + MAX_LEAD && spent <= fresh + MAX_LEAD,
            "{spent} of the spent, {fresh} of the fresh"
        );
    }

    #[test]
    fn who_is_cut_short_has_not_used_up_a_turn() {
        let mut list = ReadyList::default();
        (1..=3).map(id).for_each(|id| list.push(id));
        burst(&mut list);
        let turn = list.begin().expect("somebody is ready");
        list.end(turn, 1, TurnEnd::CutShort);
        assert_eq!([3, 2, 1].map(|_| burst(&mut list)), [3, 2, 1]);
    }

    #[test]
    fn all_that_wait_are_found_by_index() {
        let mut list = ReadyList::default();
        (1..=2).map(id).for_each(|id| list.push(id));
        burst(&mut list);
        list.push_first(id(3));
        let found = [0, 1, 2, 3].map(|index| list.get(index));
        assert_eq!(found, [Some(id(3)), Some(id(2)), Some(id(1)), None]);
        assert!(!list.is_empty());
    }
}
