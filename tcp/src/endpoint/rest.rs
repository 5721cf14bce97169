//! Connections that rest: a record takes the place of one on which nothing happens, and becomes a
//! connection again with the first segment or call.

mod records;

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::{Config, LargeMemory};
use crate::connection::{Connection, Resting, SILENCE};
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::flow::Flow;
use crate::handshake::SynReceived;
use crate::segment::FlowKey;
use crate::time::Instant;

use records::Records;

/// Boxes that are kept for the next who needs one: as many connections may wake and rest at once
/// without the allocator. More of them, scattered as they are, would keep the allocator from giving
/// back what many connections took while they were awake; so the more are awake, the more.
fn max_spare(awake: usize) -> usize {
    (awake / 128).max(512)
}

/// Connections awake, of some 2 KiB each, that lie in the cache of a processor's core or near it. With
/// more of them each is far away when its turn comes to rest.
const CROWD: usize = 2048;

/// How many would be awake, if those who have just been woken stayed so for as long as among few. As
/// they do not in a crowd, who is awake does not tell.
#[derive(Debug)]
struct Arrivals {
    /// Woken after a long rest, since then.
    woken: usize,
    since: Instant,
    /// Those of the period before were too many.
    are_many: bool,
}

impl Arrivals {
    const NONE: Self = Self {
        woken: 0,
        since: Instant::ZERO,
        are_many: false,
    };

    /// Somebody was woken, after a long rest or not: another period may have begun.
    fn on_woken(&mut self, now: Instant, slept_long: bool) {
        if now >= self.since + SILENCE {
            // A period in which nobody came is none with many.
            self.are_many = self.woken > CROWD && now < self.since + 2 * SILENCE;
            (self.woken, self.since) = (0, now);
        }
        self.woken += usize::from(slept_long);
    }
}

/// Boxes to be filled again.
#[derive(Debug)]
struct Pool<T>(Vec<Box<T>>);

impl<T> Pool<T> {
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "the box is what it is about"
    )]
    fn fill(&mut self, value: T) -> Box<T> {
        match self.0.pop() {
            Some(mut spare) => {
                *spare = value;
                spare
            }
            None => Box::new(value),
        }
    }

    /// Keeps `spare` as one of at most `most`; of more than that two go.
    fn keep(&mut self, spare: Box<T>, most: usize) {
        if self.0.len() < most {
            self.0.push(spare);
        } else if self.0.len() > most {
            self.0.pop();
        }
    }
}

/// A connection at rest, as its slot knows it. When only its deadline comes, the record stays where it
/// is: in no cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    record: u32,
    /// It wakes by itself then.
    pub(super) until: Option<Instant>,
}

/// Connections at rest, and what others leave behind when they rest or end, and handshakes when they
/// are complete.
#[derive(Debug)]
pub(super) struct Dormitory {
    connections: Pool<Connection>,
    records: Records,
    handshakes: Pool<SynReceived>,
    /// Connections in boxes.
    awake: usize,
    arrivals: Arrivals,
    /// Whether nothing rests, or everything as soon as it can; else that depends on how many are awake.
    #[cfg(any(test, feature = "testing"))]
    forced: Option<Forced>,
}

/// What a test wants of connections.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forced {
    Awake,
    Crowded,
}

impl Dormitory {
    pub(super) const fn new(on_large_memory: Option<LargeMemory>) -> Self {
        Self {
            connections: Pool(Vec::new()),
            records: Records::new(on_large_memory),
            handshakes: Pool(Vec::new()),
            awake: 0,
            arrivals: Arrivals::NONE,
            #[cfg(any(test, feature = "testing"))]
            forced: None,
        }
    }

    /// A connection for the table, in the box and with the room for its lists of one before it.
    pub(super) fn boxed(&mut self, make: impl FnOnce() -> Connection) -> Box<Connection> {
        self.awake += 1;
        boxed(&mut self.connections, make)
    }

    /// A connection is gone: the next one takes its box.
    pub(super) fn keep(&mut self, mut conn: Box<Connection>) {
        self.awake -= 1;
        conn.free();
        self.connections.keep(conn, max_spare(self.awake));
    }

    /// A handshake for the table, in the box of one before it.
    pub(super) fn handshake(&mut self, syn: SynReceived) -> Box<SynReceived> {
        self.handshakes.fill(syn)
    }

    /// A handshake is complete: the next one takes its box.
    pub(super) fn keep_handshake(&mut self, mut syn: Box<SynReceived>) {
        syn.ours.data = Bytes::new();
        self.handshakes.keep(syn, max_spare(self.awake));
    }

    /// What lasts of a connection at rest.
    pub(super) fn record(&self, rest: &Rest) -> Option<&Resting> {
        self.records.get(rest.record)
    }

    /// The same, to be changed.
    pub(super) fn record_mut(&mut self, rest: &Rest) -> Option<&mut Resting> {
        self.records.get_mut(rest.record)
    }

    /// Has a record in the processor's caches soon.
    pub(super) fn glance(&self, rest: &Rest) {
        if let Some(record) = self.record(rest) {
            record.glance();
        }
    }

    /// The connection of `flow`, which was at rest.
    fn wake(
        &mut self,
        flow: FlowKey,
        rest: Rest,
        now: Instant,
        config: &Config,
    ) -> Option<Box<Connection>> {
        let record = self.records.get_mut(rest.record)?;
        let slept_long = record.has_slept_long(now);
        if slept_long {
            record.glance(); // it is in no cache
        }
        self.arrivals.on_woken(now, slept_long);
        let conn = boxed(&mut self.connections, || record.wake(flow, now, config));
        self.awake += 1;
        self.records.remove(rest.record);
        Some(conn)
    }

    /// Keeps what lasts of a connection.
    fn lay_down(&mut self, record: Resting) -> Rest {
        let until = record.poll_timeout();
        let record = self.records.add(record);
        Rest { record, until }
    }

    /// Whether connections are to rest as soon as nothing is lost by it.
    pub(super) fn is_crowded(&self) -> bool {
        #[cfg(any(test, feature = "testing"))]
        if self.forced == Some(Forced::Crowded) {
            return true;
        }
        self.awake > CROWD || self.arrivals.are_many
    }

    /// Connections in boxes, for a recount.
    #[cfg(debug_assertions)]
    pub(super) const fn awake(&self) -> usize {
        self.awake
    }

    /// Connections at rest, for a recount.
    #[cfg(debug_assertions)]
    pub(super) const fn resting(&self) -> usize {
        self.records.in_use()
    }
}

/// What is made, in the box and with the room for its lists of one before it.
fn boxed(spare: &mut Pool<Connection>, make: impl FnOnce() -> Connection) -> Box<Connection> {
    match spare.0.pop() {
        Some(mut spare) => {
            let mut conn = make();
            conn.take_room(&mut spare);
            *spare = conn;
            spare
        }
        None => Box::new(make()),
    }
}

impl Tcp {
    /// Connections stay as they are however idle they become: for a test to compare with.
    #[cfg(any(test, feature = "testing"))]
    pub const fn keep_awake(&mut self) {
        self.dormitory.forced = Some(Forced::Awake);
    }

    /// Connections rest as early as they would among very many: for a test to compare with.
    #[cfg(any(test, feature = "testing"))]
    pub const fn crowd(&mut self) {
        self.dormitory.forced = Some(Forced::Crowded);
    }

    /// How many connections are at rest: for a test to see that there are any.
    #[cfg(any(test, feature = "testing"))]
    pub fn resting(&self) -> usize {
        let slots = self.table.iter().map(|(_, slot)| slot);
        slots
            .filter(|slot| matches!(slot, Slot::Resting(..)))
            .count()
    }

    /// Makes a connection of a record.
    pub(super) fn wake(&mut self, id: ConnId) {
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        if let Slot::Resting(flow, rest) = slot
            && let Some(conn) =
                (self.dormitory).wake(flow.key(), *rest, self.wheel.present(), &self.config)
        {
            *slot = Slot::Connection(conn);
        }
    }

    /// If a call wakes it that may change nothing, the wheel is to look at it soon.
    pub(super) fn look_again(&mut self, id: ConnId) {
        if let Some(Slot::Resting(..)) = self.table.get(id) {
            let soon = self.wheel.present();
            self.arm(id, Some(soon));
        }
    }

    /// Makes a record of a connection whose [time](Connection::rest_at) has come, or that is
    /// [drowsy](Connection::is_drowsy), and that is not in the ready list.
    pub(super) fn rest(
        &mut self,
        #[cfg_attr(not(debug_assertions), expect(unused_variables))] now: Instant,
        id: ConnId,
    ) {
        #[cfg(any(test, feature = "testing"))]
        if self.dormitory.forced == Some(Forced::Awake) {
            return;
        }
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        let Slot::Connection(conn) = slot else {
            return;
        };
        #[cfg(debug_assertions)]
        let before = conn.info(now, &self.config);
        let Some(rest) = conn.rest() else {
            return;
        };
        #[cfg(debug_assertions)]
        assert_eq!(
            rest.connection(conn.flow, &self.config)
                .info(now, &self.config),
            before,
            "a connection wakes as it went to rest"
        );
        let rest = Slot::Resting(Flow::new(&conn.flow), self.dormitory.lay_down(rest));
        if let Slot::Connection(conn) = core::mem::replace(slot, rest) {
            self.dormitory.keep(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many wake, at equal distances, from `start` on for `periods`.
    fn wake(arrivals: &mut Arrivals, start: Instant, periods: u32, each: usize) -> Instant {
        let step = SILENCE.as_nanos() as u64 / each as u64;
        let mut now = start;
        while now < start + periods * SILENCE {
            arrivals.on_woken(now, true);
            now = now.after_nanos(step);
        }
        now
    }

    #[test]
    fn those_who_come_are_a_crowd_while_they_are_many() {
        let mut arrivals = Arrivals::NONE;
        let now = wake(&mut arrivals, Instant::from_millis(1_000), 3, CROWD - 100);
        assert!(!arrivals.are_many, "nearly");
        let now = wake(&mut arrivals, now, 3, CROWD + 100);
        assert!(arrivals.are_many);
        wake(&mut arrivals, now, 3, CROWD - 100);
        assert!(!arrivals.are_many, "fewer come");
    }

    #[test]
    fn a_pause_ends_a_crowd() {
        let mut arrivals = Arrivals::NONE;
        let now = wake(&mut arrivals, Instant::from_millis(1_000), 3, 2 * CROWD);
        assert!(arrivals.are_many);
        arrivals.on_woken(now + 2 * SILENCE, true);
        assert!(!arrivals.are_many);
    }

    /// They cannot start one, either.
    #[test]
    fn those_who_come_back_soon_keep_no_crowd_up() {
        let mut arrivals = Arrivals::NONE;
        let mut now = wake(&mut arrivals, Instant::from_millis(1_000), 3, 2 * CROWD);
        assert!(arrivals.are_many);
        let end = now + 3 * SILENCE;
        while now < end {
            arrivals.on_woken(now, false);
            now = now.after_nanos(1_000);
        }
        assert!(!arrivals.are_many);
    }
}
