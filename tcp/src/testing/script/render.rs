//! A packet as a script's line, and whether a packet is what a line asks for.

use std::fmt::Write;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::{Body, IpLine, PacketLine, Quote, TcpLine, TcpOption, Tos, flag};
use super::options;

/// How strictly segments are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// The order and padding of options count.
    pub option_order: bool,
    /// The PSH flag counts.
    pub push: bool,
    /// The window field counts, where a line names it.
    pub window: bool,
}

/// Writes the flags as a script does.
pub fn describe_flags(line: &TcpLine) -> String {
    let letters = [
        (flag::SYN, 'S'),
        (flag::FIN, 'F'),
        (flag::RST, 'R'),
        (flag::PSH, 'P'),
        (flag::URG, 'U'),
        (flag::ECE, 'E'),
        (flag::CWR, 'W'),
    ];
    let mut text: String = letters
        .iter()
        .filter(|(bit, _)| line.has(*bit))
        .map(|(_, letter)| *letter)
        .collect();
    if line.ae {
        text.push('A');
    }
    if line.has(flag::ACK) {
        text.push('.');
    }
    if text.is_empty() {
        "-".to_string()
    } else {
        text
    }
}

/// Writes a segment as a script does.
pub fn describe_tcp(line: &TcpLine) -> String {
    let mut text = format!("{} ", describe_flags(line));
    if line.any_seq {
        let _ = write!(text, "...({})", line.len);
    } else {
        // Numbers before the start read better as small negative ones.
        let seq = signed(line.seq);
        let _ = write!(text, "{seq}:{}({})", seq + i64::from(line.len), line.len);
    }
    if let Some(ack) = line.ack {
        let _ = write!(text, " ack {}", signed(ack));
    }
    if let Some(window) = line.window {
        let _ = write!(text, " win {window}");
    }
    if let Some(urgent) = line.urgent.filter(|_| line.has(flag::URG)) {
        let _ = write!(text, " urg {urgent}");
    }
    match &line.options {
        None => text.push_str(" <...>"),
        Some(list) if list.is_empty() => {}
        Some(list) => {
            let _ = write!(text, " <{}>", options::describe(list));
        }
    }
    text
}

fn signed(number: u32) -> i64 {
    if number > u32::MAX - 100_000 {
        i64::from(number as i32)
    } else {
        i64::from(number)
    }
}

/// Writes what a line says of the IP header.
pub fn describe_ip(ip: &IpLine) -> String {
    let mut parts = Vec::new();
    parts.extend(ip.tos.map(|tos| match tos {
        Tos::Ecn(0) => "noecn".to_string(),
        Tos::Ecn(1) => "ect1".to_string(),
        Tos::Ecn(2) => "ect0".to_string(),
        Tos::Ecn(_) => "ce".to_string(),
        Tos::Ect => "ect01".to_string(),
        Tos::Byte(byte) => format!("tos {byte:#04x}"),
    }));
    parts.extend(ip.ttl.map(|ttl| format!("ttl {ttl}")));
    parts.extend(ip.flow_label.map(|label| format!("flowlabel {label:#x}")));
    if parts.is_empty() {
        String::new()
    } else {
        format!("[{}] ", parts.join(", "))
    }
}

/// Writes a packet's line, without its direction.
pub fn describe(packet: &PacketLine) -> String {
    let ip = describe_ip(&packet.ip);
    match &packet.body {
        Body::Tcp(line) => format!("{ip}{}", describe_tcp(line)),
        Body::Udp { len, .. } => format!("{ip}udp ({len})"),
        Body::Icmp(icmp) => {
            let mut text = format!("{ip}icmp {}", icmp.kind);
            if let Some(code) = &icmp.code {
                let _ = write!(text, " {code}");
            }
            if let Some(mtu) = icmp.mtu {
                let _ = write!(text, " mtu {mtu}");
            }
            match icmp.quote {
                Some(Quote::Tcp { seq, len }) => {
                    let _ = write!(text, " [{seq}:{}({len})]", seq.wrapping_add(len));
                }
                Some(Quote::Udp(len)) => {
                    let _ = write!(text, " [udp ({len})]");
                }
                Some(Quote::Raw(len)) => {
                    let _ = write!(text, " [raw ({len})]");
                }
                None => {}
            }
            text
        }
    }
}

/// What of `sent` is not as `wanted` says; empty when all is. Timestamp values are not compared.
pub fn differences(wanted: &TcpLine, sent: &TcpLine, how: Strictness) -> Vec<&'static str> {
    let ignored = if how.push { 0 } else { flag::PSH };
    let mut wrong = Vec::new();
    let mut check = |same: bool, what: &'static str| {
        if !same {
            wrong.push(what);
        }
    };
    check(
        wanted.flags & !ignored == sent.flags & !ignored && wanted.ae == sent.ae,
        "flags",
    );
    check(wanted.any_seq || wanted.seq == sent.seq, "sequence number");
    check(wanted.len == sent.len, "length");
    check(
        wanted.ack == sent.ack || !wanted.has(flag::ACK),
        "acknowledgment number",
    );
    check(
        !how.window || wanted.window.is_none() || wanted.window == sent.window,
        "window",
    );
    check(
        wanted.urgent.unwrap_or(0) == sent.urgent.unwrap_or(0) || !sent.has(flag::URG),
        "urgent pointer",
    );
    let same = match (&wanted.options, &sent.options) {
        (Some(wanted), Some(sent)) => same_options(wanted, sent, how.option_order),
        _ => true,
    };
    check(same, "options");
    wrong
}

fn same_options(wanted: &[TcpOption], sent: &[TcpOption], ordered: bool) -> bool {
    let same = |a: &TcpOption, b: &TcpOption| match (a, b) {
        (TcpOption::Timestamps { ecr: a, .. }, TcpOption::Timestamps { ecr: b, .. }) => a == b,
        // `md5 valid` says nothing of the digest.
        (TcpOption::Md5(a), TcpOption::Md5(_)) if a.is_empty() => true,
        (a, b) => a == b,
    };
    let padding = |option: &&TcpOption| matches!(option, TcpOption::Nop | TcpOption::Eol);
    if ordered {
        // A list that is not a multiple of four bytes long is padded by whoever sends it.
        let trailing = |list: &[TcpOption]| {
            list.iter()
                .rposition(|option| *option != TcpOption::Eol)
                .map_or(0, |at| at + 1)
        };
        let (wanted, sent) = (&wanted[..trailing(wanted)], &sent[..trailing(sent)]);
        return wanted.len() == sent.len() && wanted.iter().zip(sent).all(|(a, b)| same(a, b));
    }
    let wanted: Vec<_> = wanted.iter().filter(|option| !padding(option)).collect();
    let sent: Vec<_> = sent.iter().filter(|option| !padding(option)).collect();
    wanted.len() == sent.len()
        && wanted.iter().all(|a| sent.iter().any(|b| same(a, b)))
        && sent.iter().all(|b| wanted.iter().any(|a| same(a, b)))
}

/// Whether an IP header's TOS byte, TTL and flow label are as a line asks.
pub const fn same_ip(wanted: &IpLine, tos: u8, ttl: u8, flow_label: u32) -> bool {
    let tos = match wanted.tos {
        None => true,
        Some(Tos::Ecn(ecn)) => tos & 3 == ecn,
        Some(Tos::Ect) => matches!(tos & 3, 1 | 2),
        Some(Tos::Byte(byte)) => tos == byte,
    };
    let ttl = match wanted.ttl {
        None => true,
        Some(wanted) => wanted == ttl,
    };
    let label = match wanted.flow_label {
        None => true,
        Some(wanted) => wanted == flow_label,
    };
    tos && ttl && label
}
