//! What an experiment leaves: series over time, events, results and tables. Plain data.

use serde::Deserialize;

/// An experiment that has run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The experiment's name, as on the command line.
    pub name: String,
    /// One line.
    pub title: String,
    /// What it shows, in plain words.
    pub about: String,
    /// The command that gives this recording again.
    pub command: String,
    /// Seed of the first run.
    pub seed: u64,
    /// One for each point of the sweep, in its order.
    pub runs: Vec<Run>,
    /// Results over the runs.
    pub tables: Vec<Table>,
    /// What the file asked to plot.
    pub plots: Vec<Plot>,
}

/// One simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// `loss=1% congestion=bbr`; empty without a sweep.
    pub label: String,
    /// Values of the sweep's axes, by the axes' names.
    pub params: Vec<(String, String)>,
    /// Simulated seconds.
    pub duration: f64,
    /// Quantities over time.
    pub series: Vec<Series>,
    /// What happened to flows and links, by time.
    pub events: Vec<Event>,
    /// One for each flow, in the file's order; halves of split connections follow their flow.
    pub flows: Vec<FlowResult>,
    /// One for each direction of each link.
    pub links: Vec<LinkResult>,
    /// Jain's fairness index of the flows' goodput.
    pub jain: f64,
}

/// A quantity over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The flow or link.
    pub subject: String,
    /// What is measured, such as `cwnd`.
    pub name: String,
    /// The unit of the values.
    pub unit: &'static str,
    /// Seconds and values, by time.
    pub points: Vec<(f64, f64)>,
}

/// A moment worth a mark.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Seconds.
    pub at: f64,
    /// The flow or link.
    pub flow: String,
    /// Such as `recovery` or `rto`.
    pub what: String,
}

/// What a flow achieved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowResult {
    /// Its name.
    pub name: String,
    /// Its congestion control; `udp` where there is none.
    pub algorithm: String,
    /// Mbit/s of payload that reached the receiving application in the measured window.
    pub goodput: f64,
    /// Share of all flows' goodput.
    pub share: f64,
    /// Payload bytes that reached the receiving application, over the whole run.
    pub bytes: u64,
    /// Seconds of the measured window that the flow was to run in.
    pub seconds: f64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Data segments sent, those sent again included.
    pub segments: u64,
    /// Retransmission timeouts.
    pub rtos: u64,
    /// Loss episodes: fast recoveries and timeouts that began.
    pub episodes: u64,
    /// Reductions that turned out wrong and were undone.
    pub undone: u64,
    /// Mean of SRTT over time, in milliseconds.
    pub srtt_mean: f64,
    /// Percentiles of SRTT over time, in milliseconds.
    pub srtt_p50: f64,
    /// The 95th.
    pub srtt_p95: f64,
    /// The 99th.
    pub srtt_p99: f64,
    /// Seconds from the start to the last byte's arrival, of a flow that ends.
    pub completed: Option<f64>,
    /// Of a flow of messages.
    pub messages: Vec<Message>,
    /// Of a flow of requests.
    pub steps: Vec<Step>,
    /// How the connection broke, if it did.
    pub failure: Option<String>,
}

/// A message of a paced flow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Message {
    /// Seconds.
    pub sent: f64,
    /// Seconds; `None`: it never came.
    pub received: Option<f64>,
}

/// A bar of a waterfall, in seconds after the flow's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What it is.
    pub label: String,
    /// When its request was written.
    pub start: f64,
    /// When the first byte of the answer was read.
    pub first_byte: f64,
    /// When the last one was.
    pub end: f64,
}

/// What a direction of a link did in the measured window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkResult {
    /// The link's name; `(back)` follows for the way back.
    pub name: String,
    /// Share of the rate that was used; 0 without a rate.
    pub utilisation: f64,
    /// Packets that came out, over the whole run.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets lost as the link's spec asked.
    pub lost: u64,
    /// Packets dropped by the queue.
    pub overflowed: u64,
    /// Packets marked CE.
    pub marked: u64,
    /// Mean time of packets in the queue, in milliseconds.
    pub queue_delay_mean: f64,
    /// Its 95th percentile over time.
    pub queue_delay_p95: f64,
    /// Its largest value.
    pub queue_delay_max: f64,
}

/// Results in rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Headings, with units.
    pub columns: Vec<String>,
    /// As many cells each as there are headings.
    pub rows: Vec<Vec<String>>,
}

/// A plot that the experiment's file asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// Its heading.
    pub title: String,
    /// How it is drawn.
    pub kind: PlotKind,
    /// Names of series, for [`PlotKind::Time`].
    #[serde(default)]
    pub series: Vec<String>,
    /// An axis of the sweep, for [`PlotKind::Xy`] and [`PlotKind::Bars`].
    pub x: Option<String>,
    /// A result, such as `goodput`.
    pub y: Option<String>,
    /// What each line is for: an axis of the sweep, or `flow`.
    pub by: Option<String>,
    /// The x axis is logarithmic.
    #[serde(default)]
    pub log_x: bool,
    /// The y axis is logarithmic.
    #[serde(default)]
    pub log_y: bool,
}

/// How a plot is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlotKind {
    /// Series over time.
    Time,
    /// A result against an axis of the sweep.
    Xy,
    /// The distribution of the messages' delays.
    Cdf,
    /// Each message's delay, by when it was sent.
    Messages,
    /// The steps of request flows.
    Waterfall,
    /// A result as bars.
    Bars,
}

impl FlowResult {
    /// Delays of the messages that came, in milliseconds, ascending.
    pub fn delays(&self) -> Vec<f64> {
        let came = self.messages.iter();
        let mut delays: Vec<f64> = came
            .filter_map(|message| Some((message.received? - message.sent) * 1e3))
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    /// Messages that came, but later than half as much again as the fastest of them.
    pub fn late(&self) -> usize {
        let delays = self.delays();
        let in_time = delays.first().map_or(0.0, |fastest| 1.5 * fastest);
        delays.iter().filter(|delay| **delay > in_time).count()
    }

    /// Milliseconds from the start to the first byte of the last answer, of a flow of requests.
    pub fn first_byte(&self) -> Option<f64> {
        self.steps.last().map(|step| step.first_byte * 1e3)
    }
}

/// The value below which `share` of ascending `values` lie (nearest rank); 0 of none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let rank = (share * values.len() as f64).ceil() as usize;
    let index = rank.clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(0.0)
}

/// Jain's fairness index: 1 when all values are equal, 1/n when one has everything.
pub fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (values.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "all of them are exact")]
    fn jain_and_percentiles() {
        assert_eq!(jain(&[5.0, 5.0, 5.0, 5.0]), 1.0);
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[]), 1.0);
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.01), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
