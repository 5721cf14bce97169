//! Packets that must leave.

use std::net::SocketAddr;

use ustack::tcp::testing::script::ast::{
    Body, Direction, IpLine, Nanos, PacketLine, TcpLine, TcpOption, Tos, flag,
};
use ustack::tcp::testing::script::render::{self, Strictness};
use ustack::tcp::testing::script::wire::{self, Packet, Payload};
use ustack::tcp::time::{Duration, Instant};

use super::flow::Flow;
use super::{MAX_TURNS, Result, Runner, Window, failed, not_runnable};
use crate::options::Suite;

/// A packet that left and that no line has asked for yet.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    at: Instant,
    packet: std::result::Result<Packet, String>,
}

/// How long Linux delays an ACK.
const DELAYED_ACK: Nanos = 40_000_000;

/// How long after a missed line we look for what comes instead, to tell of it.
const SEARCH: Duration = Duration::from_secs(150);

impl Runner<'_> {
    /// Takes what left the host, and notices connections that it opens.
    pub(super) fn collect(&mut self) {
        while let Some((at, bytes)) = self.kernel.pop_sent() {
            let packet = wire::decode(&bytes, true);
            if let Ok(packet) = &packet
                && let Payload::Tcp(tcp) = &packet.payload
                && tcp.line.has(flag::SYN)
                && !tcp.line.has(flag::ACK)
                && let Some(fd) = self.connecting.take()
            {
                let mut flow = Flow::new(
                    SocketAddr::new(packet.src, tcp.src),
                    SocketAddr::new(packet.dst, tcp.dst),
                    self.options.peer_isn,
                );
                flow.fd = Some(fd);
                self.flows.push(flow);
            }
            self.sent.push_back(Sent { at, packet });
        }
    }

    /// Fails if anything left that no line asked for.
    pub(super) fn nothing_left(&mut self) -> Result<()> {
        self.collect();
        let Some(sent) = self.sent.pop_front() else {
            return Ok(());
        };
        let text = self.describe(&sent, None);
        self.row('>', String::new(), text.clone());
        failed(format!(
            "unexpected, at {:.4} s: > {text}",
            self.at(sent.at) as f64 / 1e9
        ))
    }

    /// The line `wanted` must come true; when it did.
    pub(super) fn expect(&mut self, wanted: &PacketLine, window: Window) -> Result<Nanos> {
        if let Some(header) = &wanted.encapsulation {
            return Err(not_runnable(format!("packets with {header}")));
        }
        let text = render::describe(wanted);
        let Some(sent) = self.next_sent(wanted, window)? else {
            self.row('>', text.clone(), "nothing left".into());
            return failed(format!("nothing left; expected > {text}"));
        };
        let at = self.at(sent.at);
        let got = self.describe(&sent, Some(wanted));
        let mut wrong = match &sent.packet {
            Ok(packet) => self.differences(wanted, packet),
            Err(why) => vec![why.clone()],
        };
        self.row('>', text, got);
        if let Some(row) = self.rows.last_mut() {
            row.at = at;
        }
        // No RFC wants an ACK delayed: one that comes at once is as good as one 40 ms later.
        let early = match (&wanted.body, self.options.suite) {
            (Body::Tcp(line), Suite::Linux | Suite::Gvisor) if is_bare_ack(line) => DELAYED_ACK,
            _ => 0,
        };
        if !window.has(at) && !window.has(at + early.min(window.from - self.last)) {
            let by = (at - window.from) as f64 / 1e6;
            wrong.push(format!(
                "it left {by:+.1} ms from its time (at {:.4} s)",
                at as f64 / 1e9
            ));
        }
        if wrong.is_empty() || self.settings.lenient_packets {
            return Ok(at);
        }
        failed(wrong.join("; "))
    }

    /// The next packet that may be meant by `wanted`, joined to its length where that is allowed.
    fn next_sent(&mut self, wanted: &PacketLine, window: Window) -> Result<Option<Sent>> {
        let limit = match window.to {
            Nanos::MAX => self.kernel.now() + SEARCH,
            _ => self.instant(window.end()) + SEARCH,
        };
        for _ in 0..MAX_TURNS {
            self.retry()?;
            self.collect();
            while let Some(sent) = self.sent.pop_front() {
                if self.is_meant(&sent, wanted) {
                    return Ok(Some(self.join(sent, wanted)));
                }
            }
            let in_time =
                self.kernel.next_deadline().is_some_and(|at| at <= limit) || self.pending.is_some();
            if !in_time || !self.step(limit) {
                return Ok(None);
            }
        }
        failed("the host's timers fire without end")
    }

    /// Whether a packet belongs to what the script looks at: its newest connection.
    fn is_meant(&mut self, sent: &Sent, wanted: &PacketLine) -> bool {
        let Ok(packet) = &sent.packet else {
            return true;
        };
        match (&packet.payload, &wanted.body) {
            (Payload::Tcp(tcp), Body::Tcp(_)) => {
                let ends = (
                    SocketAddr::new(packet.src, tcp.src),
                    SocketAddr::new(packet.dst, tcp.dst),
                );
                let meant = self
                    .flows
                    .last()
                    .is_none_or(|flow| (flow.local, flow.remote) == ends);
                if !meant {
                    self.note("packets of connections before the newest are not compared");
                }
                meant || self.options.suite == Suite::Own
            }
            (Payload::Udp { .. }, Body::Udp { .. }) | (Payload::Icmp { .. }, Body::Icmp(_)) => true,
            // Router solicitations and the like are nobody's business.
            (Payload::Icmp { kind, .. }, _) if packet.src.is_ipv6() && *kind >= 130 => false,
            _ => self.options.suite == Suite::Own,
        }
    }

    /// Packets that follow one another without a gap are one to a script, as they would be on a
    /// device with TSO, up to the length that it asks for.
    fn join(&mut self, mut sent: Sent, wanted: &PacketLine) -> Sent {
        let Body::Tcp(line) = &wanted.body else {
            return sent;
        };
        if self.settings.strict_segments {
            return sent;
        }
        let Ok(packet) = &mut sent.packet else {
            return sent;
        };
        let Payload::Tcp(first) = &mut packet.payload else {
            return sent;
        };
        while first.line.len > 0 {
            let Some(Sent {
                packet: Ok(next),
                at,
            }) = self.sent.front()
            else {
                break;
            };
            let Payload::Tcp(tcp) = &next.payload else {
                break;
            };
            let follows = tcp.line.seq == first.line.seq.wrapping_add(first.line.len)
                && tcp.line.len > 0
                && tcp.line.ack == first.line.ack
                && at.saturating_since(sent.at) < Duration::from_millis(4);
            if !follows {
                break;
            }
            // A device with TSO sets PSH on what it cuts; whether the line has it says nothing.
            let push = line.flags & flag::PSH;
            if first.line.len + tcp.line.len > line.len {
                first.line.flags = first.line.flags & !flag::PSH | push;
                break;
            }
            first.line.len += tcp.line.len;
            first.line.flags = (tcp.line.flags | first.line.flags & flag::CWR) & !flag::PSH | push;
            first.data.extend_from_slice(&tcp.data);
            self.sent.pop_front();
        }
        sent
    }

    fn differences(&mut self, wanted: &PacketLine, packet: &Packet) -> Vec<String> {
        let mut wrong = Vec::new();
        if !render::same_ip(&wanted.ip, packet.tos, packet.ttl, packet.flow_label) {
            wrong.push(format!(
                "IP header: tos {:#04x}, ttl {}, flow label {:#x}",
                packet.tos, packet.ttl, packet.flow_label
            ));
        }
        match (&wanted.body, &packet.payload) {
            (Body::Tcp(line), Payload::Tcp(tcp)) => {
                let how = Strictness {
                    option_order: self.options.suite != Suite::Freebsd,
                    push: self.options.suite != Suite::Freebsd,
                    window: self.options.suite != Suite::Freebsd,
                };
                let Some(flow) = self.flows.last_mut() else {
                    wrong.push("no connection yet".into());
                    return wrong;
                };
                let mut got = flow.in_script(&tcp.line, Some(line));
                let translated = self.cookies.in_script(&mut got, line);
                let different = render::differences(line, &got, how);
                wrong.extend(different.iter().map(|what| (*what).to_string()));
                if !self.is_written(&got, tcp) {
                    wrong.push("the payload is not what was written".into());
                }
                wrong.extend(self.timestamp_error(line, &got));
                if translated {
                    self.note("a cookie of IPv4 addresses stands for that of ours");
                }
            }
            (Body::Udp { len, .. }, Payload::Udp { data, .. }) => {
                if usize::from(*len) != data.len() {
                    wrong.push(format!("{} bytes", data.len()));
                }
            }
            (Body::Icmp(_), Payload::Icmp { .. }) => {}
            _ => wrong.push("another protocol".into()),
        }
        wrong
    }

    /// Remembers a timestamp; with a tick, says if it moved on otherwise than the script's.
    fn timestamp_error(&mut self, wanted: &TcpLine, got: &TcpLine) -> Option<String> {
        let live = got.option(timestamp)?;
        // Our own scripts count timestamps from the first, whether a line names it or not.
        let is_first = self.options.suite == Suite::Own
            && got.has(flag::SYN)
            && !self.flows.last()?.has_timestamps();
        let script = wanted.option(timestamp).or(is_first.then_some(0))?;
        let off = self.flows.last_mut()?.learn_timestamp(script, live);
        let tick = self.settings.ts_tick?;
        let allowed = self.settings.tolerance.nanos / tick;
        (i64::from(off).abs() > allowed).then(|| format!("TS val is {off} off"))
    }

    fn describe(&mut self, sent: &Sent, wanted: Option<&PacketLine>) -> String {
        let packet = match &sent.packet {
            Ok(packet) => packet,
            Err(why) => return why.clone(),
        };
        let says = wanted.map(|wanted| wanted.ip).unwrap_or_default();
        let ip = IpLine {
            tos: match says.tos {
                Some(Tos::Byte(_)) => Some(Tos::Byte(packet.tos)),
                Some(_) => Some(Tos::Ecn(packet.tos & 3)),
                None => None,
            },
            ttl: says.ttl.map(|_| packet.ttl),
            flow_label: says.flow_label.map(|_| packet.flow_label),
        };
        let body = match &packet.payload {
            Payload::Tcp(tcp) => {
                let wanted = wanted.and_then(|wanted| match &wanted.body {
                    Body::Tcp(line) => Some(line),
                    _ => None,
                });
                let mut line = match self.flows.last_mut() {
                    Some(flow) => flow.in_script(&tcp.line, wanted),
                    None => tcp.line.clone(),
                };
                if let Some(wanted) = wanted {
                    leave_out(&mut line, wanted);
                }
                Body::Tcp(line)
            }
            Payload::Udp { data, .. } => Body::Udp {
                ports: None,
                len: data.len() as u16,
            },
            Payload::Icmp { kind, code, .. } => return format!("icmp type {kind} code {code}"),
            Payload::Other(protocol) => return format!("protocol {protocol}"),
        };
        render::describe(&PacketLine {
            direction: Direction::Out,
            ip,
            body,
            encapsulation: None,
        })
    }
}

const fn is_bare_ack(line: &TcpLine) -> bool {
    line.flags == flag::ACK && line.len == 0
}

/// What a line does not ask for is not shown.
fn leave_out(sent: &mut TcpLine, wanted: &TcpLine) {
    sent.window = sent.window.filter(|_| wanted.window.is_some());
    sent.any_seq = wanted.any_seq;
    if wanted.options.is_none() {
        sent.options = None;
    }
    let named = wanted.option(timestamp);
    for option in sent.options.iter_mut().flatten() {
        if let (TcpOption::Timestamps { val, .. }, Some(named)) = (option, named) {
            *val = named;
        }
    }
}

const fn timestamp(option: &TcpOption) -> Option<u32> {
    match option {
        TcpOption::Timestamps { val, .. } => Some(*val),
        _ => None,
    }
}
