//! Who sends next: whoever has little goes before those who have much, in the manner of new and old
//! flows in FQ-CoDel (RFC 8290 §4.1), so that an answer does not wait for all that others send.
//!
//! Whoever is not listed when something happens to it is *fresh* and may send a little; if it has more
//! it is *spent*, and waits among those for a turn that is long.

use alloc::collections::VecDeque;

use super::ConnId;

/// Segments that a fresh connection may send.
const SHORT: usize = 4;

/// Super-segments that a spent one may send: 2 MiB in a row suit the caches of both ends better than
/// a little of everybody's.
const LONG: usize = 32;

/// Of the frames that a pass has room for a turn takes no more than one in so many: where the device
/// takes little, turns are short.
const TURNS_PER_PASS: usize = 3;

/// Super-segments of all who are spent until it is the first one's turn again: more of them have
/// shorter turns.
const MAX_ROUND: usize = 2048;

/// Frames that fresh ones may send before somebody who is spent has a short turn, so that they do not
/// starve those.
const MAX_LEAD: usize = 32;

/// Connections that are to be looked at, each once.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    fresh: VecDeque<ConnId>,
    spent: VecDeque<ConnId>,
    /// Frames that fresh ones have sent while others were spent, since one of those had its turn.
    lead: usize,
}

/// One connection's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) id: ConnId,
    /// Segments, or super-segments, that it may send.
    pub(super) burst: usize,
    is_fresh: bool,
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

    /// Whose turn it is, in a pass with room for so many frames.
    #[inline]
    pub(super) fn begin(&mut self, pass: usize) -> Option<Turn> {
        let is_owed = self.lead >= MAX_LEAD;
        if !is_owed && let Some(id) = self.fresh.pop_front() {
            return Some(Turn {
                id,
                burst: SHORT,
                is_fresh: true,
            });
        }
        let round = MAX_ROUND / self.spent.len().max(1);
        let most = if self.fresh.is_empty() { LONG } else { SHORT };
        let burst = most.min(round).min(pass / TURNS_PER_PASS).max(SHORT);
        self.lead = 0;
        let id = self.spent.pop_front()?;
        Some(Turn {
            id,
            burst,
            is_fresh: false,
        })
    }

    /// The turn is over, after so many frames. A fresh one that has more and sent less than it might was
    /// cut short by the end of the pass: it stays fresh.
    #[inline]
    pub(super) fn end(&mut self, turn: Turn, sent: usize, has_more: bool) {
        if turn.is_fresh && !self.spent.is_empty() {
            self.lead += sent;
        }
        if has_more && turn.is_fresh && sent < turn.burst {
            self.fresh.push_back(turn.id);
        } else if has_more {
            self.spent.push_back(turn.id);
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

    /// Frames that a pass has room for.
    const PASS: usize = 96;

    fn id(index: u32) -> ConnId {
        ConnId {
            index,
            generation: 0,
        }
    }

    fn with(count: u32) -> ReadyList {
        let mut list = ReadyList::default();
        (1..=count).map(id).for_each(|id| list.push(id));
        list
    }

    /// Whose turn it is, and how long it is; all of it is used, and there is more.
    fn burst(list: &mut ReadyList) -> (u32, usize) {
        let turn = list.begin(PASS).expect("somebody is ready");
        list.end(turn, turn.burst, true);
        (turn.id.index, turn.burst)
    }

    #[test]
    fn who_has_used_up_a_turn_waits_for_the_others() {
        let mut list = with(3);
        let first = [1, 2, 3].map(|_| burst(&mut list));
        assert_eq!(first, [(1, SHORT), (2, SHORT), (3, SHORT)]);
        list.push(id(4));
        let turn = list.begin(PASS).expect("the fresh one goes first");
        assert_eq!(turn.id, id(4));
        list.end(turn, 1, false);
        let then = [1, 2, 3, 1].map(|_| burst(&mut list));
        assert_eq!(then, [(1, LONG), (2, LONG), (3, LONG), (1, LONG)]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn fresh_ones_do_not_starve_the_spent() {
        for each in 1..=SHORT {
            let mut list = with(1);
            burst(&mut list);
            let (mut fresh, mut spent) = (0, 0);
            list.push(id(2));
            list.push(id(3));
            for _ in 0..1_000 {
                let turn = list.begin(PASS).expect("somebody is ready");
                let is_spent = turn.id == id(1);
                let sent = if is_spent { turn.burst } else { each };
                *(if is_spent { &mut spent } else { &mut fresh }) += sent;
                list.end(turn, sent, is_spent);
                if !is_spent {
                    list.push(turn.id); // something happens to it again
                }
            }
            let share = spent * MAX_LEAD / SHORT;
            assert!(
                share.abs_diff(fresh) <= fresh / 8 + MAX_LEAD,
                "{spent} of the spent, {fresh} of the fresh, {each} a turn"
            );
        }
    }

    #[test]
    fn who_is_cut_short_has_not_used_up_a_turn() {
        let mut list = with(3);
        burst(&mut list);
        let turn = list.begin(PASS).expect("somebody is ready");
        list.end(turn, 1, true);
        let then = [3, 2, 1].map(|_| burst(&mut list));
        assert_eq!(then, [(3, SHORT), (2, SHORT), (1, LONG)]);
    }

    #[test]
    fn turns_are_short_where_there_is_little_room_or_many_wait() {
        for (count, pass, expected) in [
            (2, PASS, LONG),
            (2, 48, 16),
            (2, 1, SHORT),
            (128, PASS, 16),
            (10_000, PASS, SHORT),
        ] {
            let mut list = with(count);
            while !list.fresh.is_empty() {
                burst(&mut list);
            }
            let turn = list.begin(pass).expect("all are spent");
            assert_eq!(turn.burst, expected, "{count} of them, room for {pass}");
        }
    }

    #[test]
    fn all_that_wait_are_found_by_index() {
        let mut list = with(2);
        burst(&mut list);
        list.push_first(id(3));
        let found = [0, 1, 2, 3].map(|index| list.get(index));
        assert_eq!(found, [Some(id(3)), Some(id(2)), Some(id(1)), None]);
        assert!(!list.is_empty());
    }
}
