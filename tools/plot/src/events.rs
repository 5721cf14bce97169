//! Reads an event log (docs/events.md) into traces.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead};
use std::net::SocketAddr;

use serde::Deserialize;

use crate::trace::{Kind, Mark, Recovery, Sample, Segment, Trace};

/// The version of the schema that is read here.
const SCHEMA: u32 = 1;

/// Connections that are kept; further ones are counted.
const MAX_TRACES: usize = 10_000;

/// The longest line that is looked at, in bytes; a longer one is no event.
const MAX_LINE: u64 = 1 << 20;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file failed.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A line is not what the schema says.
    #[error("line {line} is no event: {why}")]
    Line {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It begins with something else.
    #[error("it is no event log: its first line is not {{\"event\":\"start\",…}}")]
    NoLog,
    /// It was written by a later program.
    #[error("it has schema {0} of the event log, and this program knows {SCHEMA}")]
    Schema(u32),
}

/// All connections of a log.
#[derive(Debug, Default)]
pub struct Log {
    /// In the order in which they began.
    pub traces: Vec<Trace>,
    /// Connections that were too many to be kept.
    pub left_out: u64,
    /// Events that the log itself missed.
    pub missing: u64,
    /// The last line is not complete: its writer was stopped.
    pub is_cut: bool,
}

/// Reads a log of connections that `wanted` chooses, by the stack's and the other end's address.
pub fn read(
    log: &mut impl BufRead,
    wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
) -> Result<Log, ReadError> {
    let mut reader = Reader::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let len = io::Read::take(&mut *log, MAX_LINE).read_until(b'\n', &mut line)?;
        if len == 0 && number > 1 {
            break;
        }
        let is_cut = !line.ends_with(b"\n") && (len as u64) < MAX_LINE;
        match serde_json::from_slice::<Line>(&line) {
            Ok(event) if number == 1 => check_start(&event)?,
            Ok(event) => reader.on_event(&event, &wanted),
            Err(_) if number == 1 => return Err(ReadError::NoLog),
            Err(_) if is_cut => reader.log.is_cut = true,
            Err(error) => {
                let why = error.to_string();
                return Err(ReadError::Line { line: number, why });
            }
        }
    }
    Ok(reader.log)
}

fn check_start(line: &Line<'_>) -> Result<(), ReadError> {
    match (&*line.event, line.schema) {
        ("start", Some(SCHEMA)) => Ok(()),
        ("start", Some(other)) => Err(ReadError::Schema(other)),
        _ => Err(ReadError::NoLog),
    }
}

/// A line of the log, with the fields that are used here.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    schema: Option<u32>,
    #[serde(default)]
    t: u64,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    #[serde(default, borrow)]
    state: Cow<'a, str>,
    now: Option<Now>,
    #[serde(default)]
    seq: u64,
    ack: Option<u64>,
    #[serde(default, borrow)]
    flags: Cow<'a, str>,
    #[serde(default)]
    len: u32,
    #[serde(default)]
    window: u32,
    #[serde(default)]
    sack: Vec<(u64, u64)>,
    #[serde(default, borrow)]
    why: Cow<'a, str>,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    in_order: u32,
    #[serde(default)]
    out_of_order: u32,
    rtt: Option<u64>,
    dropped: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    timer: Cow<'a, str>,
    #[serde(default)]
    bytes: u64,
    #[serde(default, borrow)]
    what: Cow<'a, str>,
    #[serde(default, borrow)]
    by: Cow<'a, str>,
    #[serde(default)]
    count: u64,
}

/// The connection's variables after an event.
#[derive(Debug, Deserialize)]
struct Now {
    #[serde(default)]
    una: u64,
    #[serde(default)]
    cwnd: u32,
    ssthresh: Option<u32>,
    #[serde(default)]
    in_flight: u32,
    srtt: Option<u64>,
    #[serde(default)]
    rcv_wnd: u32,
    #[serde(default)]
    unread: u32,
    #[serde(default)]
    out_of_order: u32,
}

#[derive(Debug, Default)]
struct Reader {
    log: Log,
    /// The latest connection of each flow, by its place in the log.
    flows: HashMap<(SocketAddr, SocketAddr), Option<usize>>,
}

impl Reader {
    fn on_event(&mut self, line: &Line<'_>, wanted: &impl Fn(SocketAddr, SocketAddr) -> bool) {
        let (Some(local), Some(remote)) = (line.local, line.remote) else {
            if line.event == "dropped" {
                self.log.missing += line.count;
            }
            return;
        };
        if !wanted(local, remote) {
            return;
        }
        let flow = (local, remote);
        let known = self.flows.get(&flow).copied();
        let place = match known {
            Some(Some(place)) if !begins_anew(&self.log.traces[place], line) => place,
            // What went to no connection is no connection's picture.
            None if line.now.is_none() && line.state == "CLOSED" => return,
            Some(None) => return,
            _ => match self.begin(flow) {
                Some(place) => place,
                None => return,
            },
        };
        let trace = &mut self.log.traces[place];
        if trace.has_room() {
            add(trace, line);
        }
    }

    fn begin(&mut self, flow: (SocketAddr, SocketAddr)) -> Option<usize> {
        let place = self.log.traces.len();
        let place = (place < MAX_TRACES).then_some(place);
        self.flows.insert(flow, place);
        match place {
            Some(_) => self.log.traces.push(Trace::new(flow.0, flow.1)),
            None => self.log.left_out += 1,
        }
        place
    }
}

/// Whether `line` is the first of a new connection of a flow that had one.
fn begins_anew(trace: &Trace, line: &Line<'_>) -> bool {
    let is_over = trace
        .states
        .last()
        .is_some_and(|(_, state)| matches!(&**state, "CLOSED" | "TIME-WAIT"));
    is_over && matches!(&*line.event, "sent" | "received") && line.flags.contains('S')
}

fn add(trace: &mut Trace, line: &Line<'_>) {
    let at = seconds(line.t);
    match &*line.event {
        "sent" => {
            let kind = sent_kind(&line.why, line.again);
            trace.sent.push(segment(line, kind));
            mark_sent(trace, at, line, kind);
        }
        "received" => {
            let segment = segment(line, received_kind(line));
            if let Some(reason) = &line.dropped {
                mark(trace, at, &format!("dropped: {reason}"));
            } else if segment.window == Some(0) {
                mark(trace, at, "window closed by peer");
            }
            trace.received.push(segment);
            trace
                .round_trips
                .extend(line.rtt.map(|rtt| (at, seconds(rtt))));
        }
        "state" => trace.states.push((at, line.state.clone().into_owned())),
        "timer" if line.timer != "delayed ACK" && line.timer != "linger" => {
            mark(trace, at, &format!("timer: {}", line.timer));
        }
        "loss" => {
            if let Some(recovery) = trace.recoveries.last_mut() {
                recovery.lost += line.bytes;
            }
        }
        "recovery" => on_recovery(trace, at, line),
        _ => {}
    }
    trace.samples.extend(line.now.as_ref().map(|now| Sample {
        at,
        una: now.una,
        cwnd: f64::from(now.cwnd),
        ssthresh: now.ssthresh.map(f64::from),
        in_flight: f64::from(now.in_flight),
        srtt: now.srtt.map(seconds),
        rcv_wnd: f64::from(now.rcv_wnd),
        unread: f64::from(now.unread),
        out_of_order: f64::from(now.out_of_order),
    }));
}

fn segment(line: &Line<'_>, kind: Kind) -> Segment {
    // The window of a SYN is not scaled, and that of a RST means nothing.
    let has_window = !line.flags.contains(['S', 'R']);
    Segment {
        at: seconds(line.t),
        // The SYN takes the first number, its data, if any, those after it.
        seq: line.seq + u64::from(line.flags.contains('S')),
        len: line.len,
        ack: line.ack,
        window: has_window.then_some(line.window),
        sack: line.sack.clone(),
        kind,
    }
}

fn sent_kind(why: &str, again: bool) -> Kind {
    match why {
        "tail probe" => Kind::TailProbe,
        "fast retransmit" | "hole retransmit" => Kind::FastRetransmit,
        "timeout retransmit" => Kind::TimeoutRetransmit,
        "window probe" | "keep-alive" => Kind::Probe,
        _ if again => Kind::OtherRetransmit,
        _ => Kind::New,
    }
}

fn received_kind(line: &Line<'_>) -> Kind {
    if line.dropped.is_some() {
        Kind::Dropped
    } else if line.out_of_order > 0 {
        Kind::OutOfOrder
    } else if line.len > 0 && line.in_order == 0 {
        Kind::Duplicate
    } else {
        Kind::New
    }
}

fn mark_sent(trace: &mut Trace, at: f64, line: &Line<'_>, kind: Kind) {
    match kind {
        Kind::New if line.why == "reset" => mark(trace, at, "reset sent"),
        Kind::New => {}
        Kind::OtherRetransmit | Kind::Probe => mark(trace, at, &line.why),
        Kind::TailProbe => mark(trace, at, "tail probe"),
        Kind::FastRetransmit => mark(trace, at, "fast retransmit"),
        _ => mark(trace, at, "timeout retransmit"),
    }
}

fn mark(trace: &mut Trace, at: f64, row: &str) {
    let row = row.to_owned();
    trace.marks.push(Mark { at, row });
}

fn on_recovery(trace: &mut Trace, at: f64, line: &Line<'_>) {
    if line.what == "begin" {
        trace.recoveries.push(Recovery {
            from: at,
            to: None,
            by: line.by.clone().into_owned(),
            lost: 0,
            undone: false,
        });
    } else if let Some(recovery) = trace.recoveries.last_mut() {
        recovery.to.get_or_insert(at);
        recovery.undone |= line.what == "undo";
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
