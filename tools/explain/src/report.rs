//! What is told of one conversation, as data. With `serde` it is the JSON that
//! `ustack explain --json` prints, one object a line; fields are only ever added.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::conversation::{Began, Conversation, Icmp, Pause, Reset};
use crate::diagnosis::{self, Finding};
use crate::growth::Growth;
use crate::moment::{Moment, seconds};
use crate::notes;
use crate::repeats::Episode;
use crate::side::{Count, Offer, Side};
use crate::story;
pub use crate::story::{Kind, Phase};
use crate::waits::Waits;
use crate::window::{Closed, Full};

/// A conversation. Times are seconds since the first packet of the capture, sizes are bytes,
/// positions count from the ISN: SYN lies at 0, the first byte at 1.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its number, by its first packet, from 1.
    pub number: usize,
    /// The end that connected; of a conversation recorded from its middle, a guess.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// How the record begins.
    pub began: Began,
    /// Its first and last packet.
    pub first: Moment,
    /// See `first`.
    pub last: Moment,
    /// How many packets there are.
    pub packets: u64,
    /// How many of them were recorded in part.
    pub cut: u64,
    /// The acknowledgment of the server's SYN.
    pub established: Option<Moment>,
    /// The fastest round trip, in seconds.
    #[serde(serialize_with = "optional_seconds")]
    pub round_trip: Option<Duration>,
    /// What looks wrong, the cause first; empty: nothing unusual.
    pub findings: Vec<Finding>,
    /// What happened, in order.
    pub phases: Vec<Phase>,
    /// The client and the server.
    pub ends: [End; 2],
    /// RSTs, the first 32.
    pub resets: Vec<Reset>,
    /// ICMP errors about its segments, the first 32.
    pub icmp: Vec<Icmp>,
    /// Pauses, the first 32.
    pub pauses: Vec<Pause>,
    /// What could not be told.
    pub notes: Vec<String>,
}

/// One end, as a sender of its bytes and a receiver of the other's.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// What its SYN offered; it was not seen otherwise.
    pub offer: Option<Offer>,
    /// SYNs, and the first 16 of them.
    pub syns: u32,
    /// Moments of the SYNs.
    pub syn_moments: Vec<Moment>,
    /// Segments, and those with payload.
    pub segments: u64,
    /// See `segments`.
    pub data_segments: u64,
    /// Payload, each byte counted once.
    pub bytes: u64,
    /// Payload of the largest segment.
    pub largest: usize,
    /// How fast it answered, at least, in seconds, seen from where the capture was made.
    #[serde(serialize_with = "optional_seconds")]
    pub answers: Option<Duration>,
    /// Segments sent again, and their bytes.
    pub repeated: u64,
    /// See `repeated`.
    pub repeated_bytes: u64,
    /// Of these, those whose first transmission never came by here.
    pub lost_before: u64,
    /// Losses, or what was taken for one; the first 256.
    pub episodes: Vec<Episode>,
    /// Segments that others had overtaken.
    pub reordered: Count,
    /// Segments that came twice, though they were not sent again.
    pub copies: Count,
    /// How much was on its way.
    pub growth: Growth,
    /// The largest window it announced.
    pub window: u64,
    /// When its window was closed, the first 64 times.
    pub closed: Vec<Closed>,
    /// When the other end had filled its window.
    pub full: Full,
    /// Small segments that waited for the other end's delayed acknowledgments.
    pub waits: Waits,
    /// Keep-alives.
    pub keepalives: Count,
    /// Segments with a wrong checksum.
    pub damaged: Count,
    /// Packets marked Congestion Experienced.
    pub marked: Count,
    /// Its FIN.
    pub fin: Option<Moment>,
}

#[expect(clippy::ref_option, reason = "what serde calls it with")]
fn optional_seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

impl Report {
    pub(crate) fn new(one: &Conversation) -> Self {
        Self {
            number: one.number,
            client: one.addresses[0],
            server: one.addresses[1],
            began: one.began,
            first: one.first,
            last: one.last,
            packets: one.packets,
            cut: one.cut,
            established: one.established,
            round_trip: one.round_trip(),
            findings: diagnosis::findings(one),
            phases: story::phases(one),
            ends: one.sides.each_ref().map(End::new),
            resets: one.resets.clone(),
            icmp: one.icmp.clone(),
            pauses: one.pauses.clone(),
            notes: notes::notes(one),
        }
    }

    /// Whether one of its ends has this address.
    pub fn is_of_host(&self, address: IpAddr) -> bool {
        self.client.ip() == address || self.server.ip() == address
    }

    /// Whether one of its ends has this port.
    pub fn is_of_port(&self, port: u16) -> bool {
        self.client.port() == port || self.server.port() == port
    }

    /// The first finding's cause, or that there is nothing unusual.
    pub fn verdict(&self) -> &str {
        let first = self.findings.first();
        first.map_or("nothing unusual", |finding| &finding.cause)
    }
}

impl End {
    fn new(side: &Side) -> Self {
        Self {
            offer: side.offer.clone(),
            syns: side.syn_count,
            syn_moments: side.syns.clone(),
            segments: side.segments,
            data_segments: side.data_segments,
            bytes: side.bytes(),
            largest: side.largest,
            answers: side.answers.least,
            repeated: side.repeats.segments,
            repeated_bytes: side.repeats.bytes,
            lost_before: side.lost_before,
            episodes: side.repeats.episodes.clone(),
            reordered: side.reordered,
            copies: side.copies,
            growth: side.growth,
            window: side.window.largest,
            closed: side.window.closed.clone(),
            full: side.window.full,
            waits: side.waits,
            keepalives: side.keepalives,
            damaged: side.damaged,
            marked: side.marked,
            fin: side.fin,
        }
    }
}
