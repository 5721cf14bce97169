//! Delays of messages as distributions.

use super::dimension::{FLOW, Outcome, grouped, has_flows, outcomes};
use super::summary::{stacked, titled};
use crate::recording::{FlowResult, Plot, Recording, Run};
use figures::{Axis, Block, Chart, EventTrack, Line, Panel, Stroke};

/// The share of messages that arrived within a delay; with a logarithmic vertical axis, the share
/// that had not, which shows the tail. Messages that never came count as not arrived.
pub(super) fn delays(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let by = plot.by.as_deref();
    let key = |outcome: &Outcome<'_>| match by {
        Some(by) => outcome.on(by).to_owned(),
        None => outcome.rest(&[], true),
    };
    let measured = || outcomes(recording).filter(|outcome| !outcome.flow.messages.is_empty());
    let flows = has_flows(recording);
    let names: Vec<_> = grouped(measured(), key)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let figures = grouped(measured(), |outcome| match by {
        Some(by) => outcome.rest(&[by], flows && by != FLOW),
        None => String::new(),
    });
    let greatest = measured()
        .flat_map(|outcome| outcome.flow.delays())
        .fold(0.0, f64::max);
    let panel = |(rest, outcomes): (String, Vec<Outcome<'_>>)| {
        let y = if plot.log_y {
            Axis::new("not yet delivered", "% of messages")
                .log()
                .to(100.0)
        } else {
            Axis::new("delivered", "% of messages").from(0.0).to(100.0)
        };
        let mut panel = Panel::new(y).height(250.0);
        for outcome in outcomes {
            let name = key(&outcome);
            let mut line = Line::new(name.clone(), curve(outcome.flow, plot.log_y, greatest));
            line.colour = names.iter().position(|known| *known == name);
            panel = panel.line(line.stroke(Stroke::Steps));
        }
        (rest, panel)
    };
    let x = Axis::new("delay", "ms").to(greatest);
    let x = if plot.log_x { x.log() } else { x.from(0.0) };
    stacked(&plot.title, &x, figures.into_iter().map(panel).collect())
}

/// The delay of every message by the time it was sent: a chart for each run.
/// Those that never came stand in a row of their own.
pub(super) fn each(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let measured = recording.runs.iter().filter(|run| {
        let mut flows = run.flows.iter();
        flows.any(|flow| !flow.messages.is_empty())
    });
    let figure = |run: &Run| {
        let mut chart = Chart::new(titled(&plot.title, &run.label), Axis::new("sent at", "s"));
        let mut panel = Panel::new(Axis::new("delay", "ms").from(0.0));
        for (index, flow) in run.flows.iter().enumerate() {
            let came = flow.messages.iter().filter_map(|message| {
                let delay = message.received? - message.sent;
                Some((message.sent, delay * 1e3))
            });
            panel = panel.line(Line::new(flow.name.clone(), came.collect()).colour(index));
            let never = flow
                .messages
                .iter()
                .filter(|message| message.received.is_none());
            let never: Vec<_> = never.map(|message| message.sent).collect();
            if !never.is_empty() {
                let track = EventTrack::new(format!("never came, {}", flow.name), never);
                chart = chart.events(track.colour(index));
            }
        }
        chart = chart.panel(panel);
        Block::from(chart)
    };
    measured.map(figure).collect()
}

/// Delay in milliseconds, and per cent of the messages sent; the last share holds up to
/// `greatest`.
fn curve(flow: &FlowResult, left: bool, greatest: f64) -> Vec<(f64, f64)> {
    let all = flow.messages.len();
    let share = |arrived: usize| {
        let count = if left { all - arrived } else { arrived };
        100.0 * count as f64 / all as f64
    };
    let delays = flow.delays();
    let mut points = vec![(0.0, share(0))];
    points.extend(
        delays
            .iter()
            .enumerate()
            .map(|(before, delay)| (*delay, share(before + 1))),
    );
    points.push((greatest, share(delays.len())));
    // Nobody is left after the last: that has no logarithm.
    points.retain(|point| !left || point.1 > 0.0);
    points
}
