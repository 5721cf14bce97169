//! Connections that rest: a record takes the place of one on which nothing happens, and becomes a
//! connection again with the first segment or call.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::connection::{Connection, Resting};
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::handshake::SynReceived;
use crate::time::Instant;

/// Boxes that are kept for the next who needs one: as many connections may wake and rest at once
/// without the allocator. More of them, scattered as they are, would keep the allocator from giving
/// back what many connections took while they were awake; so the more are awake, the more.
fn max_spare(awake: usize) -> usize {
    (awake / 128).max(32)
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

/// What connections leave behind when they rest or wake, and handshakes when they are complete.
#[derive(Debug)]
pub(super) struct Dormitory {
    connections: Pool<Connection>,
    records: Pool<Resting>,
    handshakes: Pool<SynReceived>,
    /// Connections in boxes.
    awake: usize,
    /// Nothing rests.
    #[cfg(any(test, feature = "testing"))]
    is_shut: bool,
}

impl Dormitory {
    pub(super) const fn new() -> Self {
        Self {
            connections: Pool(Vec::new()),
            records: Pool(Vec::new()),
            handshakes: Pool(Vec::new()),
            awake: 0,
            #[cfg(any(test, feature = "testing"))]
            is_shut: false,
        }
    }

    /// A connection for the table, in the box and with the room for its lists of one before it.
    pub(super) fn boxed(&mut self, make: impl FnOnce() -> Connection) -> Box<Connection> {
        self.awake += 1;
        match self.connections.0.pop() {
            Some(mut spare) => {
                let mut conn = make();
                conn.take_room(&mut spare);
                *spare = conn;
                spare
            }
            None => Box::new(make()),
        }
    }

    /// A connection is gone: the next one takes its box.
    pub(super) fn keep(&mut self, mut conn: Box<Connection>) {
        self.awake -= 1;
        conn.free();
        self.connections.keep(conn, max_spare(self.awake));
    }

    /// A record is of no more use: the next one takes its box.
    fn keep_record(&mut self, rest: Box<Resting>) {
        self.records.keep(rest, max_spare(self.awake));
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

    /// Connections in boxes, for a recount.
    #[cfg(debug_assertions)]
    pub(super) const fn awake(&self) -> usize {
        self.awake
    }
}

impl Tcp {
    /// Connections stay as they are however idle they become: for a test to compare with.
    #[cfg(any(test, feature = "testing"))]
    pub const fn keep_awake(&mut self) {
        self.dormitory.is_shut = true;
    }

    /// How many connections are at rest: for a test to see that there are any.
    #[cfg(any(test, feature = "testing"))]
    pub fn resting(&self) -> usize {
        let slots = self.table.iter().map(|(_, slot)| slot);
        slots
            .filter(|slot| matches!(slot, Slot::Resting(_)))
            .count()
    }

    /// Makes a connection of a record.
    pub(super) fn wake(&mut self, id: ConnId) {
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        if let Slot::Resting(rest) = slot {
            let conn = self.dormitory.boxed(|| rest.wake(&self.config));
            if let Slot::Resting(rest) = core::mem::replace(slot, Slot::Connection(conn)) {
                self.dormitory.keep_record(rest);
            }
        }
    }

    /// If a call wakes it that may change nothing, the wheel is to look at it soon.
    pub(super) fn look_again(&mut self, id: ConnId) {
        if let Some(Slot::Resting(_)) = self.table.get(id) {
            let soon = self.wheel.present();
            self.arm(id, Some(soon));
        }
    }

    /// Makes a record of a connection whose [time](Connection::rest_at) has come and that is not in
    /// the ready list.
    pub(super) fn rest(
        &mut self,
        #[cfg_attr(not(debug_assertions), expect(unused_variables))] now: Instant,
        id: ConnId,
    ) {
        #[cfg(any(test, feature = "testing"))]
        if self.dormitory.is_shut {
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
            rest.connection(&self.config).info(now, &self.config),
            before,
            "a connection wakes as it went to rest"
        );
        let rest = Slot::Resting(self.dormitory.records.fill(rest));
        if let Slot::Connection(conn) = core::mem::replace(slot, rest) {
            self.dormitory.keep(conn);
        }
    }
}
