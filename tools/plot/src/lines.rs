//! What happened to connections, one line after the other, as an event log has it; an annotated
//! capture is told in the same terms.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::trace::{Kind, Log, Mark, Recovery, Sample, Segment, Trace};

/// Connections that are kept; further ones are counted.
const MAX_TRACES: usize = 10_000;

/// A line of the log (docs/events.md), with the fields that are used here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow)]
    pub(crate) event: Cow<'a, str>,
    pub(crate) schema: Option<u32>,
    #[serde(default)]
    pub(crate) t: u64,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    #[serde(default, borrow)]
    pub(crate) state: Cow<'a, str>,
    pub(crate) now: Option<Now>,
    #[serde(default)]
    pub(crate) seq: u64,
    pub(crate) ack: Option<u64>,
    #[serde(default, borrow)]
    pub(crate) flags: Cow<'a, str>,
    #[serde(default)]
    pub(crate) len: u32,
    #[serde(default)]
    pub(crate) window: u32,
    #[serde(default)]
    pub(crate) sack: Vec<(u64, u64)>,
    #[serde(default, borrow)]
    pub(crate) why: Cow<'a, str>,
    #[serde(default)]
    pub(crate) again: bool,
    #[serde(default)]
    pub(crate) in_order: u32,
    #[serde(default)]
    pub(crate) out_of_order: u32,
    pub(crate) rtt: Option<u64>,
    pub(crate) dropped: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub(crate) timer: Cow<'a, str>,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default, borrow)]
    pub(crate) what: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(crate) by: Cow<'a, str>,
    #[serde(default)]
    pub(crate) count: u64,
}

/// The connection's variables after an event.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Now {
    #[serde(default)]
    pub(crate) una: u64,
    #[serde(default)]
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: Option<u32>,
    #[serde(default)]
    pub(crate) in_flight: u32,
    pub(crate) srtt: Option<u64>,
    #[serde(default)]
    pub(crate) rcv_wnd: u32,
    #[serde(default)]
    pub(crate) unread: u32,
    #[serde(default)]
    pub(crate) out_of_order: u32,
}

/// Sorts lines into connections.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    log: Log,
    /// The latest connection of each flow, by its place in the log.
    flows: HashMap<(SocketAddr, SocketAddr), Option<usize>>,
}

impl Lines {
    /// What came together.
    pub(crate) fn into_log(self) -> Log {
        self.log
    }

    /// One line more, if `wanted` chooses its connection.
    pub(crate) fn on_line(
        &mut self,
        line: &Line<'_>,
        wanted: &impl Fn(SocketAddr, SocketAddr) -> bool,
    ) {
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
        "loss" => match trace.recoveries.last_mut() {
            Some(recovery) if recovery.to.is_none() => recovery.lost += line.bytes,
            // It is told before the repair that it begins.
            _ => trace.lost += line.bytes,
        },
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
    // Before there is a connection a packet has the numbers of its header, and they mean nothing here.
    let has_numbers = line.now.is_some();
    // The window of a SYN is not scaled, and that of a RST means nothing.
    let has_window = has_numbers && !line.flags.contains(['S', 'R']);
    Segment {
        at: seconds(line.t),
        // The SYN takes the first number, its data, if any, those after it.
        seq: line.seq + u64::from(line.flags.contains('S')),
        len: if has_numbers { line.len } else { 0 },
        ack: line.ack.filter(|_| has_numbers),
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
            lost: std::mem::take(&mut trace.lost),
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
