//! The figures of an outcome by their names in the file, and how those of several flows add up.

use super::dimension::Outcome;
use crate::recording::{LinkResult, Run, percentile};

/// A result that can be plotted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantity {
    name: &'static str,
    /// For an axis.
    pub(super) label: &'static str,
    /// Its unit.
    pub(super) unit: &'static str,
    value: Value,
}

/// Whose figure it is. Those of a run are not added up.
#[derive(Clone, Copy, Debug)]
enum Value {
    SumOfFlows(fn(&Outcome<'_>) -> f64),
    MeanOfFlows(fn(&Outcome<'_>) -> f64),
    Run(fn(&Run) -> f64),
}

use Value::{MeanOfFlows, Run as OfRun, SumOfFlows};

const fn quantity(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    value: Value,
) -> Quantity {
    Quantity {
        name,
        label,
        unit,
        value,
    }
}

#[rustfmt::skip]
const QUANTITIES: &[Quantity] = &[
    quantity("goodput", "goodput", "Mbit/s", SumOfFlows(|of| of.flow.goodput)),
    quantity("share", "share of the goodput", "%", SumOfFlows(|of| of.flow.share * 1e2)),
    quantity("bytes", "payload", "MB", SumOfFlows(|of| of.flow.bytes as f64 / 1e6)),
    quantity("segments", "segments sent", "", SumOfFlows(|of| of.flow.segments as f64)),
    quantity("retransmits", "segments sent again", "", SumOfFlows(|of| of.flow.retransmits as f64)),
    quantity("rtos", "timeouts", "", SumOfFlows(|of| of.flow.rtos as f64)),
    quantity("episodes", "loss episodes", "", SumOfFlows(|of| of.flow.episodes as f64)),
    quantity("undone", "reductions undone", "", SumOfFlows(|of| of.flow.undone as f64)),
    quantity("srtt", "mean SRTT", "ms", MeanOfFlows(|of| of.flow.srtt_mean)),
    quantity("srtt_p50", "median SRTT", "ms", MeanOfFlows(|of| of.flow.srtt_p50)),
    quantity("srtt_p95", "95th percentile of SRTT", "ms", MeanOfFlows(|of| of.flow.srtt_p95)),
    quantity("srtt_p99", "99th percentile of SRTT", "ms", MeanOfFlows(|of| of.flow.srtt_p99)),
    quantity("completed", "time to the last byte", "s", MeanOfFlows(|of| of.flow.completed.unwrap_or(f64::NAN))),
    quantity("first_byte", "time to the first byte of the last answer", "ms", MeanOfFlows(|of| of.flow.first_byte().unwrap_or(f64::NAN))),
    quantity("late", "late messages", "", SumOfFlows(|of| of.flow.late() as f64)),
    quantity("delay_p50", "median delay of messages", "ms", MeanOfFlows(|of| percentile(&of.flow.delays(), 0.50))),
    quantity("delay_p95", "95th percentile of messages' delay", "ms", MeanOfFlows(|of| percentile(&of.flow.delays(), 0.95))),
    quantity("delay_p99", "99th percentile of messages' delay", "ms", MeanOfFlows(|of| percentile(&of.flow.delays(), 0.99))),
    quantity("delay_max", "largest delay of a message", "ms", MeanOfFlows(|of| percentile(&of.flow.delays(), 1.0))),
    quantity("jain", "Jain's index", "", OfRun(|run| run.jain)),
    quantity("utilisation", "utilisation of the busiest link", "%", OfRun(|run| 1e2 * worst(run, |link| link.utilisation))),
    quantity("queue_delay", "mean delay in the queue", "ms", OfRun(|run| worst(run, |link| link.queue_delay_mean))),
    quantity("queue_delay_p95", "95th percentile of delay in the queue", "ms", OfRun(|run| worst(run, |link| link.queue_delay_p95))),
    quantity("queue_delay_max", "largest delay in the queue", "ms", OfRun(|run| worst(run, |link| link.queue_delay_max))),
    quantity("overflowed", "packets dropped by queues", "", OfRun(|run| sum(run, |link| link.overflowed))),
    quantity("lost", "packets lost on links", "", OfRun(|run| sum(run, |link| link.lost))),
    quantity("marked", "packets marked CE", "", OfRun(|run| sum(run, |link| link.marked))),
];

impl Quantity {
    /// The quantity of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        QUANTITIES
            .iter()
            .find(|quantity| quantity.name == name)
            .copied()
    }

    /// Its value over flows of one run.
    pub(super) fn of(&self, outcomes: &[Outcome<'_>]) -> f64 {
        let flows = outcomes.len() as f64;
        match self.value {
            SumOfFlows(value) => outcomes.iter().map(value).sum(),
            MeanOfFlows(value) => outcomes.iter().map(value).sum::<f64>() / flows,
            OfRun(value) => outcomes
                .first()
                .map_or(f64::NAN, |outcome| value(outcome.run)),
        }
    }
}

fn worst(run: &Run, value: fn(&LinkResult) -> f64) -> f64 {
    run.links.iter().map(value).fold(0.0, f64::max)
}

fn sum(run: &Run, value: fn(&LinkResult) -> u64) -> f64 {
    run.links.iter().map(value).sum::<u64>() as f64
}
