//! From what was seen to results.

use ustack_tcp::time::Instant;

use super::network::{Link, count};
use super::sampler::{Recorder, millis};
use super::{Tap, Window, World};
use crate::app::{FlowLog, seconds};
use crate::recording::{FlowResult, LinkResult, Run, jain, percentile};
use crate::scenario::{ChangeTo, FlowSpec};
use crate::units::{Rate, Share, Time};

impl World<'_> {
    pub(super) fn finish(self) -> Run {
        let window = self.window.as_ref();
        let mut flows = Vec::new();
        for (index, spec) in self.scenario.flows.iter().enumerate() {
            let before = window.map_or(0, |window| window.received[index]);
            let mut result = self.flow_result(spec, &self.logs[index], before);
            let mut taps = self.taps.iter();
            let taps = taps
                .by_ref()
                .filter(|tap| self.hosts.0[tap.host].flow == index);
            for tap in taps {
                add_connection(&mut result, tap);
            }
            flows.push(result);
        }
        let total: f64 = flows.iter().map(|flow| flow.goodput).sum();
        if total > 0.0 {
            for flow in &mut flows {
                flow.share = flow.goodput / total;
            }
        }
        let goodputs: Vec<_> = flows.iter().map(|flow| flow.goodput).collect();
        let links = self.network.links.iter().enumerate();
        let links = links
            .filter(|(_, link)| link.is_reported)
            .map(|(index, link)| link_result(self.now, link, window, index))
            .collect();
        let flow_series = self.taps.into_iter().flat_map(|tap| tap.recorder.finish());
        let link_series = self.links.into_iter().flat_map(Recorder::finish);
        Run {
            duration: seconds(self.scenario.duration),
            series: flow_series.chain(link_series).collect(),
            events: self.events,
            jain: jain(&goodputs),
            flows,
            links,
            ..Run::default()
        }
    }

    fn flow_result(&self, spec: &FlowSpec, log: &FlowLog, before: u64) -> FlowResult {
        let began = log.began.unwrap_or(spec.start);
        let from = began.max(self.scenario.from);
        let until = log.completed.unwrap_or(spec.stop.min(self.end));
        let time = seconds(until.saturating_since(from));
        let bits = log.received.saturating_sub(before) as f64 * 8.0;
        FlowResult {
            name: spec.name.clone(),
            algorithm: spec.algorithm.clone(),
            goodput: if time > 0.0 { bits / 1e6 / time } else { 0.0 },
            bytes: log.received,
            seconds: time,
            completed: log
                .completed
                .map(|completed| seconds(completed.saturating_since(began))),
            messages: log.messages.clone(),
            steps: log.steps.clone(),
            failure: log.failure.clone(),
            ..FlowResult::default()
        }
    }
}

/// Adds what a connection of the flow says of itself; the round trips are those of the first one.
fn add_connection(result: &mut FlowResult, tap: &Tap) {
    let (watch, info) = (&tap.watch, tap.watch.last());
    result.retransmits += info.total_retrans;
    result.segments += info.data_segs_out;
    result.rtos += watch.rtos;
    result.episodes += watch.episodes;
    result.undone += watch.undone;
    if result.srtt_mean > 0.0 || watch.srtts.is_empty() {
        return;
    }
    let mut srtts = watch.srtts.clone();
    srtts.sort_by(f64::total_cmp);
    result.srtt_mean = srtts.iter().sum::<f64>() / srtts.len() as f64;
    result.srtt_p50 = percentile(&srtts, 0.50);
    result.srtt_p95 = percentile(&srtts, 0.95);
    result.srtt_p99 = percentile(&srtts, 0.99);
}

fn link_result(now: Instant, link: &Link, window: Option<&Window>, index: usize) -> LinkResult {
    let counters = link.counters();
    let delivered = count(&counters.delivered_bytes);
    let before = window.map_or(0, |window| window.delivered[index]);
    let capacity = link.capacity(now);
    let mut delays = link.delays.clone();
    delays.sort_by(f64::total_cmp);
    LinkResult {
        name: link.name.clone(),
        utilisation: if capacity > 0.0 {
            delivered.saturating_sub(before) as f64 * 8.0 / capacity
        } else {
            0.0
        },
        packets: count(&counters.delivered),
        bytes: delivered,
        lost: count(&counters.lost),
        overflowed: count(&counters.overflowed) + count(&counters.codel_dropped),
        marked: count(&counters.marked),
        queue_delay_mean: link.sojourn_sum as f64 / 1e6 / link.sojourns.max(1) as f64,
        queue_delay_p95: percentile(&delays, 0.95),
        queue_delay_max: millis(link.sojourn_max),
    }
}

/// A change, in the words of the event.
pub(super) fn describe(to: ChangeTo) -> String {
    match to {
        ChangeTo::Rate(rate) => format!("rate {}", Rate(rate)),
        ChangeTo::Delay(delay) => format!("delay {}", Time(delay)),
        ChangeTo::Loss(loss) => format!("loss {}", Share(loss)),
        ChangeTo::Queue(queue) => format!("queue {queue:?}"),
    }
}
