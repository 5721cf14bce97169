//! What follows a call that may have changed a connection: who hears of it, when it is looked at
//! next, whether it rests, and what is left of it at its end.

use alloc::collections::VecDeque;

use crate::connection::{Events, State};
use crate::endpoint::{ConnId, Counters, Event, Slot, Tcp};
use crate::error::CloseReason;
use crate::flow::Flow;
use crate::time::{Duration, Instant};

/// A connection with a far deadline (keep-alive) is looked at this often, so that its entry in the
/// wheel does not outlive it by hours.
pub(super) const MAX_SLEEP: Duration = Duration::from_secs(120);

impl Tcp {
    /// After a call that may have changed `id`. Applications hear of it at once; its timer, its
    /// rest and its end wait for the end of the turn, which comes once for many calls.
    pub(super) fn settle(&mut self, now: Instant, id: ConnId) {
        let Some(entry) = self.table.entry_mut(id) else {
            return;
        };
        if !core::mem::replace(entry.ready, true) {
            // Whoever opens waits for the answer; they are no more than backlogs hold.
            match entry.value {
                Slot::SynReceived(_) => self.ready.push_first(id),
                _ => self.ready.push(id),
            }
        }
        let mut ends = false;
        if let Slot::Connection(conn) = entry.value {
            if let Some(memory) = &mut self.memory {
                memory.settle(now, id, conn, &mut self.counters);
            }
            #[cfg(debug_assertions)]
            conn.check_invariants(now, &self.config, false);
            ends = conn.state() == State::Closed && conn.opening.is_some();
            if !conn.events.is_empty() {
                publish(&mut conn.events, id, &mut self.events, &mut self.counters);
            }
        }
        if ends || self.is_backlogged {
            self.settle_now(now, id);
        }
    }

    /// What is owed to `id` at the end of a turn: its timer, its rest, its end.
    pub(super) fn settle_now(&mut self, now: Instant, id: ConnId) {
        let Some(entry) = self.table.entry_mut(id) else {
            return;
        };
        let (mut rests, mut ends) = (false, false);
        let deadline = match entry.value {
            Slot::SynSent(syn) => syn.deadline(),
            Slot::SynReceived(syn) => syn.deadline(),
            Slot::Connection(conn) => {
                if let Some(memory) = &mut self.memory {
                    memory.settle(now, id, conn, &mut self.counters);
                }
                #[cfg(debug_assertions)]
                conn.check_invariants(now, &self.config, !*entry.ready);
                ends = matches!(conn.state(), State::Closed | State::TimeWait);
                if !conn.events.is_empty() {
                    publish(&mut conn.events, id, &mut self.events, &mut self.counters);
                }
                let (mut rest_at, crowded) = (None, self.dormitory.is_crowded());
                if !*entry.ready && (crowded || !conn.is_answer_due()) {
                    let at = conn.rest_at(crowded);
                    rests = (at <= now || crowded && conn.is_drowsy(now)) && conn.is_idle();
                    // What is looked at by then anyway is asked then. In a crowd that is what every
                    // look is for, at last: one for the timer that will be off by then can be spared.
                    let is_news = !rests && at > now && !self.wheel.covers(*entry.armed, at);
                    rest_at = Some(at).filter(|_| is_news && (crowded || conn.is_idle()));
                }
                Instant::earliest([conn.deadline(&self.config), rest_at])
            }
            Slot::Resting(_, rest) => rest.until,
            Slot::TimeWait(_, record) => Some(record.expires(now)),
        };
        let deadline = deadline.map(|deadline| deadline.min(now + MAX_SLEEP));
        self.wheel.arm(id.index, entry.armed, deadline);
        if rests {
            self.rest(now, id);
        } else if ends {
            self.bury(now, id);
        }
    }

    /// A closed connection frees its flow at once, an orphan its slot too; an orphan in TIME-WAIT
    /// leaves a record behind. What is in the ready list still has a RST or an ACK to send.
    fn bury(&mut self, now: Instant, id: ConnId) {
        let is_ready = self.table.is_ready(id);
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        let Slot::Connection(conn) = slot else {
            return;
        };
        if conn.opening.is_some() && conn.state() == State::Closed {
            self.end_opening(now, id, false);
            return self.bury(now, id);
        }
        if is_ready {
            return;
        }
        match (conn.state(), conn.is_orphan()) {
            (State::Closed, true) => {
                if let Some(memory) = &mut self.memory {
                    memory.forget(conn);
                }
                self.orphans -= 1;
                if let Some(Slot::Connection(conn)) = self.table.remove(id) {
                    self.dormitory.keep(conn);
                }
            }
            (State::Closed, false) => self.table.forget_flow(id),
            (State::TimeWait, true) => {
                if let Some(memory) = &mut self.memory {
                    memory.forget(conn);
                }
                let record = conn.time_wait(&self.config, now);
                let end = Slot::TimeWait(Flow::new(&conn.flow), record);
                if let Slot::Connection(conn) = core::mem::replace(slot, end) {
                    self.dormitory.keep(conn);
                }
                self.orphans -= 1;
                self.on_time_wait_record(now, id, &record);
            }
            _ => {}
        }
    }

    /// Whoever waits for a device that takes nothing more has timers all the same.
    pub(super) fn note_backlog(&mut self, now: Instant) {
        let begins = !self.is_backlogged && !self.ready.is_empty();
        self.is_backlogged = !self.ready.is_empty();
        for index in 0..if begins { self.ready.len() } else { 0 } {
            if let Some(id) = self.ready.get(index) {
                self.settle_now(now, id);
            }
        }
    }
}

/// Applications and counters hear of what has happened to `id`.
#[inline]
fn publish(events: &mut Events, id: ConnId, queue: &mut VecDeque<Event>, counters: &mut Counters) {
    if events.is_rare() {
        return publish_all(core::mem::take(events), id, queue, counters);
    }
    if core::mem::take(&mut events.readable) {
        queue.push_back(Event::Readable(id));
    }
    if core::mem::take(&mut events.writable) {
        queue.push_back(Event::Writable(id));
    }
}

fn publish_all(events: Events, id: ConnId, queue: &mut VecDeque<Event>, counters: &mut Counters) {
    let Events {
        readable,
        writable,
        urgent,
        pruned,
        stalled,
        closed,
        ..
    } = events;
    if let Some(tally) = events.tally() {
        *counters += tally;
    }
    counters.ofo_pruned += u64::from(pruned);
    if urgent {
        queue.push_back(Event::Urgent(id));
    }
    if readable {
        queue.push_back(Event::Readable(id));
    }
    if stalled {
        queue.push_back(Event::Stalled(id));
    }
    if writable {
        queue.push_back(Event::Writable(id));
    }
    if let Some(reason) = closed {
        counters.estab_resets += u64::from(reason == CloseReason::Reset);
        counters.abort_on_timeout += u64::from(reason == CloseReason::TimedOut);
        queue.push_back(Event::Closed(id, reason));
    }
}
