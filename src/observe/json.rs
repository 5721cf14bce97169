//! Records as JSON, a line each: the schema of `docs/events.md`.

use std::fmt::Write as _;

use ustack_tcp::observe::{Outcome, Packet, Record, Variables, What, Why};
use ustack_tcp::{Flags, FlowKey};

use super::names;

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// Makes lines of records. A log has one for each event and packet, so nothing here goes through
/// [`std::fmt`] that is in most lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The flow of the last line, and its two fields.
    flow: Option<(FlowKey, String)>,
}

impl Lines {
    /// Appends the line of a record.
    pub fn write(&mut self, shard: usize, record: &Record, line: &mut String) {
        line.reserve(USUAL);
        let Record {
            at,
            flow,
            what,
            state,
            now,
        } = record;
        put(r#"{"t":"#, at.as_nanos(), line);
        put(r#","shard":"#, shard as u64, line);
        word(r#","event":""#, event(what), line);
        line.push_str(self.flow(flow));
        word(r#","state":""#, state.name(), line);
        match what {
            What::Sent(packet, why) => {
                write_packet(packet, now.as_ref(), true, line);
                word(r#","why":""#, names::why(*why), line);
                line.push_str(if why.is_retransmission() {
                    r#","again":true"#
                } else {
                    r#","again":false"#
                });
                if let Why::TimeoutRetransmit(count) = why {
                    number(r#","timeouts":"#, *count, line);
                }
            }
            What::Received(packet, outcome) => {
                write_packet(packet, now.as_ref(), false, line);
                write_outcome(outcome, line);
            }
            _ => write_event(what, line),
        }
        if let Some(now) = now {
            write_variables(now, line);
        }
        line.push_str("}\n");
    }

    /// A flow's fields; neighbouring lines are mostly about one.
    fn flow(&mut self, flow: &FlowKey) -> &str {
        let (last, text) = self.flow.get_or_insert_with(|| (*flow, String::new()));
        if text.is_empty() || last != flow {
            let FlowKey { local, remote } = flow;
            *last = *flow;
            text.clear();
            let _ = write!(text, r#","local":"{local}","remote":"{remote}""#);
        }
        text
    }
}

/// Bytes of most lines, and some more.
const USUAL: usize = 640;

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

/// What happened between packets.
fn write_event(what: &What, line: &mut String) {
    match what {
        What::State { from, reason } => {
            word(r#","from":""#, from.name(), line);
            if let Some(reason) = reason {
                word(r#","reason":""#, names::close(*reason), line);
            }
        }
        What::Timer(timer) => {
            let (name, count) = names::timer(*timer);
            word(r#","timer":""#, name, line);
            number(r#","count":"#, count.unwrap_or(0), line);
        }
        What::Lost { bytes } => number(r#","bytes":"#, *bytes, line),
        What::RecoveryBegun { by, until } => {
            line.push_str(r#","what":"begin""#);
            word(r#","by":""#, names::evidence(*by), line);
            put(r#","until":"#, *until, line);
        }
        What::RecoveryEnded => line.push_str(r#","what":"end""#),
        What::RecoveryUndone => line.push_str(r#","what":"undo""#),
        What::Reduced { cwnd, ssthresh } => {
            number(r#","cwnd":"#, *cwnd, line);
            write_ssthresh(*ssthresh, line);
        }
        _ => {}
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
    put(r#","seq":"#, number_of(is_ours, packet.seq), line);
    if packet.flags.contains(Flags::ACK) {
        put(r#","ack":"#, number_of(!is_ours, packet.ack), line);
    }
    line.push_str(r#","flags":""#);
    line.extend(names::flags(packet.flags));
    put(r#"","len":"#, packet.len, line);
    put(r#","segments":"#, packet.segments, line);
    put(r#","size":"#, packet.size, line);
    put(r#","window":"#, packet.window, line);
    let blocks = packet.sack.as_slice();
    if !blocks.is_empty() {
        let mut start = r#","sack":[["#;
        for block in blocks {
            put(start, number_of(!is_ours, block.left), line);
            put(",", number_of(!is_ours, block.right), line);
            start = "],[";
        }
        line.push_str("]]");
    }
}

fn write_outcome(outcome: &Outcome, line: &mut String) {
    number(r#","in_order":"#, outcome.in_order, line);
    number(r#","out_of_order":"#, outcome.out_of_order, line);
    number(r#","refused":"#, outcome.refused, line);
    number(r#","acked":"#, outcome.acked, line);
    number(r#","sacked":"#, outcome.sacked, line);
    number(r#","rtt":"#, outcome.rtt.unwrap_or(0), line);
    if let Some(reason) = outcome.dropped {
        word(r#","dropped":""#, names::dropped(reason), line);
    }
}

fn write_variables(now: &Variables, line: &mut String) {
    put(r#","now":{"una":"#, now.snd_una, line);
    put(r#","nxt":"#, now.snd_nxt, line);
    put(r#","wnd":"#, now.snd_wnd, line);
    put(r#","rcv_nxt":"#, now.rcv_nxt, line);
    put(r#","rcv_wnd":"#, now.rcv_wnd, line);
    put(r#","cwnd":"#, now.cwnd, line);
    put(r#","in_flight":"#, now.in_flight, line);
    put(r#","mss":"#, now.mss, line);
    write_ssthresh(now.ssthresh, line);
    number(r#","sacked":"#, now.sacked, line);
    number(r#","lost":"#, now.lost, line);
    number(r#","resent":"#, now.resent, line);
    number(r#","twice":"#, now.twice, line);
    number(r#","dup_acked":"#, now.dup_acked, line);
    number(r#","unsent":"#, now.unsent, line);
    number(r#","unread":"#, now.unread, line);
    number(r#","out_of_order":"#, now.out_of_order, line);
    number(
        r#","srtt":"#,
        now.srtt.map_or(0, std::num::NonZero::get),
        line,
    );
    number(r#","rttvar":"#, now.rttvar, line);
    number(r#","rto":"#, now.rto, line);
    number(r#","backoff":"#, now.backoff, line);
    word(r#","phase":""#, names::phase(now.phase), line);
    line.push('}');
}

fn write_ssthresh(ssthresh: u32, line: &mut String) {
    if ssthresh != u32::MAX {
        number(r#","ssthresh":"#, ssthresh, line);
    }
}

/// A field of text, which its name opens.
#[inline]
fn word(name: &str, value: &str, line: &mut String) {
    line.push_str(name);
    line.push_str(value);
    line.push('"');
}

/// A field that is left out when it is 0.
#[inline]
fn number(name: &str, value: impl Into<u64>, line: &mut String) {
    let value = value.into();
    if value > 0 {
        put(name, value, line);
    }
}

/// A field.
#[inline]
fn put(name: &str, value: impl Into<u64>, line: &mut String) {
    line.push_str(name);
    line.push_str(itoa::Buffer::new().format(value.into()));
}
