//! Reads an annotated capture (docs/annotated-captures.md): packets tell what was on the wire, their
//! comments what the stack made of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::comment::Comment;
use crate::events::ReadError;
use crate::lines::{Line, Lines};
use crate::trace::Log;

/// How a pcapng file begins.
pub const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Bits of a packet's flags that tell its direction, and the values of a packet that came and of one
/// that left.
const DIRECTION: u32 = 3;
const INBOUND: u32 = 1;

/// Reads the connections of a capture that `wanted` chooses, by the stack's and the other end's
/// address. Packets on interfaces but the first were on no wire.
pub fn read(
    capture: impl BufRead,
    wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
) -> Result<Log, ReadError> {
    let damaged = |block, why: String| ReadError::Block { block, why };
    let mut reader = PcapNgReader::new(capture).map_err(|error| damaged(1, error.to_string()))?;
    let mut packets = Packets::default();
    let mut is_cut = false;
    for number in 2.. {
        match reader.next_block() {
            None => break,
            Some(Ok((Block::EnhancedPacket(packet), _))) => packets.on_packet(&packet, &wanted),
            Some(Ok(_)) => {}
            Some(Err(error)) if is_end(&error) => {
                is_cut = true;
                break;
            }
            Some(Err(error)) => return Err(damaged(number, error.to_string())),
        }
    }
    if packets.seen > 0 && packets.commented == 0 {
        return Err(ReadError::NoComments);
    }
    let mut log = packets.lines.into_log();
    log.is_cut = is_cut;
    Ok(log)
}

fn is_end(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    })
}

#[derive(Default)]
struct Packets {
    lines: Lines,
    flows: HashMap<(SocketAddr, SocketAddr), Numbers>,
    start: Option<Duration>,
    /// TCP packets, and those with comments.
    seen: u64,
    commented: u64,
}

/// What turns the numbers of headers into numbers from the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    /// The initial number of each direction, once it is known, and the latest relative one.
    ours: Option<(u32, u64)>,
    theirs: Option<(u32, u64)>,
    /// Losses are being repaired.
    is_repairing: bool,
}

/// The relative number of `wire`, nearest to the latest one; `None` while nothing is known.
fn relative(known: &mut Option<(u32, u64)>, wire: u32) -> Option<u64> {
    let (initial, latest) = known.as_mut()?;
    let low = wire.wrapping_sub(*initial);
    let distance = i64::from(low.wrapping_sub(*latest as u32) as i32);
    let number = latest.checked_add_signed(distance)?;
    *latest = number.max(*latest);
    Some(number)
}

impl Packets {
    fn on_packet(
        &mut self,
        packet: &EnhancedPacketBlock<'_>,
        wanted: &impl Fn(SocketAddr, SocketAddr) -> bool,
    ) {
        let Some(header) = header(packet).filter(|_| packet.interface_id == 0) else {
            return;
        };
        self.seen += 1;
        let Some(text) = comment(packet) else { return };
        self.commented += 1;
        let comment = Comment::of(text);
        let is_inbound = packet.options.iter().any(|option| {
            matches!(option, EnhancedPacketOption::Flags(flags) if flags & DIRECTION == INBOUND)
        });
        let (local, remote) = if is_inbound {
            (header.destination, header.source)
        } else {
            (header.source, header.destination)
        };
        if !wanted(local, remote) {
            return;
        }
        let start = *self.start.get_or_insert(packet.timestamp);
        let numbers = self.flows.entry((local, remote)).or_default();
        numbers.learn(&header, is_inbound, &comment);
        let (own, other) = if is_inbound {
            (&mut numbers.theirs, &mut numbers.ours)
        } else {
            (&mut numbers.ours, &mut numbers.theirs)
        };
        let Some(seq) = relative(own, header.seq) else {
            return;
        };
        let mut shift =
            |&(left, right): &(u32, u32)| Some((relative(other, left)?, relative(other, right)?));
        let mut line = Line {
            local: Some(local),
            remote: Some(remote),
            t: (packet.timestamp.saturating_sub(start)).as_nanos() as u64,
            seq,
            len: header.len,
            flags: Cow::Borrowed(header.flags),
            sack: header.sack.iter().filter_map(&mut shift).collect(),
            ..Line::default()
        };
        fill(&mut line, &comment, is_inbound);
        let consequences = comment.consequences.iter();
        let followed = consequences.filter_map(|said| follow(&line, said));
        let told: Vec<_> = followed.collect();
        // What a timer has brought about stands with no packet: the phase of the next one tells.
        let is_told = told.iter().any(|line| line.event == "recovery");
        if let Some(silent) = numbers.on_phase(&line, comment.phase).filter(|_| !is_told) {
            self.lines.on_line(&silent, wanted);
        }
        self.lines.on_line(&line, wanted);
        for line in &told {
            self.lines.on_line(line, wanted);
        }
    }
}

impl Numbers {
    /// Initial numbers come from SYNs; a capture that has none tells them by the variables.
    fn learn(&mut self, header: &Header, is_inbound: bool, comment: &Comment<'_>) {
        if header.flags.contains('S') {
            let own = if is_inbound {
                &mut self.theirs
            } else {
                &mut self.ours
            };
            if own.is_none_or(|(initial, _)| initial != header.seq) {
                *own = Some((header.seq, 0));
            }
        } else if !is_inbound && comment.now.is_some() {
            let end = u64::from(header.len) + u64::from(header.flags.contains('F'));
            let is_newest = end == 0 || comment.first.starts_with("new data");
            if is_newest && comment.nxt >= end {
                let seq = comment.nxt - end;
                self.ours
                    .get_or_insert((header.seq.wrapping_sub(seq as u32), seq));
            }
            let ack = comment.rcv_nxt;
            self.theirs
                .get_or_insert((header.ack.wrapping_sub(ack as u32), ack));
        }
    }
}

impl Numbers {
    /// The beginning or the end of a repair, if `phase` shows one.
    fn on_phase<'a>(&mut self, packet: &Line<'a>, phase: &str) -> Option<Line<'a>> {
        if phase.is_empty() {
            return None;
        }
        let is_repairing = matches!(phase, "recovery" | "loss");
        let was_repairing = std::mem::replace(&mut self.is_repairing, is_repairing);
        let (what, by) = match (was_repairing, is_repairing) {
            (false, true) if phase == "loss" => ("begin", "timeout"),
            (false, true) => ("begin", "a timer"),
            (true, false) => ("end", ""),
            _ => return None,
        };
        Some(Line {
            event: "recovery".into(),
            what: what.into(),
            by: by.into(),
            local: packet.local,
            remote: packet.remote,
            t: packet.t,
            state: packet.state.clone(),
            ..Line::default()
        })
    }
}

/// What the comment says besides the header.
fn fill<'a>(line: &mut Line<'a>, comment: &Comment<'a>, is_inbound: bool) {
    line.state = Cow::Borrowed(comment.state);
    line.now = comment.now;
    if let Some(now) = comment.now {
        let (ack, window) = if is_inbound {
            (now.una, comment.wnd)
        } else {
            (comment.rcv_nxt, now.rcv_wnd)
        };
        (line.ack, line.window) = (Some(ack), window);
    }
    if is_inbound {
        line.event = "received".into();
        line.in_order = comment.bytes("accepted ");
        line.out_of_order = comment.bytes("queued out of order ");
        line.rtt = comment.rtt();
        let mut said = comment.first.split(", ");
        line.dropped = said.find_map(|part| Some(part.strip_prefix("dropped: ")?.into()));
    } else {
        line.event = "sent".into();
        let why = comment.first;
        // How many timeouts it took, and what was probed with, stands behind.
        let end = why
            .find([' ', '('])
            .filter(|_| why.contains('×') || why.contains('('));
        let bare = end.map_or(why, |_| {
            why.split(['×', '(']).next().unwrap_or(why).trim_end()
        });
        line.again =
            bare.ends_with("retransmit") || bare.ends_with("again") || why.ends_with("(again)");
        line.why = Cow::Borrowed(bare);
    }
}

/// What a packet has brought about, as a line of its own.
fn follow<'a>(packet: &Line<'a>, said: &'a str) -> Option<Line<'a>> {
    let mut line = Line {
        local: packet.local,
        remote: packet.remote,
        t: packet.t,
        state: packet.state.clone(),
        ..Line::default()
    };
    if let Some(rest) = said.strip_prefix("recovery begins by ") {
        line.event = "recovery".into();
        line.what = "begin".into();
        line.by = rest.split(", ").next().unwrap_or(rest).into();
    } else if said == "recovery ends" {
        (line.event, line.what) = ("recovery".into(), "end".into());
    } else if said.starts_with("false alarm") {
        (line.event, line.what) = ("recovery".into(), "undo".into());
    } else if let Some(bytes) = said.strip_suffix(" judged lost") {
        line.event = "loss".into();
        line.bytes = bytes.parse().ok()?;
    } else if let Some((_, state)) = said.split_once(" → ") {
        line.event = "state".into();
        line.state = state.split(" (").next().unwrap_or(state).into();
    } else {
        return None;
    }
    Some(line)
}

/// A TCP header.
struct Header {
    source: SocketAddr,
    destination: SocketAddr,
    seq: u32,
    ack: u32,
    flags: &'static str,
    len: u32,
    sack: Vec<(u32, u32)>,
}

fn header(packet: &EnhancedPacketBlock<'_>) -> Option<Header> {
    let sliced = LaxSlicedPacket::from_ip(&packet.data).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        return None;
    };
    let (source, destination): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        _ => return None,
    };
    let payload = tcp.payload().as_ptr() as usize - packet.data.as_ptr() as usize;
    Some(Header {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: flags(tcp),
        // Of a packet that is cut there is more than the file has.
        len: packet.original_len.saturating_sub(payload as u32),
        sack: sack(tcp),
    })
}

/// The flags that make a difference here.
fn flags(tcp: &TcpSlice<'_>) -> &'static str {
    match (tcp.syn(), tcp.fin(), tcp.rst()) {
        (true, ..) => "S",
        (_, true, _) => "F",
        (_, _, true) => "R",
        _ => "",
    }
}

fn sack(tcp: &TcpSlice<'_>) -> Vec<(u32, u32)> {
    let blocks = tcp.options_iterator().filter_map(|option| match option {
        Ok(TcpOptionElement::SelectiveAcknowledgement(first, others)) => Some((first, others)),
        _ => None,
    });
    blocks
        .flat_map(|(first, others)| std::iter::once(first).chain(others.into_iter().flatten()))
        .collect()
}

fn comment<'a>(packet: &'a EnhancedPacketBlock<'_>) -> Option<&'a str> {
    packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Common(CommonOption::Comment(text)) => Some(&**text),
        _ => None,
    })
}
