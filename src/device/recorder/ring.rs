//! The ring: the last packets and notes of a shard as bytes, in memory that is taken once.
//!
//! What is written is an entry for each frame and each note, in the order in which the recorder comes
//! by them: frames received, frames to send, notes that say by their numbers which of these they are
//! about. Who stands where is found out when a file is [written](each), not while packets pass.

use std::mem;

use ustack_tcp::observe::Packed;
use ustack_tcp::time::Instant;

use crate::batch::{Frame, TxFrame};
use crate::ip::Dropped;
use crate::observe::{Entry, Fate, Frames, Note, Part, Told, Turn, Waiting};

/// Bytes kept of a packet: headers and the first of what they carry.
pub(super) const KEPT: usize = 128;

/// Bytes kept of one that comes right behind another of its flow and length: what both carry is in the
/// middle of something, and headers of TCP over IPv6 with timestamps take 72.
const KEPT_OF_NEXT: usize = 80;

/// Pieces that a ring is made of: the oldest is given up whole.
const CHUNKS: usize = 16;

/// What comes first in an entry: its length in bytes, its kind, whether a half turn begins with it, the
/// frame's length or how many frames a note is about, the frame's number or that of the first, when.
const HEADER: usize = 2 + 1 + 1 + 4 + 8 + 8;

/// The longest entry.
const MAX_ENTRY: usize = HEADER
    + if KEPT > Packed::MAX {
        KEPT
    } else {
        Packed::MAX
    };

const RECEIVED: u8 = 0;
const SENT: u8 = 1;
/// Records the first of which is about frames received, about frames to send, or about none.
const ABOUT_RECEIVED: u8 = 2;
const ABOUT_SENT: u8 = 3;
const ABOUT_NONE: u8 = 4;
/// IP dropped frames received, for the reason that follows.
const DROPPED: u8 = 5;
/// Frames received went to the shard whose number follows.
const HANDED_OVER: u8 = 6;

/// The last packets and notes.
#[derive(Debug)]
pub(super) struct Ring {
    chunks: Vec<Chunk>,
    /// The one that is written.
    current: usize,
    /// Whether the next entry begins a half turn.
    begins: bool,
    /// Frames received in it.
    received: u64,
}

/// A piece of the ring.
#[derive(Clone, Debug)]
struct Chunk {
    bytes: Vec<u8>,
    used: usize,
}

impl Ring {
    /// A ring of so many bytes; the system gives the memory as it is written.
    pub(super) fn new(bytes: usize) -> Self {
        let size = (bytes / CHUNKS).max(2 * MAX_ENTRY);
        let chunk = || Chunk {
            bytes: vec![0; size],
            used: 0,
        };
        Self {
            chunks: (0..CHUNKS).map(|_| chunk()).collect(),
            current: 0,
            begins: true,
            received: 0,
        }
    }

    /// A half turn is over.
    pub(super) const fn end_turn(&mut self) {
        (self.begins, self.received) = (true, 0);
    }

    /// Whether no half turn is under way.
    pub(super) const fn is_between(&self) -> bool {
        self.begins
    }

    /// These frames came.
    pub(super) fn receive(&mut self, at: Instant, frames: &[Frame]) {
        let mut before: &[u8] = &[];
        for Frame { data, .. } in frames {
            let number = self.received;
            self.received += 1;
            let is_next = data.len() == before.len() && is_next(before, data);
            let len = data.len() as u32;
            if is_next {
                self.push(RECEIVED, at, len, number, |place| {
                    keep::<KEPT_OF_NEXT>(place, data)
                });
            } else {
                self.push(RECEIVED, at, len, number, |place| keep::<KEPT>(place, data));
            }
            before = data;
        }
    }

    /// These frames leave, the first of which has this number.
    pub(super) fn send<'a>(
        &mut self,
        at: Instant,
        first: u64,
        frames: impl Iterator<Item = TxFrame<'a>>,
    ) {
        let (mut len, mut headers): (_, &[u8]) = (0, &[]);
        for (number, frame) in (first..).zip(frames) {
            let is_next = frame.len() == len && is_next(headers, frame.headers);
            (len, headers) = (frame.len(), frame.headers);
            let most = if is_next { KEPT_OF_NEXT } else { KEPT };
            self.push(SENT, at, len as u32, number, |place| {
                let place = &mut place[..most];
                let mut kept = keep::<KEPT>(place, headers);
                for chunk in frame.chunks {
                    if kept == most {
                        break;
                    }
                    kept += keep::<KEPT>(&mut place[kept..], chunk);
                }
                kept
            });
        }
    }

    /// Something was noted of these frames.
    #[inline]
    pub(super) fn note(&mut self, at: Instant, told: Told<'_>, frames: Frames) {
        let (about, first, count) = match frames {
            Frames::None => (ABOUT_NONE, 0, 0),
            Frames::Received { first, count } => (ABOUT_RECEIVED, first.into(), count),
            Frames::Sent { first, count } => (ABOUT_SENT, first, count),
        };
        match told {
            Told::Tcp(packed) => {
                let bytes = packed.as_bytes();
                self.push(about, at, count, first, |place| {
                    place[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                });
            }
            Told::Other(Fate::Dropped(reason)) => self.push(DROPPED, at, count, first, |place| {
                place[0] = reason as u8;
                1
            }),
            Told::Other(Fate::HandedOver(shard)) => {
                self.push(HANDED_OVER, at, count, first, |place| {
                    place[..8].copy_from_slice(&(shard as u64).to_le_bytes());
                    8
                });
            }
        }
    }

    #[inline]
    fn push(
        &mut self,
        kind: u8,
        at: Instant,
        count: u32,
        number: u64,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let mut chunk = &mut self.chunks[self.current];
        if chunk.bytes.len() - chunk.used < MAX_ENTRY {
            self.current = (self.current + 1) % CHUNKS;
            chunk = &mut self.chunks[self.current];
            chunk.used = 0;
        }
        let entry = &mut chunk.bytes[chunk.used..][..MAX_ENTRY];
        let (header, place) = entry.split_at_mut(HEADER);
        let len = HEADER + write(place);
        let begins = mem::take(&mut self.begins).into();
        let small = u32::from_le_bytes([len as u8, (len >> 8) as u8, kind, begins]);
        header[..4].copy_from_slice(&small.to_le_bytes());
        header[4..8].copy_from_slice(&count.to_le_bytes());
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[16..24].copy_from_slice(&at.as_nanos().to_le_bytes());
        chunk.used += len;
    }

    /// A copy of what is written, oldest first.
    pub(super) fn copy(&self) -> Vec<u8> {
        let (newer, older) = self.chunks.split_at(self.current + 1);
        let chunks = older.iter().chain(newer);
        let used: Vec<&[u8]> = chunks.map(|chunk| &chunk.bytes[..chunk.used]).collect();
        used.concat()
    }
}

/// Copies what is kept of a packet, of which there is `MOST`; how much that is.
#[inline]
fn keep<const MOST: usize>(place: &mut [u8], bytes: &[u8]) -> usize {
    // Most are longer than what is kept: a length that the compiler knows.
    if let (Some(place), Some(bytes)) =
        (place.first_chunk_mut::<MOST>(), bytes.first_chunk::<MOST>())
    {
        *place = *bytes;
        return MOST;
    }
    let count = bytes.len().min(MOST).min(place.len());
    place[..count].copy_from_slice(&bytes[..count]);
    count
}

/// Whether a packet, by its headers, is of the same flow as the one before it, and these headers are among
/// what is kept then.
#[inline]
fn is_next(before: &[u8], packet: &[u8]) -> bool {
    match (before.first(), packet.first()) {
        (Some(0x45), Some(0x45)) => {
            matches!((word(before), word(packet)), (Some(a), Some(b)) if (a ^ b) & SAME_V4 == 0)
        }
        (Some(0x60..=0x6f), Some(0x60..=0x6f)) => {
            let protocol = packet.get(6);
            matches!(protocol, Some(&TCP | &UDP))
                && protocol == before.get(6)
                && packet.get(8..44) == before.get(8..44)
                && !has_many_options(packet)
        }
        _ => false,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Of the 16 bytes of an IPv4 packet without options that follow the first eight: protocol, addresses, ports.
const SAME_V4: u128 = !(0xff << 120 | 0xffff << 96);

fn word(packet: &[u8]) -> Option<u128> {
    packet
        .get(8..)?
        .first_chunk()
        .map(|bytes| u128::from_be_bytes(*bytes))
}

/// Whether TCP's options over IPv6 do not fit in what is kept.
fn has_many_options(packet: &[u8]) -> bool {
    const MOST: u8 = ((KEPT_OF_NEXT - 40) / 4) as u8;
    packet
        .get(52)
        .is_some_and(|at| packet[6] == TCP && at >> 4 > MOST)
}

/// The beginning of a packet.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) is_sent: bool,
    pub(super) data: &'a [u8],
    /// Bytes of the whole packet.
    pub(super) len: u32,
}

/// Tells of each packet in copies of rings, in order of time, with what is known of it.
pub(super) fn each(copies: &[Vec<u8>], mut tell: impl FnMut(Instant, &Head<'_>, &Part<'_>)) {
    let mut shards: Vec<_> = copies.iter().map(|copy| Shard::new(copy)).collect();
    while let Some(shard) = shards
        .iter_mut()
        .filter(|shard| shard.next.is_some())
        .min_by_key(|shard| shard.next.as_ref().map(|half| half.at))
    {
        shard.tell(&mut tell);
    }
}

/// A copy that is being read.
struct Shard<'a> {
    rest: &'a [u8],
    next: Option<HalfTurn<'a>>,
    waiting: Waiting,
}

impl<'a> Shard<'a> {
    fn new(copy: &'a [u8]) -> Self {
        let mut rest = copy;
        Self {
            next: HalfTurn::read(&mut rest),
            rest,
            waiting: Waiting::default(),
        }
    }

    /// Tells of the next half turn.
    fn tell(&mut self, tell: &mut impl FnMut(Instant, &Head<'_>, &Part<'_>)) {
        let Some(half) = mem::replace(&mut self.next, HalfTurn::read(&mut self.rest)) else {
            return;
        };
        let mut told = 0; // events to come that the last packet has told
        half.turn().each(|entry| match entry {
            Entry::Event(_) if told > 0 => told -= 1,
            Entry::Event(note) => self.waiting.push(note),
            Entry::Received(head, part) | Entry::Sent(head, part) => {
                let events = self.waiting.take(&part);
                tell(half.at, head, &events.before(&part));
                told = part.notes.len().saturating_sub(1);
            }
        });
    }
}

/// The entries of half a turn.
struct HalfTurn<'a> {
    at: Instant,
    received: Vec<Head<'a>>,
    sent: Vec<Head<'a>>,
    /// Numbers of the first of either: those before it are in the ring no more.
    first: [Option<u64>; 2],
    notes: Vec<Note>,
}

impl<'a> HalfTurn<'a> {
    /// Takes it off the beginning of `bytes`.
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut half = HalfTurn {
            at: Instant::ZERO,
            received: Vec::new(),
            sent: Vec::new(),
            first: [None; 2],
            notes: Vec::new(),
        };
        let mut is_empty = true;
        while let Some(entry) = Raw::read(bytes)
            && (is_empty || !entry.begins)
        {
            *bytes = &bytes[entry.len..];
            half.take(&entry);
            is_empty = false;
        }
        (!is_empty).then_some(half)
    }

    fn take(&mut self, entry: &Raw<'a>) {
        self.at = entry.at;
        if let RECEIVED | SENT = entry.kind {
            let is_sent = entry.kind == SENT;
            self.first[usize::from(is_sent)].get_or_insert(entry.number);
            let heads = if is_sent {
                &mut self.sent
            } else {
                &mut self.received
            };
            heads.push(Head {
                is_sent,
                data: entry.data,
                len: entry.count,
            });
        } else {
            self.note(entry);
        }
    }

    /// Nothing, if frames that it is about are in the ring no more.
    fn note(&mut self, entry: &Raw<'_>) -> Option<()> {
        let told = match entry.kind {
            DROPPED => {
                let reason = Dropped::from_code(*entry.data.first()?)?;
                Told::Other(Fate::Dropped(reason))
            }
            HANDED_OVER => {
                let shard = u64::from_le_bytes(*entry.data.first_chunk()?);
                Told::Other(Fate::HandedOver(shard as usize))
            }
            _ => Told::Tcp(Packed::read(entry.data)?),
        };
        let count = entry.count;
        let frames = match entry.kind {
            ABOUT_NONE => Frames::None,
            ABOUT_SENT => Frames::Sent {
                first: entry.number,
                count,
            },
            _ if count == 0 => Frames::None,
            _ => Frames::Received {
                first: entry.number.checked_sub(self.first[0]?)? as u32,
                count,
            },
        };
        told.unpack(frames, &mut self.notes);
        Some(())
    }

    fn turn(&self) -> Turn<'_, Head<'a>, Head<'a>> {
        Turn {
            received: &self.received,
            sent: &self.sent,
            first_sent: self.first[1].unwrap_or(0),
            notes: &self.notes,
        }
    }
}

/// An entry as it stands there.
struct Raw<'a> {
    /// Bytes of all of it.
    len: usize,
    kind: u8,
    begins: bool,
    count: u32,
    number: u64,
    at: Instant,
    data: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let len = usize::from(u16::from_le_bytes(*header.first_chunk()?));
        let [kind, begins] = *header[2..].first_chunk()?;
        Some(Self {
            len,
            kind,
            begins: begins != 0,
            count: u32::from_le_bytes(*header[4..].first_chunk()?),
            number: u64::from_le_bytes(*header[8..].first_chunk()?),
            at: Instant::from_nanos(u64::from_le_bytes(*header[16..].first_chunk()?)),
            data: bytes.get(HEADER..len)?,
        })
    }
}

#[cfg(test)]
mod tests;
