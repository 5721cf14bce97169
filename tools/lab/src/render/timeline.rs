//! Runs over time.

use super::dimension::grouped;
use super::summary::titled;
use crate::recording::{Plot, Recording, Run, Series};
use figures::{Axis, Block, Chart, EventTrack, Line, Panel, Stroke};

/// The panels of a run, by the names of the series in them.
const PANELS: [(&str, &[&str]); 6] = [
    ("window", &["cwnd", "ssthresh"]),
    ("round-trip time", &["srtt", "rtt_min"]),
    ("in flight", &["in_flight"]),
    ("queue", &["queue"]),
    ("delay in the queue", &["queue_delay"]),
    ("throughput", &["throughput"]),
];

/// Panels that only show when the file asks for their series.
const ON_REQUEST: [(&str, &[&str]); 2] = [("pacing rate", &["pacing_rate"]), ("drops", &["drops"])];

/// Rows of events of one run, at most; beyond, those of all flows share one row per kind.
const MAX_TRACKS: usize = 14;
/// Vertical lines of one run, at most.
const MAX_MARKERS: usize = 16;

/// All that is known of a run.
pub(super) fn whole(run: &Run) -> Chart {
    let wanted: Vec<&str> = PANELS
        .iter()
        .flat_map(|(_, series)| *series)
        .copied()
        .filter(|name| *name != "queue_delay" && *name != "rtt_min")
        .collect();
    chart(run, "", &wanted)
}

/// The series that a plot names, for each run.
pub(super) fn asked_for(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let wanted: Vec<&str> = plot.series.iter().map(String::as_str).collect();
    let runs = recording.runs.iter();
    runs.map(|run| chart(run, &titled(&plot.title, &run.label), &wanted).into())
        .collect()
}

fn chart(run: &Run, title: &str, wanted: &[&str]) -> Chart {
    let mut chart = Chart::new(title, Axis::new("time", "s").from(0.0).to(run.duration));
    for (label, names) in PANELS.iter().chain(&ON_REQUEST) {
        let names: Vec<_> = names
            .iter()
            .filter(|name| wanted.contains(name))
            .copied()
            .collect();
        let series: Vec<_> = run
            .series
            .iter()
            .filter(|series| names.contains(&series.name.as_str()))
            .filter(|series| is_shown(run, series))
            .collect();
        if !series.is_empty() {
            let height = if *label == "window" { 160.0 } else { 105.0 };
            chart = chart.panel(panel(run, label, &series).height(height));
        }
    }
    for name in wanted.iter().filter(|name| !is_known(name)) {
        let series: Vec<_> = run
            .series
            .iter()
            .filter(|series| series.name == **name)
            .collect();
        if !series.is_empty() {
            chart = chart.panel(panel(run, name, &series));
        }
    }
    for track in tracks(run) {
        chart = chart.events(track);
    }
    let changes = run
        .events
        .iter()
        .filter(|event| flow_index(run, &event.flow).is_none());
    for change in changes.take(MAX_MARKERS) {
        let label = format!("{}: {}", change.flow, change.what);
        chart = chart.marker(change.at, label);
    }
    chart
}

fn is_known(name: &str) -> bool {
    let mut panels = PANELS.iter().chain(&ON_REQUEST);
    panels.any(|(_, names)| names.contains(&name))
}

/// Throughput is that of flows; queues on the way back are shown when something ever waits there.
fn is_shown(run: &Run, series: &Series) -> bool {
    let is_flow = flow_index(run, &series.subject).is_some();
    match series.name.as_str() {
        "throughput" => is_flow,
        "queue" | "queue_delay" => {
            !series.subject.contains("back") || series.points.iter().any(|point| point.1 > 1.0)
        }
        _ => true,
    }
}

fn panel(run: &Run, label: &str, series: &[&Series]) -> Panel {
    let (factor, unit) = series
        .first()
        .map_or((1.0, ""), |first| scale(first.unit, series));
    let mut panel = Panel::new(Axis::new(label, unit));
    let several = series.iter().any(|other| other.name != series[0].name);
    let alone = series
        .iter()
        .all(|other| other.subject == series[0].subject);
    for one in series {
        let name = match (several, alone) {
            (false, _) => one.subject.clone(),
            (true, true) => one.name.clone(),
            (true, false) => format!("{} {}", one.name, one.subject),
        };
        let points = one.points.iter().map(|point| (point.0, point.1 * factor));
        let stroke = match one.name.as_str() {
            "ssthresh" | "rtt_min" => Stroke::Dashed,
            _ => Stroke::Solid,
        };
        let line = Line::new(name, points.collect()).stroke(stroke);
        panel = panel.line(line.colour(colour(run, &one.subject)));
    }
    panel
}

/// Bytes are shown in the unit that keeps labels short.
fn scale<'a>(unit: &'a str, series: &[&Series]) -> (f64, &'a str) {
    if unit != "B" {
        return (1.0, unit);
    }
    let points = series.iter().flat_map(|series| &series.points);
    let values = points
        .map(|point| point.1)
        .filter(|value| value.is_finite());
    match values.fold(0.0, f64::max) {
        greatest if greatest >= 1e7 => (1e-6, "MB"),
        greatest if greatest >= 1e4 => (1e-3, "kB"),
        _ => (1.0, "B"),
    }
}

fn flow_index(run: &Run, subject: &str) -> Option<usize> {
    run.flows.iter().position(|flow| flow.name == subject)
}

/// Flows have the first colours, links those behind.
fn colour(run: &Run, subject: &str) -> usize {
    let link = || run.links.iter().position(|link| link.name == subject);
    flow_index(run, subject).unwrap_or_else(|| run.flows.len() + link().unwrap_or(0))
}

fn tracks(run: &Run) -> Vec<EventTrack> {
    let events = run
        .events
        .iter()
        .filter_map(|event| Some((flow_index(run, &event.flow)?, event)));
    let alone = run.flows.len() == 1;
    let named = |flow: usize, what: &str| {
        if alone {
            what.to_owned()
        } else {
            format!("{what}, {}", run.flows[flow].name)
        }
    };
    let mut groups = grouped(events.clone(), |(flow, event)| named(*flow, &event.what));
    if groups.len() > MAX_TRACKS {
        groups = grouped(events, |(_, event)| event.what.clone());
        groups.truncate(MAX_TRACKS);
    }
    groups.sort_by_key(|(_, events)| events[0].0);
    let track = |(name, events): (String, Vec<(usize, &_)>)| {
        let at = events
            .iter()
            .map(|(_, event): &(usize, &crate::recording::Event)| event.at);
        EventTrack::new(name, at.collect()).colour(events[0].0)
    };
    groups.into_iter().map(track).collect()
}
