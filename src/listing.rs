//! All connections of a stack with what is known of each, a few at a time.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::MutexGuard;
use ustack_tcp::time::Instant;
use ustack_tcp::{ConnId, FlowKey, Info, Queued, State, Summary};

use crate::host::Host;
use crate::shards::Shards;

/// Places in a shard's table that are looked at while its lock is held: what a packet may have to
/// wait for, whatever the number of connections.
const SLICE: u32 = 64;

/// A connection as [`Listing`] finds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Which it is.
    pub key: Key,
    /// Its flow.
    pub flow: FlowKey,
    /// Its state.
    pub state: State,
    /// `TCP_INFO`.
    pub info: Info,
    /// What waits in its buffers.
    pub queued: Queued,
    /// What Linux calls its congestion control (`TCP_CONGESTION`), or its own name.
    pub congestion: &'static str,
}

/// A connection of a stack, for as long as it exists; another one never has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    shard: u32,
    index: u32,
    generation: u32,
}

impl Key {
    fn new(shard: usize, id: ConnId) -> Self {
        Self {
            shard: shard as u32,
            index: id.index(),
            generation: id.generation(),
        }
    }
}

/// Three numbers, to be read again.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.shard, self.index, self.generation)
    }
}

/// The text is none that a [`Key`] prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key of a connection: three numbers with colons between them")]
pub struct BadKey;

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut numbers = text.splitn(3, ':').map(|part| part.parse().ok());
        let mut next = || numbers.next().flatten().ok_or(BadKey);
        Ok(Self {
            shard: next()?,
            index: next()?,
            generation: next()?,
        })
    }
}

/// A walk over all connections of a stack, handshakes and TIME-WAIT included, in no order
/// ([`Stack::listing`](crate::Stack::listing)).
///
/// Each call looks at a few, and in between the stack goes on. What exists all the while is met
/// once; what comes or goes meanwhile may be met or not.
#[derive(Debug)]
pub struct Listing {
    shards: Arc<Shards>,
    /// Where to go on.
    shard: usize,
    next: u32,
}

impl Listing {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        Self {
            shards,
            shard: 0,
            next: 0,
        }
    }

    /// Adds the next few connections to `found`, 64 at most. False when there are no more.
    pub fn next(&mut self, found: &mut Vec<Listed>) -> bool {
        self.visit(SLICE, |shard, host, now, slots| {
            let summaries = host.tcp.connections_in(slots);
            found.extend(summaries.map(|summary| listed(shard, host, now, &summary)));
        })
    }

    /// As [`Listing::next`], with little of each and therefore more of them.
    pub(crate) fn next_summaries(&mut self, found: &mut Vec<Summary>) -> bool {
        self.visit(SLICE * 16, |_, host, _, slots| {
            found.extend(host.tcp.connections_in(slots));
        })
    }

    fn visit(&mut self, most: u32, f: impl FnOnce(usize, &Host, Instant, Range<u32>)) -> bool {
        let Some(shared) = self.shards.each().get(self.shard) else {
            return false;
        };
        let now = shared.clock.now();
        let mut host = shared.host.lock();
        let now = host.stamp(now);
        let end = self.next.saturating_add(most);
        f(self.shard, &host, now, self.next..end);
        if end < host.tcp.slots() {
            self.next = end;
        } else {
            (self.shard, self.next) = (self.shard + 1, 0);
        }
        MutexGuard::unlock_fair(host); // to the packet loop, if it waits
        true
    }
}

fn listed(shard: usize, host: &Host, now: Instant, summary: &Summary) -> Listed {
    let id = summary.id;
    let info = host.tcp.info(now, id).unwrap_or_default();
    Listed {
        key: Key::new(shard, id),
        flow: summary.flow,
        state: summary.state,
        info,
        queued: host.tcp.queued(id),
        congestion: host.tcp.congestion(id).map_or("", |own| own.name()),
    }
}

/// Resets the connection `key` of `flow`, if that is what both still name.
pub(crate) fn reset(shards: &Shards, key: Key, flow: &FlowKey) -> bool {
    let Some(shared) = shards.each().get(key.shard as usize) else {
        return false;
    };
    shared.call(|host, now| {
        let found = host.tcp.find(flow);
        let Some(id) = found.filter(|&id| Key::new(key.shard as usize, id) == key) else {
            return false;
        };
        let state = host.tcp.info(now, id).ok().and_then(|info| info.state);
        if matches!(state, None | Some(State::TimeWait | State::Closed)) {
            return false;
        }
        host.tcp.abort(now, id);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = Key {
            shard: 3,
            index: 70_000,
            generation: u32::MAX,
        };
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "1:2", "1:2:3:4", "a:b:c", "1:2:-3", "1:2:4294967296"] {
            assert_eq!(text.parse::<Key>(), Err(BadKey), "{text}");
        }
    }
}
