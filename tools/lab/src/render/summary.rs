//! Results of a sweep in one figure: lines, bars, waterfalls.

use super::dimension::{FLOW, Outcome, axes, grouped, number, outcomes};
use super::quantity::Quantity;
use crate::recording::{FlowResult, Plot, Recording};
use figures::{Axis, Bar, Block, Chart, Line, Panel, Stroke, Waterfall};

/// Panels of one chart, at most.
const MAX_PANELS: usize = 4;

/// A result against an axis of the sweep; one panel or chart for each value of the axes that are neither
/// horizontal nor told apart by lines.
pub(super) fn lines(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let sweep = axes(recording);
    let wanted = plot.x.as_deref().unwrap_or_default();
    let Some(axis) = sweep.iter().find(|axis| axis.name == wanted) else {
        return bars(recording, plot);
    };
    let Some((numbers, unit)) = axis.numbers() else {
        return bars(recording, plot);
    };
    let Some(quantity) = quantity(plot) else {
        return unknown(plot);
    };
    let by = plot.by.as_deref().unwrap_or(FLOW);
    // Lines keep their colour from figure to figure.
    let names: Vec<_> = grouped(outcomes(recording), |outcome| outcome.on(by).to_owned());
    let colour = |name: &str| names.iter().position(|known| known.0 == name);
    let log = plot.log_x || spans_decades(&numbers);
    let figures = grouped(outcomes(recording), |outcome| {
        outcome.rest(&[axis.name, by], false)
    });
    let panel = |(rest, outcomes): (String, Vec<Outcome<'_>>)| {
        let y = Axis::new(quantity.label, quantity.unit);
        let mut panel = Panel::new(scaled(y, plot.log_y)).height(250.0);
        for (name, outcomes) in grouped(outcomes.into_iter(), |outcome| outcome.on(by).to_owned()) {
            let points = points(&quantity, axis.name, &outcomes);
            let mut line = Line::new(name.clone(), points).stroke(Stroke::Marked);
            line.colour = colour(&name);
            panel = panel.line(line);
        }
        (rest, panel)
    };
    let x = scaled(Axis::new(axis.name, unit), log);
    stacked(&plot.title, &x, figures.into_iter().map(panel).collect())
}

/// Panels that stand for values of the other axes: a few share one chart, many have one each.
pub(super) fn stacked(title: &str, x: &Axis, panels: Vec<(String, Panel)>) -> Vec<Block> {
    if !(2..=MAX_PANELS).contains(&panels.len()) {
        let chart = |(rest, panel): (String, Panel)| {
            Chart::new(titled(title, &rest), x.clone())
                .panel(panel)
                .into()
        };
        return panels.into_iter().map(chart).collect();
    }
    let mut chart = Chart::new(title, x.clone());
    for (rest, mut panel) in panels {
        panel.y.label = titled(&panel.y.label, &rest);
        chart = chart.panel(panel.height(150.0));
    }
    vec![chart.into()]
}

/// A result as bars: a group for each value of `x`, a bar for each value of `by` in it.
pub(super) fn bars(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let Some(quantity) = quantity(plot) else {
        return unknown(plot);
    };
    let by = plot.by.as_deref().unwrap_or(FLOW);
    let x = plot.x.as_deref().unwrap_or_default();
    let kinds = grouped(outcomes(recording), |outcome| outcome.on(by).to_owned());
    let kinds: Vec<_> = kinds.into_iter().map(|(name, _)| name).collect();
    let axis = Axis::new(quantity.label, quantity.unit).from(0.0);
    let mut figure = Waterfall::new(&plot.title, axis, kinds.clone());
    let groups = grouped(outcomes(recording), |outcome| {
        let rest = outcome.rest(&[x, by], false);
        titled(outcome.on(x), &rest)
    });
    for (name, outcomes) in groups {
        if !name.is_empty() {
            figure = figure.bar(Bar::new(name));
        }
        for (label, outcomes) in grouped(outcomes.into_iter(), |outcome| outcome.on(by).to_owned())
        {
            let kind = kinds.iter().position(|kind| *kind == label).unwrap_or(0);
            let value = quantity.of(&outcomes);
            let bar = Bar::new(label).span(kind, 0.0, value);
            figure = figure.bar(bar.note(rounded(value, quantity.unit)));
        }
    }
    vec![figure.into()]
}

/// The steps of request flows, in milliseconds after the flow's start.
pub(super) fn waterfall(recording: &Recording, plot: &Plot) -> Vec<Block> {
    let mut kinds: Vec<String> = Vec::new();
    for step in outcomes(recording).flat_map(|outcome| &outcome.flow.steps) {
        if !kinds.contains(&step.label) {
            kinds.push(step.label.clone());
        }
    }
    // More than a millisecond of it, or it is not seen.
    let mut last = outcomes(recording).filter_map(|outcome| outcome.flow.steps.last());
    if last.any(|step| step.end > step.first_byte + 1e-3) {
        kinds.push("rest of the answer".to_owned());
    }
    let mut figure = Waterfall::new(&plot.title, Axis::new("time", "ms"), kinds.clone());
    let runs = grouped(outcomes(recording), |outcome| outcome.rest(&[FLOW], false));
    for (label, outcomes) in runs {
        if !label.is_empty() {
            figure = figure.bar(Bar::new(label));
        }
        for Outcome { flow, .. } in outcomes
            .into_iter()
            .filter(|outcome| !outcome.flow.steps.is_empty())
        {
            figure = figure.bar(request_bar(flow, &kinds));
        }
    }
    vec![figure.into()]
}

/// The steps of one flow up to the first byte of the last answer, and the rest of that answer.
fn request_bar(flow: &FlowResult, kinds: &[String]) -> Bar {
    let mut bar = Bar::new(&flow.name);
    let last = flow.steps.len().saturating_sub(1);
    for (index, step) in flow.steps.iter().enumerate() {
        let kind = kinds
            .iter()
            .position(|kind| *kind == step.label)
            .unwrap_or(0);
        let end = if index == last {
            step.first_byte
        } else {
            step.end
        };
        bar = bar.span(kind, step.start * 1e3, end * 1e3);
        if index == last {
            if step.end > step.first_byte + 1e-3 {
                bar = bar.span(kinds.len() - 1, step.first_byte * 1e3, step.end * 1e3);
            }
            bar = bar.note(rounded(end * 1e3, "ms"));
        }
    }
    bar
}

fn points(quantity: &Quantity, axis: &str, outcomes: &[Outcome<'_>]) -> Vec<(f64, f64)> {
    let values = grouped(outcomes.iter().copied(), |outcome| {
        outcome.on(axis).to_owned()
    });
    let mut points: Vec<_> = values
        .into_iter()
        .filter_map(|(x, outcomes)| Some((number(&x)?.0, quantity.of(&outcomes))))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn quantity(plot: &Plot) -> Option<Quantity> {
    Quantity::named(plot.y.as_deref().unwrap_or("goodput"))
}

fn unknown(plot: &Plot) -> Vec<Block> {
    let name = plot.y.as_deref().unwrap_or_default();
    vec![Block::Text(format!(
        "{}: there is no result named {name:?}.",
        plot.title
    ))]
}

/// A title with what else distinguishes the figure.
pub(super) fn titled(title: &str, rest: &str) -> String {
    match (title.is_empty(), rest.is_empty()) {
        (_, true) => title.to_owned(),
        (true, false) => rest.to_owned(),
        (false, false) => format!("{title}, {rest}"),
    }
}

fn scaled(axis: Axis, log: bool) -> Axis {
    if log { axis.log() } else { axis }
}

/// Whether steps between the values grow with them.
fn spans_decades(numbers: &[f64]) -> bool {
    let positive = numbers.iter().copied().filter(|number| *number > 0.0);
    let (low, high) = positive.fold((f64::MAX, 0.0), |(low, high): (f64, f64), number| {
        (low.min(number), high.max(number))
    });
    numbers.len() > 2 && high >= 20.0 * low
}

fn rounded(value: f64, unit: &str) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 || value.fract() < 1e-9 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}
