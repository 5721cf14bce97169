//! The figures of one connection: one for what was sent, one for what was received.

use std::collections::BTreeMap;

use figures::{Axis, Chart, EventTrack, Line, Panel, Stroke};

use crate::series::{
    Points, Unit, Window, acknowledged, extents, highest_of, rate, right_edge, sacked, sampled,
    total,
};
use crate::trace::{Kind, Sample, Segment, Trace};

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
        .panel(sequence_sent(trace, window).height(300.0))
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
        .panel(sequence_sent(trace, window).height(240.0))
        .panel(windows(trace, window).height(110.0));
    for track in tracks(trace, window) {
        chart = chart.events(track);
    }
    chart
}

/// What the stack received, and how it acknowledged that.
pub(crate) fn received(trace: &Trace, title: &str, window: Window) -> Chart {
    Chart::new(title, time(window))
        .panel(sequence_received(trace, window).height(300.0))
        .panel(buffers(trace, window))
        .panel(throughput_received(trace, window))
}

fn time(window: Window) -> Axis {
    Axis::new("time", "s").from(window.from).to(window.to)
}

/// Segments sent again that get a mark each; more of a kind are bars.
const MARKED: usize = 150;

/// Kinds of segments that the stack sent, with name and colour, the last one on top.
const SENT: &[(Kind, &str, usize)] = &[
    (Kind::New, "sent", BLUE),
    (Kind::TailProbe, "tail probe", SKY),
    (Kind::FastRetransmit, "fast retransmit", ORANGE),
    (Kind::TimeoutRetransmit, "timeout retransmit", MAGENTA),
    (Kind::OtherRetransmit, "sent again", INK),
    (Kind::Probe, "probe", INK),
];

/// Kinds of segments that it received.
const RECEIVED: &[(Kind, &str, usize)] = &[
    (Kind::New, "in order", BLUE),
    (Kind::OutOfOrder, "out of order", OCHRE),
    (Kind::Duplicate, "nothing new", MAGENTA),
    (Kind::Dropped, "dropped", ORANGE),
];

fn sequence_sent(trace: &Trace, window: Window) -> Panel {
    let segments = (&trace.sent[..], &trace.received[..]);
    let names = ("sequence number, sent", "peer's window");
    let blocks = sacked(&trace.received, window);
    sequence(segments, names, (SENT, blocks), window)
}

fn sequence_received(trace: &Trace, window: Window) -> Panel {
    let segments = (&trace.received[..], &trace.sent[..]);
    let names = ("sequence number, received", "our window");
    // What we report by SACK is what came out of order.
    sequence(segments, names, (RECEIVED, Points::new()), window)
}

/// Which bytes segments carried, and how those of the other direction acknowledged them.
fn sequence(
    (segments, answers): (&[Segment], &[Segment]),
    (name, edge_name): (&str, &str),
    (kinds, blocks): (&[(Kind, &str, usize)], Points),
    window: Window,
) -> Panel {
    let carried = extents(segments, window);
    let acks = window.clip(&acknowledged(answers));
    let (low, high) = ends(carried.values().chain([&acks]));
    // A window far above what was sent would make the rest flat.
    let edge = window.clip(&below(right_edge(answers), high + (high - low)));
    let unit = Unit::of(high);
    let around = [
        line(edge_name, edge, Stroke::Dashed, INK, unit),
        line("acknowledged", acks, Stroke::Steps, GREEN, unit),
        line("SACKed", blocks, Stroke::Extents, OCHRE, unit),
    ];
    let carried = kinds.iter().filter_map(|(kind, name, colour)| {
        let points = carried.get(kind)?;
        let is_marked = kind.is_retransmission() && points.len() <= 2 * MARKED;
        let (points, stroke) = if is_marked {
            // One of a segment would hardly be seen.
            (points.iter().step_by(2).copied().collect(), Stroke::Dots)
        } else {
            (points.clone(), Stroke::Extents)
        };
        Some(line(name, points, stroke, *colour, unit))
    });
    let y = Axis::new(name, unit.name).from(low / unit.bytes);
    panel(y, around.into_iter().chain(carried))
}

/// The least and the greatest value of all.
fn ends<'a>(lines: impl Iterator<Item = &'a Points> + Clone) -> (f64, f64) {
    let values = lines.clone().flatten().map(|point| point.1);
    let low = values.fold(f64::INFINITY, f64::min);
    (if low.is_finite() { low } else { 0.0 }, highest_of(lines))
}

/// What lies above `most` is a gap.
fn below(edge: Points, most: f64) -> Points {
    let shown = |value: f64| if value <= most { value } else { f64::NAN };
    edge.into_iter()
        .map(|(at, value)| (at, shown(value)))
        .collect()
}

fn windows(trace: &Trace, window: Window) -> Panel {
    let values = |value: fn(&Sample) -> Option<f64>| window.clip(&sampled(trace, value));
    let cwnd = values(|sample| Some(sample.cwnd));
    let in_flight = values(|sample| Some(sample.in_flight));
    let ssthresh = values(|sample| sample.ssthresh);
    let unit = Unit::of(highest_of([&cwnd, &in_flight]));
    let lines = [
        line("cwnd", cwnd, Stroke::Steps, BLUE, unit),
        line("in flight", in_flight, Stroke::Steps, SKY, unit),
        line("ssthresh", ssthresh, Stroke::Dashed, ORANGE, unit),
    ];
    panel(Axis::new("congestion window", unit.name), lines)
}

fn buffers(trace: &Trace, window: Window) -> Panel {
    let values =
        |value: fn(&Sample) -> f64| window.clip(&sampled(trace, |sample| Some(value(sample))));
    let offered = values(|sample| sample.rcv_wnd);
    let unread = values(|sample| sample.unread);
    let kept = values(|sample| sample.out_of_order);
    let unit = Unit::of(highest_of([&offered, &unread, &kept]));
    let lines = [
        line("window offered", offered, Stroke::Steps, BLUE, unit),
        line("not read yet", unread, Stroke::Steps, ORANGE, unit),
        line("above a gap", kept, Stroke::Steps, OCHRE, unit),
    ];
    panel(Axis::new("receive buffer", unit.name), lines)
}

fn round_trips(trace: &Trace, window: Window) -> Panel {
    let inside = trace.round_trips.iter().filter(|point| window.has(point.0));
    let samples = inside.map(|&(at, rtt)| (at, rtt * 1e3)).collect();
    let srtt = sampled(trace, |sample| Some(sample.srtt? * 1e3));
    let lines = [
        Line::new("measured", samples).colour(SKY),
        Line::new("SRTT", window.clip(&srtt))
            .stroke(Stroke::Steps)
            .colour(BLUE),
    ];
    panel(Axis::new("round trip", "ms"), lines).height(110.0)
}

fn throughput_sent(trace: &Trace, window: Window) -> Panel {
    let (sent, acked) = (total(&trace.sent), acknowledged(&trace.received));
    throughput(trace, window, [("sent", sent), ("acknowledged", acked)])
}

fn throughput_received(trace: &Trace, window: Window) -> Panel {
    let (received, in_order) = (total(&trace.received), acknowledged(&trace.sent));
    throughput(
        trace,
        window,
        [("received", received), ("in order", in_order)],
    )
}

/// Rates by which totals grew.
fn throughput(trace: &Trace, window: Window, totals: [(&str, Points); 2]) -> Panel {
    // Shorter than a round trip there is only the rhythm of ACKs to see.
    let round_trips = trace.samples.iter().filter_map(|sample| sample.srtt);
    let shortest = round_trips.fold(0.0, f64::max);
    let shortest = shortest.min((window.to - window.from) / 20.0);
    let lines = totals
        .into_iter()
        .zip([SKY, BLUE])
        .map(|((name, total), colour)| {
            let rates = rate(&total, window, STEPS, shortest);
            let megabits = rates.into_iter().map(|(at, bytes)| (at, bytes * 8.0 / 1e6));
            Line::new(name, megabits.collect())
                .stroke(Stroke::Steps)
                .colour(colour)
        });
    panel(Axis::new("throughput", "Mbit/s"), lines).height(110.0)
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

/// A panel with those of `lines` that have something to show.
fn panel(y: Axis, lines: impl IntoIterator<Item = Line>) -> Panel {
    let shown = lines
        .into_iter()
        .filter(|line| line.points.iter().any(|point| point.1.is_finite()));
    shown.fold(Panel::new(y), Panel::line)
}
