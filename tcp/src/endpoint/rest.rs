//! Connections that rest: a record takes the place of one on which nothing happens, and becomes a
//! connection again with the first segment or call.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::SocketOptions;
use crate::connection::{Connection, Resting};
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::time::Instant;

/// Boxes that are kept for the next who needs one: as many connections may wake and rest without
/// the allocator. More of them, scattered as they are, would keep the allocator from giving back what
/// many connections took while they were awake.
const MAX_SPARE: usize = 32;

/// Sets of options that resting connections share: hosts use few.
const MAX_SHARED: usize = 16;

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

    fn keep(&mut self, spare: Box<T>) {
        if self.0.len() < MAX_SPARE {
            self.0.push(spare);
        }
    }
}

/// What connections leave behind when they rest or wake, and what those at rest have in common.
#[derive(Debug)]
pub(super) struct Dormitory {
    connections: Pool<Connection>,
    records: Pool<Resting>,
    options: Vec<Arc<SocketOptions>>,
    /// Nothing rests.
    #[cfg(any(test, feature = "testing"))]
    is_shut: bool,
}

impl Dormitory {
    pub(super) const fn new() -> Self {
        Self {
            connections: Pool(Vec::new()),
            records: Pool(Vec::new()),
            options: Vec::new(),
            #[cfg(any(test, feature = "testing"))]
            is_shut: false,
        }
    }

    /// A connection for the table, in the box and with the room for its lists of one before it.
    pub(super) fn boxed(&mut self, make: impl FnOnce() -> Connection) -> Box<Connection> {
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
        conn.free();
        self.connections.keep(conn);
    }

    fn share(&mut self, options: &SocketOptions) -> Arc<SocketOptions> {
        if let Some(same) = self.options.iter().find(|shared| ***shared == *options) {
            return Arc::clone(same);
        }
        if self.options.len() == MAX_SHARED {
            self.options.remove(0);
        }
        let shared = Arc::new(*options);
        self.options.push(Arc::clone(&shared));
        shared
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
                self.dormitory.records.keep(rest);
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
        let options = self.dormitory.share(&conn.options);
        #[cfg(debug_assertions)]
        let before = conn.info(now, &self.config);
        let Some(rest) = conn.rest(options) else {
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
