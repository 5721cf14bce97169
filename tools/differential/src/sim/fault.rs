//! Faults made on purpose: what A's host sends is altered as it leaves. So tests show that faults of
//! each kind are found.

use std::collections::HashMap;

use bytes::Bytes;
use referee::packet::{self, Checksums, FIN, SYN};
use serde::{Deserialize, Serialize};

/// What is wrong with A's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The first bytes of each segment are others than were written.
    OtherText,
    /// The same, where a segment is sent again.
    OtherTextAgain,
    /// It never says that it is through.
    NoFin,
    /// It acknowledges one byte more than came, if anything came.
    EarlyAck,
    /// From its fourth segment on it offers no window.
    ClosedWindow,
    /// Segments of text have a wrong checksum.
    BadChecksum,
}

/// Where the fields of a TCP header lie.
const ACK: usize = 8;
const FLAGS: usize = 12;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;

/// A [`Fault`] at work.
#[derive(Debug)]
pub(crate) struct Saboteur {
    fault: Fault,
    /// By the ports: the number after the last byte sent, and how many segments were.
    flows: HashMap<(u16, u16), (u32, u32)>,
}

impl Saboteur {
    pub(crate) fn new(fault: Fault) -> Self {
        let flows = HashMap::new();
        Self { fault, flows }
    }

    /// A packet of A is about to leave.
    pub(crate) fn alter(&mut self, packet: &mut [u8]) {
        let Ok(Some(segment)) = packet::read(&Bytes::copy_from_slice(packet), Checksums::Whole)
        else {
            return;
        };
        let ports = (segment.source.port(), segment.destination.port());
        let text = segment.payload.len() as u32;
        let end = segment.seq.wrapping_add(text);
        let (sent, count) = self.flows.entry(ports).or_insert((segment.seq, 0));
        let is_new = end.wrapping_sub(*sent) as i32 > 0;
        let again = text > 1 && !is_new;
        *sent = if is_new { end } else { *sent };
        *count += 1;
        let tcp = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let tcp = &mut packet[tcp..];
        let first = 20 + segment.option_bytes;
        match self.fault {
            Fault::OtherText if text > 1 => flip(tcp, first, 0x0101),
            Fault::OtherTextAgain if again => flip(tcp, first, 0x0101),
            Fault::NoFin if segment.has(FIN) => flip(tcp, FLAGS, FIN.into()),
            Fault::EarlyAck if !segment.has(SYN) => {
                let low = segment.ack as u16;
                flip(tcp, ACK + 2, low ^ low.wrapping_add(1));
            }
            Fault::ClosedWindow if *count > 3 => flip(tcp, WINDOW, segment.window),
            Fault::BadChecksum if text > 0 => tcp[CHECKSUM] ^= 0x55,
            _ => {}
        }
    }
}

/// Flips bits of one word, and corrects the checksum (RFC 1624 §3).
fn flip(tcp: &mut [u8], at: usize, bits: u16) {
    let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let (before, checksum) = (word(at), word(CHECKSUM));
    let after = before ^ bits;
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    tcp[at..at + 2].copy_from_slice(&after.to_be_bytes());
    tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
