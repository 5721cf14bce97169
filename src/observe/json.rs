//! Notes as JSON, a line each: the schema of `docs/events.md`.

use std::fmt::Write as _;

use ustack_tcp::observe::{Outcome, Packet, Record, Variables, What, Why};
use ustack_tcp::{Flags, FlowKey};

use super::names;
use super::{Note, Noted};

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// Makes lines of notes.
#[derive(Debug, Default)]
pub struct Lines {}

impl Lines {
    /// Appends the line of a note, if it has one: what IP and other shards did is not TCP's.
    pub fn write(&mut self, shard: usize, note: &Note, line: &mut String) {
        if let Noted::Tcp(record) = &note.what {
            write_record(shard, record, line);
            line.push_str("}\n");
        }
    }
}

/// Appends the line that tells of missing ones.
pub fn write_dropped(shard: usize, at: u64, count: u64, line: &mut String) {
    let _ = writeln!(
        line,
        r#"{{"t":{at},"shard":{shard},"event":"dropped","count":{count}}}"#
    );
}

/// A string of JSON.
pub(super) fn string(text: &str, line: &mut String) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(line, "\\u{:04x}", c as u32);
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

fn write_record(shard: usize, record: &Record, line: &mut String) {
    let Record {
        at,
        flow: FlowKey { local, remote },
        what,
        state,
        now,
    } = record;
    let (t, event) = (at.as_nanos(), event(what));
    let _ = write!(
        line,
        r#"{{"t":{t},"shard":{shard},"event":"{event}","local":"{local}","remote":"{remote}","state":"{state}""#
    );
    match what {
        What::Sent(packet, why) => {
            write_packet(packet, now.as_ref(), true, line);
            let again = why.is_retransmission();
            let _ = write!(line, r#","why":"{}","again":{again}"#, names::why(*why));
            if let Why::TimeoutRetransmit(count) = why {
                number("timeouts", *count, line);
            }
        }
        What::Received(packet, outcome) => {
            write_packet(packet, now.as_ref(), false, line);
            write_outcome(outcome, line);
        }
        What::State { from, reason } => {
            let _ = write!(line, r#","from":"{from}""#);
            if let Some(reason) = reason {
                let _ = write!(line, r#","reason":"{}""#, names::close(*reason));
            }
        }
        What::Timer(timer) => {
            let (name, count) = names::timer(*timer);
            let _ = write!(line, r#","timer":"{name}""#);
            number("count", count.unwrap_or(0), line);
        }
        What::Lost { bytes } => number("bytes", *bytes, line),
        What::RecoveryBegun { by, until } => {
            let by = names::evidence(*by);
            let _ = write!(line, r#","what":"begin","by":"{by}","until":{until}"#);
        }
        What::RecoveryEnded => line.push_str(r#","what":"end""#),
        What::RecoveryUndone => line.push_str(r#","what":"undo""#),
        What::Reduced { cwnd, ssthresh } => {
            number("cwnd", *cwnd, line);
            write_ssthresh(*ssthresh, line);
        }
        _ => {}
    }
    if let Some(now) = now {
        write_variables(now, line);
    }
}

const fn event(what: &What) -> &'static str {
    match what {
        What::Sent(..) => "sent",
        What::Received(..) => "received",
        What::State { .. } => "state",
        What::Timer(_) => "timer",
        What::Lost { .. } => "loss",
        What::RecoveryBegun { .. } | What::RecoveryEnded | What::RecoveryUndone => "recovery",
        What::Reduced { .. } => "reduced",
        _ => "other",
    }
}

fn write_packet(packet: &Packet, now: Option<&Variables>, is_ours: bool, line: &mut String) {
    let number_of = |ours: bool, wire: ustack_tcp::seq::WireSeq| match now {
        Some(now) if ours => now.sent(wire),
        Some(now) => now.received(wire),
        None => u64::from(wire.0),
    };
    let _ = write!(line, r#","seq":{}"#, number_of(is_ours, packet.seq));
    if packet.flags.contains(Flags::ACK) {
        let _ = write!(line, r#","ack":{}"#, number_of(!is_ours, packet.ack));
    }
    line.push_str(r#","flags":""#);
    line.extend(names::flags(packet.flags));
    let Packet {
        len,
        segments,
        size,
        window,
        ..
    } = packet;
    let _ = write!(
        line,
        r#"","len":{len},"segments":{segments},"size":{size},"window":{window}"#
    );
    let blocks = packet.sack.as_slice();
    if !blocks.is_empty() {
        line.push_str(r#","sack":["#);
        for (index, block) in blocks.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (left, right) = (
                number_of(!is_ours, block.left),
                number_of(!is_ours, block.right),
            );
            let _ = write!(line, "{comma}[{left},{right}]");
        }
        line.push(']');
    }
}

fn write_outcome(outcome: &Outcome, line: &mut String) {
    let Outcome {
        in_order,
        out_of_order,
        refused,
        acked,
        sacked,
        rtt,
        dropped,
    } = *outcome;
    for (name, bytes) in [
        ("in_order", in_order),
        ("out_of_order", out_of_order),
        ("refused", refused),
        ("acked", acked),
        ("sacked", sacked),
    ] {
        number(name, bytes, line);
    }
    number("rtt", rtt.unwrap_or(0), line);
    if let Some(reason) = dropped {
        let _ = write!(line, r#","dropped":"{}""#, names::dropped(reason));
    }
}

fn write_variables(now: &Variables, line: &mut String) {
    let Variables {
        snd_una,
        snd_nxt,
        snd_wnd,
        rcv_nxt,
        rcv_wnd,
        cwnd,
        in_flight,
        mss,
        rttvar,
        rto,
        ..
    } = *now;
    let _ = write!(
        line,
        r#","now":{{"una":{snd_una},"nxt":{snd_nxt},"wnd":{snd_wnd},"rcv_nxt":{rcv_nxt},"rcv_wnd":{rcv_wnd},"cwnd":{cwnd},"in_flight":{in_flight},"mss":{mss}"#
    );
    write_ssthresh(now.ssthresh, line);
    for (name, bytes) in [
        ("sacked", now.sacked),
        ("lost", now.lost),
        ("resent", now.resent),
        ("twice", now.twice),
        ("dup_acked", now.dup_acked),
        ("unsent", now.unsent),
        ("unread", now.unread),
        ("out_of_order", now.out_of_order),
    ] {
        number(name, bytes, line);
    }
    number("srtt", now.srtt.map_or(0, std::num::NonZero::get), line);
    number("rttvar", rttvar, line);
    number("rto", rto, line);
    number("backoff", now.backoff, line);
    let _ = write!(line, r#","phase":"{}"}}"#, names::phase(now.phase));
}

fn write_ssthresh(ssthresh: u32, line: &mut String) {
    if ssthresh != u32::MAX {
        number("ssthresh", ssthresh, line);
    }
}

/// A field that is left out when it is 0.
fn number(name: &str, value: impl Into<u64>, line: &mut String) {
    let value = value.into();
    if value > 0 {
        let _ = write!(line, r#","{name}":{value}"#);
    }
}
