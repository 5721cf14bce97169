//! From a file to the scenario that it describes.

use ustack::device::impair::{ImpairSpec, QueueLimit};
use ustack_tcp::time::{Duration, Instant};

use super::error::Problem;
use super::flow::{self, Path};
use super::sections::{ChangeTable, File, LaneTable, LinkTable};
use crate::scenario::{Change, ChangeTo, FlowSpec, LaneSpec, Scenario};
use crate::sim;
use crate::tables;
use crate::units::{Queue, Rate};

/// Samples of a run at most; and what a run has by itself.
const MAX_SAMPLES: u128 = 1_000_000;
const SAMPLES: u32 = 1000;
/// The shortest interval of sampling that nobody asked for.
const SAMPLE: Duration = Duration::from_millis(10);
/// The least that a queue holds: one packet.
const MIN_QUEUE: f64 = 1500.0;

/// The scenario of `file`.
pub(super) fn build(file: &File) -> Result<Scenario, Problem> {
    let head = &file.experiment;
    let duration = head.duration.0;
    if duration.is_zero() {
        return Err(Problem::new(
            "experiment.duration",
            "nothing happens in no time",
        ));
    }
    let sample = head
        .sample
        .map_or((duration / SAMPLES).max(SAMPLE), |time| time.0);
    if sample.is_zero() || duration.as_nanos() / sample.as_nanos() > MAX_SAMPLES {
        let message = format!("a run has at most {MAX_SAMPLES} samples");
        return Err(Problem::new("experiment.sample", message));
    }
    if head.from.0 >= duration {
        let message = "results count from a moment before the end, given by `duration`";
        return Err(Problem::new("experiment.from", message));
    }
    check_report(file)?;
    let mut lanes = lanes(file)?;
    let flows = flows(file, &mut lanes)?;
    for (index, link) in file.link.iter().enumerate() {
        for (lane, table, key) in [
            (2 * index, link.forward(), "link"),
            (2 * index + 1, link.back.clone(), "back"),
        ] {
            let rtt = longest_rtt(&flows, &lanes, lane);
            let key = if key == "link" {
                format!("link.{}", link.name)
            } else {
                format!("link.{}.back", link.name)
            };
            lanes[lane].spec = spec(&key, &table, lanes[lane].spec.delay, rtt)?;
        }
    }
    let changes = changes(file, &flows, &lanes)?;
    Ok(Scenario {
        lanes,
        flows,
        changes,
        duration,
        sample,
        from: Instant::ZERO + head.from.0,
        series: file.report.series.clone(),
    })
}

fn check_report(file: &File) -> Result<(), Problem> {
    let series: Vec<_> = sim::series_names().collect();
    check_words("report.series", file.report.series.as_deref(), &series)?;
    let columns: Vec<_> = tables::column_names().collect();
    check_words("report.columns", file.report.columns.as_deref(), &columns)
}

fn check_words(key: &str, words: Option<&[String]>, allowed: &[&str]) -> Result<(), Problem> {
    let mut words = words.unwrap_or_default().iter();
    match words.find(|word| !allowed.contains(&word.as_str())) {
        Some(word) => Err(Problem::new(
            key,
            format!("`{word}` is not one of {}", allowed.join(", ")),
        )),
        None => Ok(()),
    }
}

/// Two lanes for each link, with their delays only: what is in bandwidth-delay products waits for
/// the flows.
fn lanes(file: &File) -> Result<Vec<LaneSpec>, Problem> {
    if file.link.is_empty() {
        return Err(Problem::new(
            "link",
            "there is no [[link]]: flows need one at least",
        ));
    }
    let mut lanes: Vec<LaneSpec> = Vec::new();
    for link in &file.link {
        if lanes.iter().any(|lane| lane.name == link.name) {
            let message = format!("two links are called `{}`", link.name);
            return Err(Problem::new(format!("link.{}", link.name), message));
        }
        let delay = link.delay.unwrap_or_default().0;
        let back = link.back.delay.map_or(delay, |delay| delay.0);
        for (name, delay) in [
            (link.name.clone(), delay),
            (format!("{} (back)", link.name), back),
        ] {
            lanes.push(LaneSpec {
                name,
                spec: ImpairSpec {
                    delay,
                    ..ImpairSpec::default()
                },
                is_reported: true,
            });
        }
    }
    Ok(lanes)
}

fn flows(file: &File, lanes: &mut Vec<LaneSpec>) -> Result<Vec<FlowSpec>, Problem> {
    if file.flow.is_empty() {
        return Err(Problem::new(
            "flow",
            "there is no [[flow]]: nobody sends anything",
        ));
    }
    let mut flows: Vec<FlowSpec> = Vec::new();
    for (index, table) in file.flow.iter().enumerate() {
        if file.flow[..index]
            .iter()
            .any(|other| other.name == table.name)
        {
            let message = format!("two flows are called `{}`", table.name);
            return Err(Problem::new(format!("flow.{}", table.name), message));
        }
        let path = Path::new(table, &file.link)?;
        for copy in 0..table.count {
            let flow = flow::build(table, copy, &path, lanes, file.experiment.duration.0)?;
            flows.push(flow);
            let hosts: usize = flows.iter().map(|flow| flow.legs.len() + 1).sum();
            if hosts > sim::MAX_HOSTS {
                let message = format!("a simulation has at most {} hosts", sim::MAX_HOSTS);
                return Err(Problem::new(format!("flow.{}.count", table.name), message));
            }
        }
    }
    Ok(flows)
}

/// The largest base round trip among the flows that cross a lane.
fn longest_rtt(flows: &[FlowSpec], lanes: &[LaneSpec], lane: usize) -> Option<Duration> {
    let crosses = |flow: &&FlowSpec| {
        let mut legs = flow.legs.iter();
        legs.any(|leg| leg.there.contains(&lane) || leg.back.contains(&lane))
    };
    let crossing = flows.iter().filter(crosses);
    crossing.map(|flow| flow.base_rtt(lanes)).max()
}

fn queue(
    key: &str,
    queue: Queue,
    rate: Option<Rate>,
    rtt: Option<Duration>,
) -> Result<QueueLimit, Problem> {
    match queue {
        Queue::Packets(packets) => Ok(QueueLimit::Packets(packets)),
        Queue::Bytes(bytes) => Ok(QueueLimit::Bytes(bytes)),
        Queue::Bdp(times) => {
            let (Some(rate), Some(rtt)) = (rate, rtt) else {
                let message = "a queue in `bdp` needs a `rate` and a flow that crosses the link";
                return Err(Problem::new(format!("{key}.queue"), message));
            };
            let bytes = rate.bytes_in(rtt) as f64 * times;
            Ok(QueueLimit::Bytes(bytes.max(MIN_QUEUE) as usize))
        }
    }
}

/// The keys of a lane in the grammar of [`ImpairSpec`], whose own checks hold.
fn spec(
    key: &str,
    lane: &LaneTable,
    delay: Duration,
    rtt: Option<Duration>,
) -> Result<ImpairSpec, Problem> {
    let mut parts = vec![format!("delay={}", crate::units::Time(delay))];
    let mut add = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{name}={value}")));
    };
    add("rate", lane.rate.map(|rate| rate.to_string()));
    add("jitter", lane.jitter.map(|time| time.to_string()));
    for (name, share) in [
        ("loss", lane.loss),
        ("reorder", lane.reorder),
        ("duplicate", lane.duplicate),
        ("corrupt", lane.corrupt),
        ("ce", lane.ce),
    ] {
        add(name, share.map(|share| share.to_string()));
    }
    add("gemodel", lane.gemodel.clone());
    add("drop", lane.drop.clone());
    add("hold", lane.hold.map(|time| time.to_string()));
    add("mtu", lane.mtu.map(|mtu| mtu.to_string()));
    add("target", lane.target.map(|time| time.to_string()));
    add("interval", lane.interval.map(|time| time.to_string()));
    if lane.codel == Some(true) {
        parts.push("codel".into());
    }
    let mut spec: ImpairSpec = parts
        .join(",")
        .parse()
        .map_err(|error| Problem::new(key, format!("{error}")))?;
    if let Some(limit) = lane.queue {
        spec.queue = Some(queue(key, limit, lane.rate, rtt)?);
    }
    Ok(spec)
}

fn changes(file: &File, flows: &[FlowSpec], lanes: &[LaneSpec]) -> Result<Vec<Change>, Problem> {
    let mut changes = Vec::new();
    for (index, table) in file.change.iter().enumerate() {
        let key = format!("change.{index}");
        let link = find(&file.link, &table.link)
            .ok_or_else(|| unknown_link(&format!("{key}.link"), &table.link, &file.link))?;
        let lane = 2 * link + usize::from(table.back);
        let rate = table.rate.or(lanes[lane].spec.rate.map(Rate));
        let rtt = longest_rtt(flows, lanes, lane);
        let before = changes.len();
        for to in changed(&key, table, rate, rtt)? {
            changes.push(Change {
                at: Instant::ZERO + table.at.0,
                lane,
                to,
            });
        }
        if changes.len() == before {
            let message = "nothing changes: give rate, delay, loss or queue";
            return Err(Problem::new(key, message));
        }
    }
    changes.sort_by_key(|change| change.at);
    Ok(changes)
}

fn changed(
    key: &str,
    table: &ChangeTable,
    rate: Option<Rate>,
    rtt: Option<Duration>,
) -> Result<Vec<ChangeTo>, Problem> {
    let queue = table
        .queue
        .map(|limit| queue(key, limit, rate, rtt))
        .transpose()?;
    let all = [
        table.rate.map(|rate| ChangeTo::Rate(rate.0)),
        table.delay.map(|delay| ChangeTo::Delay(delay.0)),
        table.loss.map(|loss| ChangeTo::Loss(loss.0)),
        queue.map(ChangeTo::Queue),
    ];
    Ok(all.into_iter().flatten().collect())
}

pub(super) fn find(links: &[LinkTable], name: &str) -> Option<usize> {
    links.iter().position(|link| link.name == name)
}

pub(super) fn unknown_link(key: &str, name: &str, links: &[LinkTable]) -> Problem {
    let known: Vec<_> = links
        .iter()
        .map(|link| format!("`{}`", link.name))
        .collect();
    Problem::new(
        key,
        format!("there is no link `{name}`, but {}", known.join(", ")),
    )
}
