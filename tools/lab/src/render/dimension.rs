//! What distinguishes results: the axes of a sweep, and the flow.

use crate::recording::{FlowResult, Recording, Run};

/// The name under which flows are an axis too.
pub(super) const FLOW: &str = "flow";

/// An axis of the sweep with its values, in the sweep's order.
#[derive(Clone, Debug)]
pub(super) struct SweepAxis<'a> {
    pub(super) name: &'a str,
    pub(super) values: Vec<&'a str>,
}

impl SweepAxis<'_> {
    /// The values as numbers, in a common unit, with that unit; `None` if one is no number.
    pub(super) fn numbers(&self) -> Option<(Vec<f64>, &'static str)> {
        let numbers: Option<Vec<_>> = self.values.iter().map(|value| number(value)).collect();
        let numbers = numbers?;
        let unit = numbers
            .iter()
            .map(|(_, unit)| *unit)
            .find(|unit| !unit.is_empty());
        let values = numbers.into_iter().map(|(value, _)| value).collect();
        Some((values, unit.unwrap_or_default()))
    }
}

/// The axes along which the runs differ.
pub(super) fn axes(recording: &Recording) -> Vec<SweepAxis<'_>> {
    let mut axes: Vec<SweepAxis<'_>> = Vec::new();
    for (name, value) in recording.runs.iter().flat_map(|run| &run.params) {
        let known = axes.iter().position(|axis| axis.name == name);
        let index = known.unwrap_or_else(|| {
            axes.push(SweepAxis {
                name,
                values: Vec::new(),
            });
            axes.len() - 1
        });
        if !axes[index].values.contains(&value.as_str()) {
            axes[index].values.push(value);
        }
    }
    axes
}

/// One flow's outcome in one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome<'a> {
    pub(super) run: &'a Run,
    pub(super) flow: &'a FlowResult,
}

impl<'a> Outcome<'a> {
    /// Its value on an axis of the sweep, or the flow's name; empty where there is none.
    pub(super) fn on(&self, axis: &str) -> &'a str {
        let (run, flow): (&'a Run, &'a FlowResult) = (self.run, self.flow);
        let param = run.params.iter().find(|(name, _)| name == axis);
        match param {
            Some((_, value)) => value,
            None if axis == FLOW => &flow.name,
            None => "",
        }
    }

    /// Its values on all axes but `spent`, as a label; flows count as an axis when `flows` says so.
    pub(super) fn rest(&self, spent: &[&str], flows: bool) -> String {
        let params = self.run.params.iter();
        let mut words: Vec<_> = params
            .filter(|(name, _)| !spent.contains(&name.as_str()))
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if flows && !spent.contains(&FLOW) {
            words.push(self.flow.name.clone());
        }
        words.join(", ")
    }
}

/// Every flow of every run.
pub(super) fn outcomes(recording: &Recording) -> impl Iterator<Item = Outcome<'_>> {
    let runs = recording.runs.iter();
    runs.flat_map(|run| run.flows.iter().map(move |flow| Outcome { run, flow }))
}

/// Whether a run has more than one flow.
pub(super) fn has_flows(recording: &Recording) -> bool {
    recording.runs.iter().any(|run| run.flows.len() > 1)
}

/// `items` under the keys that `key` gives them, in the order of first appearance.
pub(super) fn grouped<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
) -> Vec<(String, Vec<T>)> {
    let mut groups: Vec<(String, Vec<T>)> = Vec::new();
    for item in items {
        let key = key(&item);
        match groups.iter_mut().find(|group| group.0 == key) {
            Some(group) => group.1.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups
}

/// A value of the file such as `20ms`, in the unit of its kind.
pub(super) fn number(text: &str) -> Option<(f64, &'static str)> {
    let text = text.trim();
    let digits = text.find(|c: char| c.is_ascii_alphabetic() || c == '%');
    let (digits, unit) = text.split_at(digits.unwrap_or(text.len()));
    let (factor, unit) = match unit.trim().to_ascii_lowercase().as_str() {
        "" => (1.0, ""),
        "%" => (1.0, "%"),
        "us" => (1e-3, "ms"),
        "ms" => (1.0, "ms"),
        "s" => (1e3, "ms"),
        "min" => (6e4, "ms"),
        "bit" => (1e-6, "Mbit/s"),
        "kbit" => (1e-3, "Mbit/s"),
        "mbit" => (1.0, "Mbit/s"),
        "gbit" => (1e3, "Mbit/s"),
        "b" => (1e-3, "kB"),
        "kb" => (1.0, "kB"),
        "mb" => (1e3, "kB"),
        "bdp" => (1.0, "BDP"),
        _ => return None,
    };
    let value: f64 = digits.trim().parse().ok()?;
    value.is_finite().then_some((value * factor, unit))
}
