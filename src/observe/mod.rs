//! What the stack did, as data: records of TCP ([`ustack_tcp::observe`]) with the frames they are
//! about.
//!
//! A shard notes while somebody wants to know: a device that [asks for
//! notes](crate::device::Device::wants_notes) gets those of each half turn with the frames to send,
//! and [`Config::events`](crate::Config::events) names who gets them besides. What goes over the
//! wire does not depend on it.

pub mod json;
mod log;
mod names;
mod notes;
mod text;
mod turn;
mod waiting;

pub use log::{EventLog, EventLogCounters, EventLogOptions};
pub(crate) use notes::Notes;
#[cfg(test)]
pub(crate) use notes::timer;
pub use notes::{Fate, NoteList, Told};
pub use text::{comment, discarded};
pub use turn::{Entry, Part, Turn};
pub(crate) use waiting::Waiting;

use std::fmt;

use ustack_tcp::observe::Record;

use crate::ip;

/// Something that happened, and the frames that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub what: Noted,
    /// Which frames.
    pub frames: Frames,
}

/// What a [`Note`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, and none is allocated"
)]
pub enum Noted {
    /// TCP tells.
    Tcp(Record),
    /// IP dropped a frame.
    Dropped(ip::Dropped),
    /// A frame went on to the shard with this number.
    HandedOver(usize),
}

/// The frames that a [`Note`] is about: several where one segment came or left as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// None: a timer, say, or a packet that this host sent to itself.
    None,
    /// Frames of the batch received last, by their place in it.
    Received {
        /// Of the first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Frames to send, by the number of those [pushed](crate::device::TxBatch::pushed) before.
    Sent {
        /// Of the first.
        first: u64,
        /// How many.
        count: u32,
    },
}

/// Who hears of everything: see [`Config::events`](crate::Config::events).
pub trait Events: fmt::Debug + Send + Sync {
    /// What happened in half a turn of a shard, in order; `dropped` records more are missing. Called
    /// by the shard's driver, which waits for it.
    fn on_notes(&self, shard: usize, notes: &NoteList, dropped: u64);
}
