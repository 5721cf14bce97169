//! One recorded TCP conversation: who said what, when, and what got lost.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use referee::position;

use crate::capture::Recorded;
use crate::icmp::{self, IcmpError};
use crate::packet::{self, ACK, FIN, RST, SYN, TcpPacket};

/// Which end of the recorded conversation the stack plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It accepts: the recorded client's frames go in.
    Server,
    /// It connects: the recorded server's frames go in.
    Client,
}

/// One segment of the conversation. Positions count from the sender's ISN: SYN lies at 0, the
/// first byte at 1, FIN after the last byte.
#[derive(Clone, Debug)]
pub struct Said {
    /// Number of the packet in the capture.
    pub number: usize,
    /// When, since the capture began.
    pub time: Duration,
    /// The end that the stack plays said it.
    pub ours: bool,
    /// It never arrived.
    pub lost: bool,
    /// The packet from its IP header on.
    pub data: Bytes,
    /// The segment.
    pub tcp: TcpPacket,
    /// Position of its sequence number.
    pub seq: u64,
    /// Position of its acknowledgment number in the other direction, with ACK set.
    pub ack: Option<u64>,
    /// It acknowledges what was not sent by then.
    pub is_premature: bool,
}

impl Said {
    /// The position of its first byte of payload.
    fn first_byte(&self) -> u64 {
        self.seq + self.tcp.has(SYN) as u64
    }

    /// The position after its last byte, SYN or FIN.
    pub fn end(&self) -> u64 {
        self.seq + self.tcp.seq_len()
    }
}

/// What one end said in all.
#[derive(Clone, Debug, Default)]
pub struct Direction {
    /// Initial sequence number.
    pub isn: u32,
    /// All payload bytes, in order.
    pub stream: Vec<u8>,
    /// The highest position after anything it sent.
    pub end: u64,
    /// Position of the FIN.
    pub fin: Option<u64>,
    /// It sent a RST.
    pub reset: bool,
    /// It sent a RST before both had said FIN: it let go of a connection that was not over.
    pub aborted: bool,
    /// Window scale of its SYN.
    pub window_scale: Option<u8>,
}

/// A conversation, seen from the end that the stack plays.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Address and port of the end the stack plays.
    pub local: SocketAddr,
    /// Address and port of the end that is replayed.
    pub remote: SocketAddr,
    /// What the end played by the stack said.
    pub ours: Direction,
    /// What the replayed end said.
    pub theirs: Direction,
    /// All segments, in the order of the capture.
    pub said: Vec<Said>,
    /// The position up to which the replayed end acknowledged what ours said.
    pub acknowledged: u64,
    /// ICMP errors that reached our end.
    pub(crate) errors: Vec<IcmpError>,
}

impl Conversation {
    /// The first TCP conversation of a capture. It must begin with its SYN.
    pub fn first(packets: &[Recorded], role: Role) -> Result<Self, String> {
        let mut segments = Vec::new();
        for packet in packets {
            let tcp = packet::tcp(&packet.data)
                .map_err(|error| format!("packet {}: {error}", packet.number))?;
            segments.extend(tcp.map(|tcp| (packet, tcp)));
        }
        let (_, open) = segments.first().ok_or("the capture holds no TCP segment")?;
        if !open.has(SYN) || open.has(ACK) {
            return Err(
                "the conversation does not begin with a SYN; start to record before it".to_owned(),
            );
        }
        let (local, remote) = match role {
            Role::Client => (open.source, open.destination),
            Role::Server => (open.destination, open.source),
        };
        let mut conversation = Self {
            local,
            remote,
            ours: Direction::default(),
            theirs: Direction::default(),
            said: Vec::new(),
            acknowledged: 0,
            errors: Vec::new(),
        };
        let isn_of = |source: SocketAddr| {
            let mut syns = segments.iter().map(|(_, tcp)| tcp);
            syns.find(|tcp| tcp.source == source && tcp.has(SYN))
        };
        for (direction, source) in [
            (&mut conversation.ours, local),
            (&mut conversation.theirs, remote),
        ] {
            if let Some(syn) = isn_of(source) {
                direction.isn = syn.seq;
                direction.window_scale = syn.options.window_scale;
            }
        }
        for (packet, tcp) in &segments {
            let ours = (tcp.source, tcp.destination) == (local, remote);
            if ours || (tcp.source, tcp.destination) == (remote, local) {
                conversation.add(packet, tcp.clone(), ours);
            }
        }
        conversation.errors = icmp::errors(packets, &conversation);
        conversation.ours.stream = stream(&conversation.said, true)?;
        conversation.theirs.stream = stream(&conversation.said, false)?;
        Ok(conversation)
    }

    /// The MTU that the MSS of the recorded end stood for, whose place the stack takes; 0 where it
    /// offered none.
    pub(crate) fn mtu(&self) -> u16 {
        let header = if self.local.is_ipv4() { 40 } else { 60 };
        let mut said = self.said.iter();
        let syn = said.find(|said| said.ours && said.tcp.has(SYN));
        let mss = syn.and_then(|said| said.tcp.options.mss);
        mss.map_or(0, |mss| mss.saturating_add(header))
    }

    /// Kinds of options that the replayed end offered in its SYN and the other did not take: a
    /// stack that took them would speak to an end that did not agree to them.
    pub(crate) fn declined(&self) -> Vec<u8> {
        let options = |ours: bool| {
            let mut said = self.said.iter();
            let syn = said.find(|said| said.ours == ours && said.tcp.has(SYN));
            syn.map(|said| &said.tcp.options)
        };
        let (Some(taken), Some(offered)) = (options(true), options(false)) else {
            return Vec::new();
        };
        let kinds = [
            (
                3,
                offered.window_scale.is_some(),
                taken.window_scale.is_some(),
            ),
            (4, offered.sack_permitted, taken.sack_permitted),
            (8, offered.timestamps.is_some(), taken.timestamps.is_some()),
        ];
        let declined = kinds
            .iter()
            .filter(|(_, offered, taken)| *offered && !taken);
        declined.map(|&(kind, ..)| kind).collect()
    }

    fn add(&mut self, packet: &Recorded, tcp: TcpPacket, ours: bool) {
        let (from, to) = if ours {
            (&mut self.ours, &self.theirs)
        } else {
            (&mut self.theirs, &self.ours)
        };
        let seq = position(from.isn, from.end, tcp.seq);
        let ack = (tcp.has(ACK)).then(|| position(to.isn, to.end, tcp.ack));
        let said = Said {
            number: packet.number,
            time: packet.time,
            ours,
            lost: packet.lost,
            data: packet.data.clone(),
            seq,
            ack,
            is_premature: ack.is_some_and(|ack| ack > to.end) && !tcp.has(RST),
            tcp,
        };
        from.reset |= said.tcp.has(RST);
        from.aborted |= said.tcp.has(RST) && (from.fin.is_none() || to.fin.is_none());
        if !ours && !said.lost {
            self.acknowledged = self.acknowledged.max(ack.unwrap_or(0).min(to.end));
        }
        if said.tcp.has(FIN) {
            from.fin = Some(said.end() - 1);
        }
        if !said.tcp.has(RST) {
            from.end = from.end.max(said.end());
        }
        self.said.push(said);
    }
}

/// Everything one end said, put in order. Where it said two things in one place, the first that
/// arrived counts.
fn stream(said: &[Said], ours: bool) -> Result<Vec<u8>, String> {
    let mut data: Vec<&Said> = (said.iter())
        .filter(|said| said.ours == ours && !said.tcp.payload.is_empty() && !said.tcp.has(RST))
        .collect();
    data.sort_by_key(|said| said.seq);
    let mut length = 0;
    for said in &data {
        let first = said.first_byte();
        if first > length + 1 {
            let number = said.number;
            return Err(format!(
                "packet {number}: bytes before it were never recorded"
            ));
        }
        length = length.max(first.saturating_sub(1) + said.tcp.payload.len() as u64);
    }
    // What is said last stays.
    data.sort_by_key(|said| (!said.lost, Reverse(said.number)));
    let mut stream = vec![0; length as usize];
    for said in data {
        // A keep-alive may lie before the first byte.
        let before = 1_u64.saturating_sub(said.first_byte()) as usize;
        let payload = said.tcp.payload.get(before..).unwrap_or_default();
        let start = said.first_byte().saturating_sub(1) as usize;
        stream[start..start + payload.len()].copy_from_slice(payload);
    }
    Ok(stream)
}
