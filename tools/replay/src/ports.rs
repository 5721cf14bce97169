//! Replays probes of a host's ports, open or closed: each answer as the kernel gave it.
//!
//! What comes back is compared by whom it goes to: a scan sends its probes faster than they are
//! answered. Sequence numbers of connections that a probe opened are counted from their beginning.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::IpSlice;
use ustack_tcp::ListenOptions;
use ustack_tcp::time::Instant;

use crate::capture::Recorded;
use crate::conversation::Said;
use crate::dialogue::flags;
use crate::host::{Host, MTU};
use crate::inject::{self, Edit};
use crate::message::{Assembler, Message};
use crate::packet::{self, ACK, RST, SYN, TcpPacket};
use crate::services::Services;

/// What the kernel and the stack said to one flow, where they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The flow, in words, from the host's side.
    pub flow: String,
    /// What the kernel said.
    pub recorded: Vec<String>,
    /// What the stack said.
    pub ours: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |said: &[String]| match said {
            [] => "nothing".to_owned(),
            said => said.join(", then "),
        };
        let (recorded, ours) = (words(&self.recorded), words(&self.ours));
        write!(
            f,
            "{}: {recorded} was recorded, the stack says {ours}",
            self.flow
        )
    }
}

/// What a replay of probes came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets that went in.
    pub probes: usize,
    /// Answers that were as the kernel gave them.
    pub same: usize,
    /// All others, by flow.
    pub differences: Vec<Difference>,
}

/// A connection counts its numbers from its first one up to this far.
const CONNECTION: u32 = 1 << 20;
/// How many connections wait to be accepted: nobody does.
const BACKLOG: u16 = 64;

/// One host's answers, by flow.
#[derive(Debug, Default)]
struct Answers {
    isns: HashMap<(SocketAddr, SocketAddr), u32>,
    assembler: Assembler,
    by_flow: BTreeMap<String, Vec<String>>,
}

/// Sends everything that went to `address` into a stack that listens on these TCP ports, with these
/// UDP services. An error is a malformed answer.
pub fn replay<H: Host>(
    packets: &[Recorded],
    address: IpAddr,
    listening: &[u16],
    services: Services,
) -> Result<Report, String> {
    let mut host = H::new(address, MTU, ustack_tcp::Config::default())?;
    for &port in listening {
        let options = ListenOptions {
            local: SocketAddr::new(address, port),
            backlog: BACKLOG,
            transparent: false,
            hold: false,
            socket: ustack_tcp::SocketOptions::default(),
        };
        let listener = host.tcp().listen(options);
        listener.map_err(|error| format!("cannot listen on {port}: {error:?}"))?;
    }
    let mut services = services.open(&mut host, address, packets)?;
    let (mut recorded, mut ours) = (Answers::default(), Answers::default());
    let mut probes = 0;
    for packet in packets {
        let at = |error: String| format!("packet {}: {error}", packet.number);
        if is_answer(&packet.data, address) {
            recorded.add(&packet.data).map_err(at)?;
            continue;
        }
        if packet.lost {
            continue;
        }
        probes += 1;
        let now = Instant::ZERO + packet.time;
        host.on_timeout(now);
        host.on_packet(now, translate(packet, &recorded, &ours).map_err(at)?);
        for service in &mut services {
            service.run(&mut host).map_err(at)?;
        }
        for data in host.poll_transmit(now) {
            let answer = ours.add(&data);
            answer.map_err(|error| at(format!("an answer to it is wrong: {error}")))?;
        }
    }
    Ok(compare(probes, recorded.by_flow, ours.by_flow))
}

fn compare(
    probes: usize,
    mut recorded: BTreeMap<String, Vec<String>>,
    ours: BTreeMap<String, Vec<String>>,
) -> Report {
    let mut report = Report {
        probes,
        ..Report::default()
    };
    let mut differ = |flow, recorded: Vec<String>, ours: Vec<String>| {
        if recorded == ours {
            report.same += ours.len();
        } else {
            let difference = Difference {
                flow,
                recorded,
                ours,
            };
            report.differences.push(difference);
        }
    };
    for (flow, said) in ours {
        let kernel = recorded.remove(&flow).unwrap_or_default();
        differ(flow, kernel, said);
    }
    for (flow, kernel) in recorded {
        differ(flow, kernel, Vec::new());
    }
    report
}

/// Whether the host at `address` said this; what claims to come from there and goes there is a
/// probe.
fn is_answer(data: &Bytes, address: IpAddr) -> bool {
    IpSlice::from_slice(data)
        .is_ok_and(|ip| ip.source_addr() == address && ip.destination_addr() != address)
}

/// A probe that acknowledges the kernel's number acknowledges the stack's.
fn translate(probe: &Recorded, recorded: &Answers, ours: &Answers) -> Result<Bytes, String> {
    let Ok(Some(tcp)) = packet::tcp(&probe.data) else {
        return Ok(probe.data.clone());
    };
    let flow = (tcp.destination, tcp.source);
    let (Some(theirs), Some(isn)) = (recorded.isns.get(&flow), ours.isns.get(&flow)) else {
        return Ok(probe.data.clone());
    };
    let acked = tcp.ack.wrapping_sub(*theirs);
    if !tcp.has(ACK) || acked > CONNECTION {
        return Ok(probe.data.clone());
    }
    let edit = Edit {
        seq: tcp.seq,
        ack: Some(isn.wrapping_add(acked)),
        ..Edit::default()
    };
    let said = Said {
        number: probe.number,
        time: probe.time,
        ours: false,
        lost: false,
        is_premature: false,
        data: probe.data.clone(),
        seq: 0,
        ack: None,
        tcp,
    };
    inject::rewrite(&said, &edit)
}

impl Answers {
    fn add(&mut self, data: &Bytes) -> Result<(), String> {
        let (flow, words) = match packet::tcp(data).map_err(|error| error.to_string())? {
            Some(tcp) => {
                let flow = format!("TCP {} > {}", tcp.source, tcp.destination);
                (flow, self.describe(&tcp))
            }
            None => match self.assembler.push(data)? {
                Some(message) => (flow_of(&message), describe_message(&message)),
                None => return Ok(()),
            },
        };
        self.by_flow.entry(flow).or_default().push(words);
        Ok(())
    }

    /// Flags, numbers and options, where both hosts must say the same.
    fn describe(&mut self, tcp: &TcpPacket) -> String {
        let flow = (tcp.source, tcp.destination);
        if tcp.has(SYN) {
            self.isns.insert(flow, tcp.seq);
        }
        let since = |isn: &u32| tcp.seq.wrapping_sub(*isn);
        let place = self.isns.get(&flow).map(since);
        let seq = match place.filter(|place| *place < CONNECTION) {
            Some(place) => format!("isn+{place}"),
            None => tcp.seq.to_string(),
        };
        let mut words = vec![flags(tcp.flags), format!("seq {seq}")];
        if tcp.has(ACK) {
            words.push(format!("ack {}", tcp.ack));
        }
        if tcp.has(RST) && tcp.window != 0 {
            words.push(format!("window {}", tcp.window));
        }
        words.extend(tcp.options.mss.map(|mss| format!("mss {mss}")));
        for (name, is_there) in [
            ("scale", tcp.options.window_scale.is_some()),
            ("sack", tcp.options.sack_permitted),
            ("timestamps", tcp.options.timestamps.is_some()),
        ] {
            if is_there {
                words.push(name.to_owned());
            }
        }
        words.join(" ")
    }
}

/// A message, and the number of an echo.
fn describe_message(message: &Message) -> String {
    let words = message.describe();
    match message {
        Message::Icmp { body, .. } if body.len() >= 4 => {
            format!("{words}, number {}", u16::from_be_bytes([body[2], body[3]]))
        }
        _ => words,
    }
}

/// Whom a message goes to; an error also names the ports it is about.
fn flow_of(message: &Message) -> String {
    match message {
        Message::Udp {
            source,
            destination,
            ..
        } => format!("UDP {source} > {destination}"),
        Message::Icmp {
            source,
            destination,
            kind,
            ..
        } => format!("ICMP {kind:?} {source} > {destination}"),
        Message::Error {
            source,
            destination,
            quote,
            ..
        } => {
            let ports = IpSlice::from_slice(quote).ok();
            let ports = ports.and_then(|ip| ip.payload().payload.get(..4).map(<[u8]>::to_vec));
            format!("ICMP error {source} > {destination} about {ports:?}")
        }
    }
}
