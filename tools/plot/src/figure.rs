//! The figures of one connection: one for what was sent, one for what was received.

use std::collections::BTreeMap;

use figures::{Axis, Chart, EventTrack, Line, Panel, Stroke};

use crate::series::{
    Points, Unit, Window, acknowledged, extents, highest_of, rate, right_edge, sacked, sampled,
    steps, total,
};
use crate::trace::{Kind, Trace};

const BLUE: usize = 0;
const ORANGE: usize = 1;
const GREEN: usize = 2;
const MAGENTA: usize = 3;
const INK: usize = 4;
const OCHRE: usize = 5;
const SKY: usize = 6;

/// Steps of throughput that can be told apart over the width of a figure.
const STEPS: f64 = 160.0;

/// Rows of ticks that a figure has at most; the rarest kinds of marks come first.
const MAX_ROWS: usize = 10;

/// What the stack sent, how it was acknowledged, and what the congestion controller made of it.
pub(crate) fn sent(trace: &Trace, title: &str, window: Window) -> Chart {
    let mut chart = Chart::new(title, time(window))
        .panel(sequence_sent(trace, window, 300.0))
        .panel(windows(trace, window))
        .panel(round_trips(trace, window))
        .panel(throughput_sent(trace, window));
    for track in tracks(trace, window) {
        chart = chart.events(track);
    }
    chart
}

/// A repair of losses from near: the sequence numbers, and the windows.
pub(crate) fn repair(trace: &Trace, title: &str, window: Window) -> Chart {
    let mut chart = Chart::new(title, time(window))
        .panel(sequence_sent(trace, window, 240.0))
        .panel(windows(trace, window).height(110.0));
    for track in tracks(trace, window) {
        chart = chart.events(track);
    }
    chart
}

/// What the stack received, and how it acknowledged that.
pub(crate) fn received(trace: &Trace, title: &str, window: Window) -> Chart {
    Chart::new(title, time(window))
        .panel(sequence_received(trace, window))
        .panel(buffers(trace, window))
        .panel(throughput_received(trace, window))
}

fn time(window: Window) -> Axis {
    Axis::new("time", "s").from(window.from).to(window.to)
}

fn sequence_sent(trace: &Trace, window: Window, height: f64) -> Panel {
    let acks = acknowledged(&trace.received);
    let mut kinds = extents(&trace.sent, window);
    let blocks = sacked(&trace.received, window);
    let unit = Unit::of(highest_of(kinds.values().chain([&acks])));
    let mut panel = Panel::new(Axis::new("sequence number, sent", unit.name)).height(height);
    let edge = window.clip(&below_twice(right_edge(&trace.received), &kinds));
    panel = panel.line(line("peer's window", edge, Stroke::Dashed, INK, unit));
    panel = panel.line(steps("acknowledged", &acks, window, unit, GREEN));
    panel = panel.line(line("SACKed", blocks, Stroke::Extents, OCHRE, unit));
    for (kind, name, colour) in [
        (Kind::New, "sent", BLUE),
        (Kind::TailProbe, "tail probe", SKY),
        (Kind::FastRetransmit, "fast retransmit", ORANGE),
        (Kind::TimeoutRetransmit, "timeout retransmit", MAGENTA),
        (Kind::OtherRetransmit, "sent again", INK),
        (Kind::Probe, "probe", INK),
    ] {
        if let Some(points) = kinds.remove(&kind) {
            panel = panel.line(line(name, points, Stroke::Extents, colour, unit));
        }
    }
    panel
}

fn sequence_received(trace: &Trace, window: Window) -> Panel {
    let acks = acknowledged(&trace.sent);
    let mut kinds = extents(&trace.received, window);
    let unit = Unit::of(highest_of(kinds.values().chain([&acks])));
    let edge = window.clip(&below_twice(right_edge(&trace.sent), &kinds));
    let mut panel = Panel::new(Axis::new("sequence number, received", unit.name)).height(300.0);
    panel = panel.line(line("our window", edge, Stroke::Dashed, INK, unit));
    panel = panel.line(steps("acknowledged", &acks, window, unit, GREEN));
    for (kind, name, colour) in [
        (Kind::New, "in order", BLUE),
        (Kind::OutOfOrder, "out of order", OCHRE),
        (Kind::Duplicate, "nothing new", MAGENTA),
        (Kind::Dropped, "dropped", ORANGE),
    ] {
        if let Some(points) = kinds.remove(&kind) {
            panel = panel.line(line(name, points, Stroke::Extents, colour, unit));
        }
    }
    panel
}

/// A window far above what was sent would make the rest flat: what lies above twice the highest
/// byte is a gap.
fn below_twice(edge: Points, kinds: &BTreeMap<Kind, Points>) -> Points {
    let most = 2.0 * highest_of(kinds.values());
    let shown = |value: f64| if value <= most { value } else { f64::NAN };
    edge.into_iter()
        .map(|(at, value)| (at, shown(value)))
        .collect()
}

fn windows(trace: &Trace, window: Window) -> Panel {
    let cwnd = sampled(trace, |sample| Some(sample.cwnd));
    let in_flight = sampled(trace, |sample| Some(sample.in_flight));
    let ssthresh = sampled(trace, |sample| sample.ssthresh);
    let (cwnd, in_flight) = (window.clip(&cwnd), window.clip(&in_flight));
    let unit = Unit::of(highest_of([&cwnd, &in_flight]));
    Panel::new(Axis::new("congestion window", unit.name))
        .line(line("in flight", in_flight, Stroke::Steps, SKY, unit))
        .line(line("cwnd", cwnd, Stroke::Steps, BLUE, unit))
        .line(line(
            "ssthresh",
            window.clip(&ssthresh),
            Stroke::Dashed,
            ORANGE,
            unit,
        ))
}

fn buffers(trace: &Trace, window: Window) -> Panel {
    let offered = window.clip(&sampled(trace, |sample| Some(sample.rcv_wnd)));
    let unread = window.clip(&sampled(trace, |sample| Some(sample.unread)));
    let kept = window.clip(&sampled(trace, |sample| Some(sample.out_of_order)));
    let unit = Unit::of(highest_of([&offered, &unread, &kept]));
    Panel::new(Axis::new("receive buffer", unit.name))
        .line(line("window offered", offered, Stroke::Steps, BLUE, unit))
        .line(line("not read yet", unread, Stroke::Steps, ORANGE, unit))
        .line(line("above a gap", kept, Stroke::Steps, OCHRE, unit))
}

fn round_trips(trace: &Trace, window: Window) -> Panel {
    let millis = |points: Points| -> Points {
        points
            .into_iter()
            .map(|(at, rtt)| (at, rtt * 1e3))
            .collect()
    };
    let inside = trace
        .round_trips
        .iter()
        .copied()
        .filter(|point| window.has(point.0));
    let samples = millis(inside.collect());
    let srtt = millis(window.clip(&sampled(trace, |sample| sample.srtt)));
    Panel::new(Axis::new("round trip", "ms"))
        .height(110.0)
        .line(Line::new("measured", samples).colour(SKY))
        .line(Line::new("SRTT", srtt).stroke(Stroke::Steps).colour(BLUE))
}

fn throughput_sent(trace: &Trace, window: Window) -> Panel {
    throughput(
        trace,
        window,
        &total(&trace.sent),
        "sent",
        &acknowledged(&trace.received),
        "acknowledged",
    )
}

fn throughput_received(trace: &Trace, window: Window) -> Panel {
    throughput(
        trace,
        window,
        &total(&trace.received),
        "received",
        &acknowledged(&trace.sent),
        "in order",
    )
}

fn throughput(
    trace: &Trace,
    window: Window,
    all: &Points,
    all_name: &str,
    done: &Points,
    done_name: &str,
) -> Panel {
    // Shorter than a round trip there is only the rhythm of ACKs to see.
    let shortest = trace
        .samples
        .iter()
        .filter_map(|sample| sample.srtt)
        .fold(0.0, f64::max);
    let shortest = shortest.min((window.to - window.from) / 20.0);
    let megabits = |points: &Points| -> Points {
        let rates = rate(points, window, STEPS, shortest);
        rates
            .into_iter()
            .map(|(at, bytes)| (at, bytes * 8.0 / 1e6))
            .collect()
    };
    let line =
        |name: &str, points: &Points| Line::new(name, megabits(points)).stroke(Stroke::Steps);
    Panel::new(Axis::new("throughput", "Mbit/s"))
        .height(110.0)
        .line(line(all_name, all).colour(SKY))
        .line(line(done_name, done).colour(BLUE))
}

/// Rows of ticks: the rarest kinds of marks first, as these are the ones that are looked for.
fn tracks(trace: &Trace, window: Window) -> Vec<EventTrack> {
    let mut rows = BTreeMap::<&str, Vec<f64>>::new();
    for mark in trace.marks.iter().filter(|mark| window.has(mark.at)) {
        rows.entry(&mark.row).or_default().push(mark.at);
    }
    let begun = trace.recoveries.iter().map(|recovery| recovery.from);
    let begun: Vec<_> = begun.filter(|at| window.has(*at)).collect();
    if !begun.is_empty() {
        rows.insert("recovery begins", begun);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, at)| at.len());
    rows.truncate(MAX_ROWS);
    let tracks = rows
        .into_iter()
        .map(|(name, at)| EventTrack::new(name, at).colour(colour_of(name)));
    tracks.collect()
}

fn colour_of(row: &str) -> usize {
    match row {
        "fast retransmit" => ORANGE,
        "timeout retransmit" | "timer: retransmission" => MAGENTA,
        "tail probe" | "timer: tail probe" => SKY,
        "recovery begins" => GREEN,
        _ => INK,
    }
}

fn line(name: &str, points: Points, stroke: Stroke, colour: usize, unit: Unit) -> Line {
    Line::new(name, unit.scale(points))
        .stroke(stroke)
        .colour(colour)
}
