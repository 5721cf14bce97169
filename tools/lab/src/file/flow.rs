//! From a `[[flow]]` to its hosts' settings, its way and its applications.

use ustack::device::impair::ImpairSpec;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{CongestionAlgorithm, EcnMode, LossDetection, Pacing, SocketOptions};

use super::build::{find, unknown_link};
use super::error::Problem;
use super::sections::{Algorithm, Carrier, Detection, FlowTable, Kind, LinkTable, Paced};
use crate::app::{Bulk, Job, Messages, Phases, RequestStep, Requests, Transport};
use crate::scenario::{FlowSpec, LaneSpec, Leg};
use crate::units::{Size, Time};

/// The MTU of hosts' devices.
const MTU: u16 = 1500;
/// IPv4 and UDP headers.
const UDP_HEADERS: u64 = 28;
/// Requests, answers and messages at most.
const MAX_SIZE: u64 = 1 << 30;
/// Messages of a flow at most: each is recorded.
const MAX_MESSAGES: u128 = 1_000_000;

/// The legs of a flow, before its own delay.
#[derive(Debug)]
pub(super) struct Path(Vec<Leg>);

impl Path {
    pub(super) fn new(table: &FlowTable, links: &[LinkTable]) -> Result<Self, Problem> {
        let key = |key: &str| format!("flow.{}.{key}", table.name);
        let names: Vec<&str> = match &table.path {
            Some(path) => path.iter().map(String::as_str).collect(),
            None => links.iter().map(|link| link.name.as_str()).collect(),
        };
        if names.is_empty() {
            return Err(Problem::new(
                key("path"),
                "a flow crosses one link at least",
            ));
        }
        let mut parts = vec![Vec::new()];
        for (at, name) in names.iter().enumerate() {
            let link = find(links, name).ok_or_else(|| unknown_link(&key("path"), name, links))?;
            if let Some(part) = parts.last_mut() {
                part.push(link);
            }
            if table.split.as_deref() == Some(*name) && at + 1 < names.len() {
                parts.push(Vec::new());
            }
        }
        if let Some(split) = &table.split
            && parts.len() == 1
        {
            let message = format!("`{split}` is not a link of the path with another one behind it");
            return Err(Problem::new(key("split"), message));
        }
        if table.reverse {
            parts.reverse();
        }
        let legs = parts.iter().map(|part| leg(part, table.reverse));
        Ok(Self(legs.collect()))
    }
}

/// Forward lanes have even numbers, the way back of each the odd one after it.
fn leg(links: &[usize], reverse: bool) -> Leg {
    let forward = links.iter().map(|link| 2 * link).collect();
    let back = links.iter().rev().map(|link| 2 * link + 1).collect();
    if reverse {
        Leg {
            there: back,
            back: forward,
        }
    } else {
        Leg {
            there: forward,
            back,
        }
    }
}

/// One copy of a flow. Its own share of the round trip is a private wire, added to `lanes`.
pub(super) fn build(
    table: &FlowTable,
    copy: usize,
    path: &Path,
    lanes: &mut Vec<LaneSpec>,
    duration: Duration,
) -> Result<FlowSpec, Problem> {
    let name = if table.count == 1 {
        table.name.clone()
    } else {
        format!("{}-{}", table.name, copy + 1)
    };
    check_keys(table)?;
    let start = Instant::ZERO + table.start.0 + table.stagger.0 * copy as u32;
    let stop = Instant::ZERO + table.stop.map_or(duration, |stop| stop.0);
    if start >= stop {
        let message = "the flow stops before it starts";
        return Err(Problem::new(format!("flow.{}.start", table.name), message));
    }
    let is_udp = table.transport == Some(Carrier::Udp);
    let mut flow = FlowSpec {
        algorithm: if is_udp {
            "udp".into()
        } else {
            algorithm(table).0.into()
        },
        job: job(table, stop)?,
        start,
        stop,
        legs: path.0.clone(),
        tcp: tcp(table),
        options: options(table)?,
        mtu: table.mtu.unwrap_or(MTU),
        tso: table.tso.unwrap_or(true),
        name,
    };
    if flow.mtu < 68 {
        let message = "an IPv4 host's MTU is 68 at least (RFC 791)";
        return Err(Problem::new(format!("flow.{}.mtu", table.name), message));
    }
    add_delay(table, &mut flow, lanes)?;
    Ok(flow)
}

/// What the links do not give of the flow's round-trip time comes from a wire before its client.
fn add_delay(
    table: &FlowTable,
    flow: &mut FlowSpec,
    lanes: &mut Vec<LaneSpec>,
) -> Result<(), Problem> {
    let key = format!("flow.{}.rtt", table.name);
    let base = flow.base_rtt(lanes);
    let wanted = table.rtt.map_or(base, |rtt| rtt.0);
    if wanted < base {
        let message = format!("the links alone take {}", Time(base));
        return Err(Problem::new(key, message));
    }
    if wanted.is_zero() {
        let message = "the round trip takes no time: give a link a `delay`, or the flow an `rtt`";
        return Err(Problem::new(key, message));
    }
    if wanted > base
        && let Some(leg) = flow.legs.first_mut()
    {
        leg.back.push(lanes.len());
        lanes.push(LaneSpec {
            name: format!("{} (wire)", flow.name),
            spec: ImpairSpec {
                delay: wanted.saturating_sub(base),
                ..ImpairSpec::default()
            },
            is_reported: false,
        });
    }
    Ok(())
}

/// A key that the flow's kind does not have is a mistake.
fn check_keys(table: &FlowTable) -> Result<(), Problem> {
    use Kind::*;
    let keys = [
        ("bytes", table.bytes.is_some(), Bulk, "bulk"),
        ("on", table.on.is_some(), OnOff, "onoff"),
        ("off", table.off.is_some(), OnOff, "onoff"),
        ("transport", table.transport.is_some(), Messages, "messages"),
        ("size", table.size.is_some(), Messages, "messages"),
        ("every", table.every.is_some(), Messages, "messages"),
        ("number", table.number.is_some(), Messages, "messages"),
        ("fast_open", table.fast_open.is_some(), Requests, "requests"),
        ("steps", table.steps.is_some(), Requests, "requests"),
    ];
    for (key, is_given, kind, kind_name) in keys {
        if is_given && kind != table.kind {
            let message = format!("only flows of kind = \"{kind_name}\" have this key");
            return Err(Problem::new(format!("flow.{}.{key}", table.name), message));
        }
    }
    if table.count == 0 || table.count > crate::sim::MAX_HOSTS {
        let message = format!("a number from 1 to {}", crate::sim::MAX_HOSTS);
        return Err(Problem::new(format!("flow.{}.count", table.name), message));
    }
    if table.transport == Some(Carrier::Udp) && table.split.is_some() {
        let message = "relays pass connections on, not datagrams";
        return Err(Problem::new(format!("flow.{}.split", table.name), message));
    }
    Ok(())
}

/// The value of a key that flows of this kind cannot do without.
fn need<T: Clone>(table: &FlowTable, key: &str, value: Option<&T>) -> Result<T, Problem> {
    value.cloned().ok_or_else(|| {
        let message = format!("a flow of this kind needs `{key}`");
        Problem::new(format!("flow.{}.{key}", table.name), message)
    })
}

fn job(table: &FlowTable, stop: Instant) -> Result<Job, Problem> {
    let stop_at = table.stop.is_some().then_some(stop);
    Ok(match table.kind {
        Kind::Bulk => Job::Bulk(Bulk {
            bytes: table.bytes.map(|bytes| bytes.0),
            stop: stop_at,
            phases: None,
        }),
        Kind::OnOff => Job::Bulk(Bulk {
            bytes: None,
            stop: stop_at,
            phases: Some(Phases {
                on: need(table, "on", table.on.as_ref())?.0,
                off: need(table, "off", table.off.as_ref())?.0,
            }),
        }),
        Kind::Messages => Job::Messages(messages(table, stop)?),
        Kind::Requests => Job::Requests(requests(table)?),
    })
}

fn messages(table: &FlowTable, stop: Instant) -> Result<Messages, Problem> {
    let transport = match table.transport.unwrap_or_default() {
        Carrier::Tcp => Transport::Tcp,
        Carrier::Udp => Transport::Udp,
    };
    let size = need(table, "size", table.size.as_ref())?.0;
    let most = match transport {
        Transport::Tcp => MAX_SIZE,
        // Fragments would be another experiment.
        Transport::Udp => u64::from(table.mtu.unwrap_or(MTU)).saturating_sub(UDP_HEADERS),
    };
    let least = Messages::HEADER as u64;
    if !(least..=most).contains(&size) {
        let message = format!("a message has {least} to {most} bytes");
        return Err(Problem::new(format!("flow.{}.size", table.name), message));
    }
    let every = need(table, "every", table.every.as_ref())?.0;
    if every < Duration::from_micros(1) {
        let message = "at least \"1us\"";
        return Err(Problem::new(format!("flow.{}.every", table.name), message));
    }
    let until_stop = stop.saturating_since(Instant::ZERO).as_nanos() / every.as_nanos();
    let messages = table.number.map_or(until_stop, u128::from).min(until_stop);
    if messages > MAX_MESSAGES {
        let message = format!("a flow has at most {MAX_MESSAGES} messages");
        return Err(Problem::new(format!("flow.{}.every", table.name), message));
    }
    Ok(Messages {
        transport,
        size: size as usize,
        every,
        number: table.number,
        stop: Some(stop),
    })
}

fn requests(table: &FlowTable) -> Result<Requests, Problem> {
    let steps = need(table, "steps", table.steps.as_ref())?;
    let key = format!("flow.{}.steps", table.name);
    if steps.is_empty() {
        return Err(Problem::new(key, "one step at least"));
    }
    let is_bad = |size: Size| !(1..=MAX_SIZE).contains(&size.0);
    if let Some(step) = steps
        .iter()
        .find(|step| is_bad(step.send) || is_bad(step.receive))
    {
        let message = format!(
            "`{}`: send and receive are 1 byte to {MAX_SIZE}",
            step.label
        );
        return Err(Problem::new(key, message));
    }
    let steps = steps.into_iter().map(|step| RequestStep {
        label: step.label,
        send: step.send.0,
        receive: step.receive.0,
        think: step.think.0,
    });
    Ok(Requests {
        fast_open: table.fast_open.unwrap_or(false),
        steps: steps.collect(),
    })
}

fn algorithm(table: &FlowTable) -> (&'static str, CongestionAlgorithm) {
    match table.congestion.unwrap_or_default() {
        Algorithm::Reno => ("reno", CongestionAlgorithm::Reno),
        Algorithm::Cubic => ("cubic", CongestionAlgorithm::Cubic),
        Algorithm::Bbr => ("bbr", CongestionAlgorithm::Bbr),
    }
}

fn tcp(table: &FlowTable) -> ustack_tcp::Config {
    let mut config = ustack_tcp::Config::default();
    config.congestion = algorithm(table).1;
    config.hystart = table.hystart.unwrap_or(config.hystart);
    config.timestamps = table.timestamps.unwrap_or(config.timestamps);
    config.quick_acks = table.quick_acks.map_or(config.quick_acks, |acks| acks as _);
    if let Some(ecn) = table.ecn {
        config.ecn = if ecn { EcnMode::On } else { EcnMode::Off };
    }
    config.pacing = match table.pacing {
        Some(Paced::SlowStart) => Pacing::SlowStart,
        Some(Paced::On) => Pacing::On,
        // What is looked at is the window's doing, so nothing else shapes the traffic unasked.
        Some(Paced::Off) | None => Pacing::Off,
    };
    match table.detection {
        Some(Detection::Rack) => config.loss_detection = LossDetection::Rack,
        Some(Detection::Rfc6675) => config.loss_detection = LossDetection::Rfc6675,
        None => {}
    }
    config
}

fn options(table: &FlowTable) -> Result<SocketOptions, Problem> {
    let buffer = |key: &str, size: Option<Size>| match size {
        Some(Size(bytes)) if !(1024..=1 << 30).contains(&bytes) => Err(Problem::new(
            format!("flow.{}.{key}", table.name),
            "a buffer has 1024 bytes to 1GiB",
        )),
        size => Ok(size.map(|size| size.0 as u32)),
    };
    Ok(SocketOptions {
        nodelay: table.nodelay.unwrap_or(false),
        send_buffer: buffer("send_buffer", table.send_buffer)?,
        recv_buffer: buffer("recv_buffer", table.recv_buffer)?,
        ..SocketOptions::default()
    })
}
