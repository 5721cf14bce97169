//! The simulation: hosts with the real stack, a network of lanes, virtual time.
//!
//! There is no randomness but the seed's and no order but that of times and numbers, so a scenario
//! and a seed give the same run to the bit everywhere.

mod host;
mod network;
mod results;
mod sampler;
mod watch;
mod wire;

use std::io;
use std::net::SocketAddr;

use ustack::device::TxBatch;
use ustack_tcp::time::{Duration, Instant};

use self::host::Host;
use self::network::{Arrivals, Network};
use self::sampler::Recorder;
pub use self::sampler::names as series_names;
use self::watch::Watch;
use self::wire::HostId;
use crate::app::{self, FlowLog, PORT, Socket};
use crate::recording::{Event, Run};
use crate::scenario::{FlowSpec, Scenario};

/// Hosts that a simulation may have: what addresses allow, and far more than is sensible.
pub const MAX_HOSTS: usize = 4096;

/// Runs `scenario` from beginning to end. Errors are those of a stack whose settings cannot work.
pub fn run(scenario: &Scenario, seed: u64) -> io::Result<Run> {
    run_watched(scenario, seed, &mut |_| ())
}

/// [`run`], which tells `watch` at every sample how much time it has simulated since the last one.
pub fn run_watched(
    scenario: &Scenario,
    seed: u64,
    watch: &mut dyn FnMut(Duration),
) -> io::Result<Run> {
    let mut world = World::new(scenario, seed)?;
    let mut told = Instant::ZERO;
    while world.step() {
        if world.sampled > told {
            watch(world.sampled.saturating_since(told));
            told = world.sampled;
        }
    }
    watch(world.end.saturating_since(told));
    Ok(world.finish())
}

/// What a host's connection looks like from outside.
#[derive(Debug)]
struct Tap {
    host: HostId,
    /// What the flow's receiver has got is told here, and not by the flow's other hosts.
    is_first: bool,
    watch: Watch,
    recorder: Recorder,
}

#[derive(Debug)]
struct World<'a> {
    scenario: &'a Scenario,
    now: Instant,
    end: Instant,
    hosts: Hosts,
    network: Network,
    logs: Vec<FlowLog>,
    taps: Vec<Tap>,
    links: Vec<Recorder>,
    events: Vec<Event>,
    changes: usize,
    sample_at: Instant,
    /// When the last sample was taken.
    sampled: Instant,
    window: Option<Window>,
    tx: TxBatch,
}

/// What had happened when the measured window began.
#[derive(Debug)]
struct Window {
    received: Vec<u64>,
    delivered: Vec<u64>,
}

#[derive(Debug)]
struct Hosts(Vec<Host>);

impl Arrivals for Hosts {
    fn arrive(&mut self, host: HostId, packet: Vec<u8>, finished: bool) {
        if let Some(host) = self.0.get_mut(host) {
            host.arrive(packet, finished);
        }
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> io::Result<Self> {
        let wanted = scenario.series.as_deref();
        let count = scenario.flows.iter().map(|flow| flow.legs.len() + 1).sum();
        let mut world = Self {
            now: Instant::ZERO,
            end: Instant::ZERO + scenario.duration,
            hosts: Hosts(Vec::with_capacity(count)),
            network: Network::new(scenario, seed, count),
            logs: vec![FlowLog::default(); scenario.flows.len()],
            taps: Vec::new(),
            links: Vec::new(),
            events: Vec::new(),
            changes: 0,
            sample_at: Instant::ZERO,
            sampled: Instant::ZERO,
            window: None,
            tx: TxBatch::new(),
            scenario,
        };
        for (index, flow) in scenario.flows.iter().enumerate() {
            world.add_flow(index, flow, seed)?;
        }
        for lane in &scenario.lanes {
            world.links.push(Recorder::of_link(&lane.name, wanted));
        }
        Ok(world)
    }

    /// The hosts of a flow: a client, a relay between legs, a server.
    fn add_flow(&mut self, index: usize, flow: &FlowSpec, seed: u64) -> io::Result<()> {
        let first = self.hosts.0.len();
        let last = first + flow.legs.len();
        for id in first..=last {
            let socket = Socket {
                local: SocketAddr::new(wire::address(id), PORT),
                remote: SocketAddr::new(wire::address(last.min(id + 1)), PORT),
                options: flow.options,
                start: flow.start,
            };
            let (label, app) = match id {
                _ if id == first => (flow.name.clone(), flow.job.client(socket)),
                _ if id == last => (flow.name.clone(), flow.job.server(socket)),
                _ => (format!("{} (relay)", flow.name), app::relay(socket)),
            };
            let host = Host::new(id, seed, index, flow, label, app)?;
            self.hosts.0.push(host);
        }
        self.add_tap(first, true);
        for (leg, id) in flow.legs.iter().zip(first..) {
            self.network.connect(id, id + 1, leg.there.clone());
            self.network.connect(id + 1, id, leg.back.clone());
        }
        Ok(())
    }

    /// Begins to look at the connection that a host sends on; returns the tap's number.
    fn add_tap(&mut self, host: HostId, is_first: bool) -> usize {
        let wanted = self.scenario.series.as_deref();
        self.taps.push(Tap {
            host,
            is_first,
            watch: Watch::default(),
            recorder: Recorder::of_flow(&self.hosts.0[host].label, wanted),
        });
        self.taps.len() - 1
    }

    /// Goes to the next moment at which something happens; false at the end.
    fn step(&mut self) -> bool {
        let at = self.next().min(self.end);
        self.now = at;
        if at >= self.scenario.from && self.window.is_none() {
            self.begin_window();
        }
        self.apply_changes();
        loop {
            let moved = self.network.advance(at, &mut self.hosts);
            let turned = self.turn_hosts();
            if !moved && !turned {
                break;
            }
        }
        if at >= self.sample_at {
            self.sample();
            self.sampled = at;
            self.sample_at += self.scenario.sample.max(Duration::from_micros(1));
        }
        at < self.end
    }

    fn next(&self) -> Instant {
        let hosts = self.hosts.0.iter().filter_map(Host::next);
        let change = self.scenario.changes.get(self.changes);
        let window = self.window.is_none().then_some(self.scenario.from);
        let all = hosts
            .chain(self.network.next())
            .chain(change.map(|change| change.at))
            .chain(window);
        all.min()
            .unwrap_or(self.end)
            .clamp(self.now, self.sample_at.max(self.now))
    }

    fn apply_changes(&mut self) {
        while let Some(change) = self.scenario.changes.get(self.changes)
            && change.at <= self.now
        {
            self.network.change(self.now, change);
            let lane = &self.scenario.lanes[change.lane];
            self.events.push(Event {
                at: sampler::at(self.now),
                flow: lane.name.clone(),
                what: results::describe(change.to),
            });
            self.changes += 1;
        }
    }

    fn turn_hosts(&mut self) -> bool {
        let mut turned = false;
        for id in 0..self.hosts.0.len() {
            let host = &mut self.hosts.0[id];
            if !host.is_due(self.now) {
                continue;
            }
            turned = true;
            host.turn(self.now, &mut self.logs[host.flow], &mut self.tx);
            self.transmit(id);
            self.watch(id);
        }
        turned
    }

    fn transmit(&mut self, from: HostId) {
        let mut tx = std::mem::take(&mut self.tx);
        for frame in tx.iter() {
            let to = wire::destination(frame.headers).unwrap_or(from);
            let finished = self.network.needs_checksum(from, to);
            wire::cut(&frame, finished, |packet| {
                self.network.send(self.now, packet, &mut self.hosts);
            });
        }
        tx.clear();
        self.tx = tx;
    }

    /// Looks at the connection that a host sends on.
    fn watch(&mut self, id: HostId) {
        let host = &self.hosts.0[id];
        if host.watched().is_none() {
            return;
        }
        let known = self.taps.iter().position(|tap| tap.host == id);
        let index = known.unwrap_or_else(|| self.add_tap(id, false));
        let host = &self.hosts.0[id];
        let tap = &mut self.taps[index];
        let Some(info) = host.info(self.now).filter(|info| info.snd_mss > 0) else {
            return;
        };
        let at = sampler::at(self.now);
        if tap.watch.on_info(at, &host.label, &info, &mut self.events) {
            tap.recorder.on_info(self.now, &info);
        }
    }

    fn sample(&mut self) {
        for tap in &mut self.taps {
            let host = &self.hosts.0[tap.host];
            if let Some(info) = host.info(self.now).filter(|info| info.snd_mss > 0) {
                tap.recorder.on_info(self.now, &info);
                tap.watch.srtts.extend(info.rtt.map(sampler::millis));
            }
            if tap.is_first {
                let received = self.logs[host.flow].received;
                tap.recorder.on_received(self.now, received);
            }
        }
        for (recorder, link) in self.links.iter_mut().zip(&mut self.network.links) {
            link.lane.advance(self.now);
            if link.is_reported {
                link.delays.push(sampler::millis(link.lane.last_sojourn()));
                recorder.on_link(self.now, link);
            }
        }
    }

    fn begin_window(&mut self) {
        let links = &mut self.network.links;
        for link in links.iter_mut() {
            link.begin_window(self.now);
        }
        self.window = Some(Window {
            received: self.logs.iter().map(|log| log.received).collect(),
            delivered: links
                .iter()
                .map(|link| network::count(&link.counters().delivered_bytes))
                .collect(),
        });
    }
}

#[cfg(test)]
mod tests;
