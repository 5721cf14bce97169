//! Records as bytes: what collects, waits and is kept. It is half as long as the records are,
//! written once, and copied as it is; only who shows a record unpacks it.
//!
//! The form is this program's own, of this version: no file has it.

mod codes;
mod reader;

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;

use crate::connection::State;
use crate::segment::FlowKey;
use crate::time::Instant;

use self::codes::{Code, timer_code, why_code};
use self::reader::Reader;
use super::{Outcome, Packet, Record, Variables, What};

/// What comes first: length in bytes of all, how many records, [`has`], state, kind of the first,
/// whether there are alarms.
const HEADER: usize = 8;

/// Variables, and those of them that are 0 while all goes well: bytes that are not simply on their
/// way, or not in order, and since when it has stalled.
const VARIABLES: usize = 6 * 8 + 11 * 4;
const TROUBLES: usize = 6 * 4 + 8;

/// The longest flow, and the longest record besides what it shares with others.
const FLOW: usize = 2 * 16 + 4;
const WHAT: usize = 4 + 6 * 4 + 5 * 4 + 8 + 4 * 8;

/// Lost, undone, ended, begun, reduced, state.
const CHANGES: usize = 8 + 4 + 4 + 12 + 12 + 4;

const _: () = assert!(HEADER + 8 + VARIABLES + TROUBLES + FLOW + WHAT + CHANGES <= Packed::MAX);

/// What there is besides what all have.
mod has {
    pub(super) const VARIABLES: u8 = 1;
    pub(super) const IPV6: u8 = 1 << 1;
    pub(super) const TROUBLES: u8 = 1 << 2;
}

const SENT: u8 = 0;
const RECEIVED: u8 = 1;
const STATE: u8 = 2;
const TIMER: u8 = 3;
const LOST: u8 = 4;
const BEGUN: u8 = 5;
const ENDED: u8 = 6;
const UNDONE: u8 = 7;
const REDUCED: u8 = 8;

/// Stands for no code.
const NONE: u8 = u8::MAX;

/// Records in the order of events.
#[derive(Debug, Default)]
pub struct Records {
    /// Written up to `used`; what follows is room.
    bytes: Vec<u8>,
    used: usize,
    /// Where the last [`Packed`] begins.
    last: usize,
    count: usize,
    has_alarms: bool,
}

/// Records of one flow and one moment: their time, flow, state and variables are written once.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a>(&'a [u8]);

impl Records {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a timer fired or a connection ended.
    pub const fn has_alarms(&self) -> bool {
        self.has_alarms
    }

    /// Each record, unpacked.
    pub fn iter(&self) -> impl Iterator<Item = Record> {
        self.packed().flat_map(Packed::records)
    }

    /// The records as they are.
    pub fn packed(&self) -> impl Iterator<Item = Packed<'_>> {
        self.packed_from(0)
    }

    /// Those behind so many [bytes](Self::bytes).
    pub fn packed_from(&self, start: usize) -> impl Iterator<Item = Packed<'_>> {
        let mut rest = self.bytes.get(start..self.used).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let packed = Packed::read(rest)?;
            rest = &rest[packed.0.len()..];
            Some(packed)
        })
    }

    /// Bytes of the last [`Packed`].
    pub(crate) const fn last_len(&self) -> usize {
        self.used - self.last
    }

    /// Bytes that they take.
    pub const fn bytes(&self) -> usize {
        self.used
    }

    /// Appends a copy of `more`.
    pub fn append(&mut self, more: &Self) {
        self.bytes.truncate(self.used);
        self.bytes.extend_from_slice(&more.bytes[..more.used]);
        self.last = self.used + more.last;
        self.used += more.used;
        self.count += more.count;
        self.has_alarms |= more.has_alarms;
    }

    /// Appends a record.
    pub fn push(&mut self, record: &Record) {
        self.begin(record.at, &record.flow, record.state, record.now.as_ref());
        self.tell(&record.what);
    }

    /// Forgets all, keeps the memory.
    pub const fn clear(&mut self) {
        (self.used, self.last, self.count, self.has_alarms) = (0, 0, 0, false);
    }

    /// The records that follow are of this flow at this moment; at least one does.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        at: Instant,
        flow: &FlowKey,
        state: State,
        now: Option<&Variables>,
    ) {
        self.last = self.used;
        let Some(place) = self.place::<{ HEADER + 8 + VARIABLES + TROUBLES + FLOW }>() else {
            return; // there always is
        };
        put_u64s(place, HEADER, [at.as_nanos()]);
        let (mut end, mut bits) = (HEADER + 8, 0);
        if let Some(now) = now {
            put_variables(place, end, now);
            (end, bits) = (end + VARIABLES, has::VARIABLES);
            if put_troubles(place, end, now) {
                (end, bits) = (end + TROUBLES, has::VARIABLES | has::TROUBLES);
            }
        }
        if let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (flow.local, flow.remote) {
            let ips = [local.ip().to_bits(), remote.ip().to_bits()];
            put_u32s(place, end, [ips[0], ips[1], ports(flow)]);
            end += 12;
        } else {
            put_long_flow(place, end, flow);
            (end, bits) = (end + FLOW, bits | has::IPV6);
        }
        place[..HEADER].copy_from_slice(&[0, 0, 0, bits, state.code(), 0, 0, 0]);
        self.used += end;
    }

    /// Appends a record.
    #[inline]
    pub(crate) fn tell(&mut self, what: &What) {
        let kind = kind(what);
        let Some(place) = self.place::<WHAT>() else {
            return; // there always is
        };
        place[..4].copy_from_slice(&kind);
        let end = match what {
            What::Sent(packet, _) => {
                put_packet(place, packet);
                put_blocks(place, PACKET, packet)
            }
            What::Received(packet, outcome) => {
                put_packet(place, packet);
                put_outcome(place, outcome);
                put_blocks(place, RECEPTION, packet)
            }
            What::State { .. } | What::Timer(_) | What::RecoveryEnded | What::RecoveryUndone => 4,
            What::Lost { bytes } => put_u32s(place, 4, [*bytes]),
            What::RecoveryBegun { until, .. } => put_u64s(place, 4, [*until]),
            What::Reduced { cwnd, ssthresh } => put_u32s(place, 4, [*cwnd, *ssthresh]),
        };
        self.used += end;
        self.count += 1;
        let len = ((self.used - self.last) as u16).to_le_bytes();
        if let Some(header) = self.bytes[self.last..].first_chunk_mut::<HEADER>() {
            [header[0], header[1]] = len;
            if header[2] == 0 {
                header[5] = kind[0];
            }
            header[2] += 1;
            if let What::Timer(_)
            | What::State {
                reason: Some(_), ..
            } = what
            {
                header[6] = 1;
                self.has_alarms = true;
            }
        }
    }

    /// Room for so many bytes.
    #[inline]
    fn place<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        if self.bytes.len() - self.used < N {
            self.grow(N);
        }
        self.bytes.get_mut(self.used..)?.first_chunk_mut()
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (2 * self.bytes.len()).max(self.used + more);
        self.bytes.resize(len.next_multiple_of(4096), 0);
    }
}

impl Clone for Records {
    /// Without the room.
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes[..self.used].to_vec(),
            ..*self
        }
    }
}

/// Where a segment's SACK blocks are: behind its header, and behind what became of it.
const PACKET: usize = 4 + 6 * 4;
const RECEPTION: usize = PACKET + 5 * 4 + 8;

/// Returns where they end, as the next one does.
#[inline]
fn put_u32s<const N: usize>(place: &mut [u8], at: usize, values: [u32; N]) -> usize {
    let bytes = values.map(u32::to_le_bytes);
    place[at..at + 4 * N].copy_from_slice(bytes.as_flattened());
    at + 4 * N
}

#[inline]
fn put_u64s<const N: usize>(place: &mut [u8], at: usize, values: [u64; N]) -> usize {
    let bytes = values.map(u64::to_le_bytes);
    place[at..at + 8 * N].copy_from_slice(bytes.as_flattened());
    at + 8 * N
}

fn ports(flow: &FlowKey) -> u32 {
    u32::from(flow.local.port()) << 16 | u32::from(flow.remote.port())
}

/// Scope and flow label are left out.
fn put_long_flow(place: &mut [u8], mut at: usize, flow: &FlowKey) {
    for address in [flow.local, flow.remote] {
        let bits = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        at = put_u64s(place, at, [bits as u64, (bits >> 64) as u64]);
    }
    put_u32s(place, at, [ports(flow)]);
}

#[inline]
fn put_packet(place: &mut [u8; WHAT], packet: &Packet) {
    let blocks = packet.sack.as_slice().len() as u32;
    let words = [
        packet.seq.0,
        packet.ack.0,
        packet.len,
        packet.window,
        u32::from(packet.segments) << 16 | u32::from(packet.size),
        u32::from(packet.flags.0) << 16 | blocks,
    ];
    put_u32s(place, 4, words);
}

#[inline]
fn put_blocks(place: &mut [u8; WHAT], mut at: usize, packet: &Packet) -> usize {
    for block in packet.sack.as_slice() {
        at = put_u32s(place, at, [block.left.0, block.right.0]);
    }
    at
}

#[inline]
fn put_outcome(place: &mut [u8; WHAT], outcome: &Outcome) {
    let words = [
        outcome.in_order,
        outcome.out_of_order,
        outcome.refused,
        outcome.acked,
        outcome.sacked,
    ];
    let end = put_u32s(place, PACKET, words);
    put_u64s(place, end, [outcome.rtt.unwrap_or(0)]);
}

#[inline]
fn put_variables(place: &mut [u8], at: usize, now: &Variables) {
    let long = [
        now.snd_una,
        now.snd_nxt,
        now.rcv_nxt,
        now.rto,
        now.srtt.map_or(0, NonZeroU64::get),
        now.rttvar,
    ];
    let small = [now.window_scale.shift(), now.backoff, now.phase.code(), 0];
    let short = [
        now.iss.0,
        now.irs.0,
        now.snd_wnd,
        now.rcv_wnd,
        now.cwnd,
        now.ssthresh,
        now.in_flight,
        now.unsent,
        now.unread,
        now.mss,
        u32::from_le_bytes(small),
    ];
    let at = put_u64s(place, at, long);
    put_u32s(place, at, short);
}

/// Returns whether there is any.
#[inline]
fn put_troubles(place: &mut [u8], at: usize, now: &Variables) -> bool {
    let bytes = [
        now.sacked,
        now.lost,
        now.resent,
        now.twice,
        now.dup_acked,
        now.out_of_order,
    ];
    let is_calm = now.stalled_since.is_none() && bytes.iter().fold(0, |all, one| all | one) == 0;
    if !is_calm {
        let at = put_u32s(place, at, bytes);
        put_u64s(
            place,
            at,
            [now.stalled_since.map_or(0, |since| since.as_nanos() + 1)],
        );
    }
    !is_calm
}

impl<'a> FromIterator<&'a Record> for Records {
    fn from_iter<T: IntoIterator<Item = &'a Record>>(all: T) -> Self {
        let mut records = Self::default();
        all.into_iter().for_each(|record| records.push(record));
        records
    }
}

impl<'a> Packed<'a> {
    /// The most bytes that one takes of what an observer tells at once: a packet, and each change that
    /// it can bring about; five timers are less.
    pub const MAX: usize = 384;

    /// Takes one off the beginning of `bytes`; `None` if there is none.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let len = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        (len >= HEADER).then(|| bytes.get(..len).map(Self))?
    }

    /// As [`Packed::read`] reads it.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it begins with a segment that was sent.
    #[inline]
    pub fn is_sent(self) -> bool {
        self.0[5] == SENT
    }

    /// Whether it begins with a segment that was received.
    #[inline]
    pub fn is_received(self) -> bool {
        self.0[5] == RECEIVED
    }

    /// Whether a timer fired or the connection ended.
    #[inline]
    pub fn has_alarms(self) -> bool {
        self.0[6] != 0
    }

    /// The records; as many as can be read.
    pub fn records(self) -> impl Iterator<Item = Record> {
        let mut reader = Reader {
            rest: &self.0[HEADER..],
        };
        let mut left = self.0[2];
        let mut shared = reader.shared(self.0[3], self.0[4]);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let what = shared.and_then(|_| reader.what());
            if what.is_none() {
                shared = None;
            }
            let (at, flow, state, now) = shared?;
            Some(Record {
                at,
                flow,
                what: what?,
                state,
                now,
            })
        })
    }
}

/// The kind, what specifies it, and whether a round trip follows.
#[inline]
fn kind(what: &What) -> [u8; 4] {
    match *what {
        What::Sent(_, why) => {
            let [why, more] = why_code(why);
            [SENT, why, more, 0]
        }
        What::Received(_, outcome) => {
            let dropped = outcome.dropped.map_or(NONE, Code::code);
            [RECEIVED, dropped, 0, outcome.rtt.is_some().into()]
        }
        What::State { from, reason } => [STATE, from.code(), reason.map_or(NONE, Code::code), 0],
        What::Timer(timer) => {
            let [timer, count] = timer_code(timer);
            [TIMER, timer, count, 0]
        }
        What::Lost { .. } => [LOST, 0, 0, 0],
        What::RecoveryBegun { by, .. } => [BEGUN, by.code(), 0, 0],
        What::RecoveryEnded => [ENDED, 0, 0, 0],
        What::RecoveryUndone => [UNDONE, 0, 0, 0],
        What::Reduced { .. } => [REDUCED, 0, 0, 0],
    }
}

#[cfg(test)]
mod tests;
