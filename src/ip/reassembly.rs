//! Putting fragments together (RFC 791, RFC 8200 §4.5), within bounds of memory and time.
//!
//! One table for both families. A datagram whose fragments overlap is given up whole and its later
//! fragments with it (RFC 5722; IPv4 likewise). When memory runs out the oldest goes: first the
//! oldest of the same source, so that one source cannot push out another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use hashbrown::HashMap;
use ustack_tcp::Ecn;
use ustack_tcp::time::{Duration, Instant};

use super::counters::Dropped;
use super::keyed::KeyedHash;

/// RFC 1122 §3.3.2, RFC 8200 §4.5 (FR-2, V6-7).
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes a packet's payload can have.
pub(super) const MAX_PAYLOAD: usize = 65_535;

/// What a datagram and a fragment are charged besides their bytes.
const DATAGRAM_OVERHEAD: usize = 512;
const FRAGMENT_OVERHEAD: usize = 128;

/// Which datagram a fragment is part of (FR-6). IPv6 does not tell by protocol: 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) id: u32,
}

/// What only the fragment with offset 0 has.
#[derive(Clone, Debug)]
pub(super) struct First {
    /// The headers of the whole packet, lengths not yet right.
    pub(super) header: Bytes,
    /// The fragment as it came, for an ICMP error to quote.
    pub(super) packet: Bytes,
}

/// A fragment, checked as far as it can be alone.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) ecn: Ecn,
    pub(super) payload: Bytes,
    pub(super) first: Option<First>,
}

/// All of a datagram.
#[derive(Debug)]
pub(super) struct Whole {
    /// Headers and payload, the lengths in the headers not yet right.
    pub(super) packet: Vec<u8>,
    pub(super) header_len: usize,
    pub(super) ecn: Ecn,
}

/// What became of a fragment.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Kept, or known already.
    Held,
    /// It was the last one missing.
    Complete(Whole),
}

/// A datagram that is out of time.
#[derive(Debug)]
pub(super) struct Expired {
    /// Its first fragment, if that arrived: then an ICMP error is due.
    pub(super) first: Option<Bytes>,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    deadline: Instant,
    /// By offset, none overlapping.
    fragments: BTreeMap<usize, Bytes>,
    first: Option<First>,
    /// Payload bytes held, all told and once the last fragment said so.
    received: usize,
    total: Option<usize>,
    /// One bit per ECN code point seen.
    ecn: u8,
    charged: usize,
    /// Overlapped: what still arrives of it is dropped.
    is_spoiled: bool,
}

#[derive(Debug, Default)]
struct Source {
    charged: usize,
    /// Its datagrams, oldest first.
    serials: BTreeSet<u64>,
}

/// Datagrams under reassembly.
#[derive(Debug)]
pub(super) struct Reassembler {
    serials: HashMap<Key, u64, KeyedHash>,
    /// Oldest first, which is also the order of their deadlines.
    datagrams: BTreeMap<u64, Datagram>,
    sources: HashMap<IpAddr, Source, KeyedHash>,
    next_serial: u64,
    charged: usize,
    limit: usize,
    source_limit: usize,
    /// Datagrams given up so far.
    pub(super) fails: u64,
}

impl Reassembler {
    pub(super) fn new(limit: usize, source_limit: usize, hash: KeyedHash) -> Self {
        Self {
            serials: HashMap::with_hasher(hash),
            datagrams: BTreeMap::new(),
            sources: HashMap::with_hasher(hash),
            next_serial: 0,
            charged: 0,
            limit,
            source_limit: source_limit.min(limit),
            fails: 0,
        }
    }

    /// Bytes charged, never above the limit once a fragment was taken.
    pub(super) const fn charged(&self) -> usize {
        self.charged
    }

    /// Another limit from the next fragment on.
    pub(super) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes a fragment.
    pub(super) fn on_fragment(
        &mut self,
        now: Instant,
        key: Key,
        fragment: Fragment,
    ) -> Result<Outcome, Dropped> {
        let end = fragment.offset + fragment.payload.len();
        let is_cut = fragment.more && !fragment.payload.len().is_multiple_of(8);
        if fragment.payload.is_empty() || end > MAX_PAYLOAD || is_cut {
            return Err(Dropped::Fragment);
        }
        let serial = match self.serials.get(&key) {
            Some(&serial) => serial,
            None => self.open(now, key)?,
        };
        let cost = FRAGMENT_OVERHEAD
            + fragment.payload.len()
            + fragment
                .first
                .as_ref()
                .map_or(0, |first| first.packet.len());
        match self.datagrams.get_mut(&serial).map(|d| d.insert(fragment)) {
            Some(Inserted::Kept) => {}
            Some(Inserted::Known) => return Ok(Outcome::Held),
            Some(Inserted::Conflict) => {
                self.spoil(serial);
                return Err(Dropped::Fragment);
            }
            Some(Inserted::Spoiled) | None => return Err(Dropped::Fragment),
        }
        if self
            .datagrams
            .get(&serial)
            .is_some_and(Datagram::is_complete)
        {
            return self.finish(serial);
        }
        self.charge(serial, key.source, cost)
    }

    fn open(&mut self, now: Instant, key: Key) -> Result<u64, Dropped> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let datagram = Datagram {
            key,
            deadline: now + TIMEOUT,
            fragments: BTreeMap::new(),
            first: None,
            received: 0,
            total: None,
            ecn: 0,
            charged: 0,
            is_spoiled: false,
        };
        self.datagrams.insert(serial, datagram);
        self.serials.insert(key, serial);
        self.sources
            .entry(key.source)
            .or_default()
            .serials
            .insert(serial);
        self.charge(serial, key.source, DATAGRAM_OVERHEAD)?;
        Ok(serial)
    }

    /// Charges `cost` to a datagram and makes room for it, at the expense of the oldest.
    fn charge(&mut self, serial: u64, source: IpAddr, cost: usize) -> Result<Outcome, Dropped> {
        if let Some(datagram) = self.datagrams.get_mut(&serial) {
            datagram.charged += cost;
            self.charged += cost;
            self.sources.entry(source).or_default().charged += cost;
        }
        while let Some(own) = self.sources.get(&source)
            && own.charged > self.source_limit
            && let Some(&oldest) = own.serials.first()
        {
            self.give_up(oldest);
        }
        while self.charged > self.limit
            && let Some((&oldest, _)) = self.datagrams.first_key_value()
        {
            self.give_up(oldest);
        }
        if self.datagrams.contains_key(&serial) {
            Ok(Outcome::Held)
        } else {
            Err(Dropped::Fragment)
        }
    }

    fn give_up(&mut self, serial: u64) {
        if let Some(datagram) = self.remove(serial)
            && !datagram.is_spoiled
        {
            self.fails += 1;
        }
    }

    /// Lets go of a datagram's bytes, but remembers it until its time is over.
    fn spoil(&mut self, serial: u64) {
        let Some(datagram) = self.datagrams.get_mut(&serial) else {
            return;
        };
        datagram.is_spoiled = true;
        datagram.fragments = BTreeMap::new();
        datagram.first = None;
        self.fails += 1;
        let freed = datagram.charged - DATAGRAM_OVERHEAD;
        datagram.charged = DATAGRAM_OVERHEAD;
        self.charged -= freed;
        if let Some(source) = self.sources.get_mut(&datagram.key.source) {
            source.charged -= freed;
        }
    }

    fn remove(&mut self, serial: u64) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&serial)?;
        self.serials.remove(&datagram.key);
        self.charged -= datagram.charged;
        if let Some(source) = self.sources.get_mut(&datagram.key.source) {
            source.charged -= datagram.charged;
            source.serials.remove(&serial);
            if source.serials.is_empty() {
                self.sources.remove(&datagram.key.source);
            }
        }
        Some(datagram)
    }

    fn finish(&mut self, serial: u64) -> Result<Outcome, Dropped> {
        let whole = self.remove(serial).and_then(Datagram::assemble);
        if whole.is_none() {
            self.fails += 1;
        }
        whole.map(Outcome::Complete).ok_or(Dropped::Fragment)
    }

    /// The next datagram whose time is over; spoiled ones go silently.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<Expired> {
        loop {
            let (&serial, datagram) = self.datagrams.first_key_value()?;
            if datagram.deadline > now {
                return None;
            }
            let datagram = self.remove(serial)?;
            if !datagram.is_spoiled {
                self.fails += 1;
                return Some(Expired {
                    first: datagram.first.map(|first| first.packet),
                });
            }
        }
    }

    /// When [`Reassembler::poll_expired`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.datagrams
            .first_key_value()
            .map(|(_, datagram)| datagram.deadline)
    }
}

enum Inserted {
    Kept,
    /// A copy of what is held.
    Known,
    /// Overlaps, or disagrees about the end.
    Conflict,
    Spoiled,
}

impl Datagram {
    fn insert(&mut self, fragment: Fragment) -> Inserted {
        let Fragment {
            offset,
            more,
            ecn,
            payload,
            first,
        } = fragment;
        if self.is_spoiled {
            return Inserted::Spoiled;
        }
        let end = offset + payload.len();
        if self
            .fragments
            .get(&offset)
            .is_some_and(|held| *held == payload)
        {
            return Inserted::Known;
        }
        let before = self.fragments.range(..=offset).next_back();
        let after = self.fragments.range(offset..).next();
        let overlaps = before.is_some_and(|(start, held)| start + held.len() > offset)
            || after.is_some_and(|(start, _)| *start < end);
        let last_end = self
            .fragments
            .last_key_value()
            .map_or(0, |(start, held)| start + held.len());
        let disagrees = match (self.total, more) {
            (Some(total), true) => end >= total,
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => last_end > end,
        };
        if overlaps || disagrees {
            return Inserted::Conflict;
        }
        if !more {
            self.total = Some(end);
        }
        self.received += payload.len();
        self.ecn |= 1 << ecn as u8;
        self.first = self.first.take().or(first);
        self.fragments.insert(offset, payload);
        Inserted::Kept
    }

    fn is_complete(&self) -> bool {
        self.total == Some(self.received)
    }

    fn assemble(self) -> Option<Whole> {
        let header = self.first?.header;
        let ecn = combine_ecn(self.ecn)?;
        let mut packet = Vec::with_capacity(header.len() + self.received);
        packet.extend_from_slice(&header);
        for payload in self.fragments.values() {
            packet.extend_from_slice(payload);
        }
        Some(Whole {
            packet,
            header_len: header.len(),
            ecn,
        })
    }
}

/// RFC 3168 §5.3 (EC-10): congestion experienced by any fragment is not lost, and never laid to a
/// transport that said it does not understand it.
fn combine_ecn(seen: u8) -> Option<Ecn> {
    let has = |ecn: Ecn| seen & (1 << ecn as u8) != 0;
    if has(Ecn::Ce) {
        return if has(Ecn::NotEct) {
            None
        } else {
            Some(Ecn::Ce)
        };
    }
    Some(if has(Ecn::NotEct) {
        Ecn::NotEct
    } else if has(Ecn::Ect0) {
        Ecn::Ect0
    } else {
        Ecn::Ect1
    })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
