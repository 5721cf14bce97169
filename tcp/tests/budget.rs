//! Many flows under one small budget: nobody exceeds it, nobody is left out, nobody hangs.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ustack_tcp::memory::Budget;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::seq::{WireSeq, WireWindow};
use ustack_tcp::testing::{Link, Pair, Script, Side, pattern};
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{
    Config, ConnId, Dropped, Ecn, Event, Flags, FlowKey, ListenerId, Options, Read, Segment,
    SocketOptions,
};

/// A flow from the client to the server.
struct Flow {
    client: ConnId,
    server: ConnId,
    /// What the client has to send, and what of it was written and read.
    total: u64,
    written: u64,
    read: u64,
    /// The server's application reads.
    is_read: bool,
    done_at: Option<Instant>,
}

/// Flows whose writers write when they may and wait for [`Event::Writable`] when they may not;
/// readers likewise. The budgets of both ends are looked at after every turn.
struct Load {
    pair: Pair,
    listener: ListenerId,
    flows: Vec<Flow>,
    by_id: [HashMap<ConnId, usize>; 2],
    /// The most that either end has used.
    most: [usize; 2],
}

impl Load {
    fn new(config: &Config, link: Link) -> Self {
        let mut pair = Pair::new(7, config, link);
        pair.quiet = true;
        let listener = pair.listen(1024);
        Self {
            pair,
            listener,
            flows: Vec::new(),
            by_id: Default::default(),
            most: [0; 2],
        }
    }

    /// Opens a flow that is to carry `total` bytes.
    fn open(&mut self, total: u64, is_read: bool) -> usize {
        let client = self.pair.connect(SocketOptions::default());
        let server = loop {
            if let Some((server, _)) = self.pair.end(Side::Server).accept(self.listener) {
                break server;
            }
            assert!(self.turn(), "no connection");
        };
        let index = self.flows.len();
        self.by_id[0].insert(client, index);
        self.by_id[1].insert(server, index);
        self.flows.push(Flow {
            client,
            server,
            total,
            written: 0,
            read: 0,
            is_read,
            done_at: None,
        });
        index
    }

    fn open_many(&mut self, count: usize, total: u64) {
        (0..count).for_each(|_| {
            self.open(total, true);
        });
    }

    fn write(&mut self, index: usize) {
        let (now, flow) = (self.pair.now, &mut self.flows[index]);
        while flow.written < flow.total {
            let len = (flow.total - flow.written).min(64 << 10) as usize;
            let data = pattern(flow.written, len);
            let client = self.pair.end(Side::Client);
            let taken = client.write(now, flow.client, &data).expect("it is open");
            flow.written += taken as u64;
            if taken < len {
                return;
            }
        }
    }

    fn read(&mut self, index: usize) {
        let (now, flow) = (self.pair.now, &mut self.flows[index]);
        while flow.is_read {
            let server = self.pair.end(Side::Server);
            let Read::Data(data) = server.read(now, flow.server, 1 << 20).expect("it is open")
            else {
                return;
            };
            assert_eq!(data, pattern(flow.read, data.len()));
            flow.read += data.len() as u64;
            if flow.read == flow.total {
                flow.done_at = Some(now);
            }
        }
    }

    /// One turn, and what applications do of it. False when nothing is left to happen.
    fn turn(&mut self) -> bool {
        if !self.pair.step() {
            return false;
        }
        for side in [Side::Client, Side::Server] {
            for event in std::mem::take(&mut self.pair.events[side as usize]) {
                match event {
                    Event::Writable(id) if side == Side::Client => self.write(self.by_id[0][&id]),
                    Event::Readable(id) if side == Side::Server => {
                        if let Some(&index) = self.by_id[1].get(&id) {
                            self.read(index);
                        }
                    }
                    Event::Closed(_, reason) => panic!("closed: {reason}"),
                    _ => {}
                }
            }
        }
        self.check();
        true
    }

    fn check(&mut self) {
        for side in [Side::Client, Side::Server] {
            let Some(memory) = self.pair.end(side).memory() else {
                continue;
            };
            assert!(memory.used <= memory.limit, "{side:?}: {memory:?}");
            let most = &mut self.most[side as usize];
            *most = memory.used.max(*most);
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.pair.now + time;
        while self.pair.now < until && self.turn() {}
    }

    /// Everybody writes and reads until those who read have all.
    fn run(&mut self, limit: Duration) {
        let start = self.pair.now;
        for index in 0..self.flows.len() {
            self.write(index);
            self.read(index);
        }
        while self
            .flows
            .iter()
            .any(|flow| flow.is_read && flow.done_at.is_none())
        {
            let left = self
                .flows
                .iter()
                .filter(|flow| flow.done_at.is_none())
                .count();
            assert!(self.turn(), "nothing moves, {left} flows are not done");
            assert!(self.pair.now - start < limit, "{left} flows are not done");
        }
    }

    /// Everybody lets go; nothing may be left behind.
    fn release(&mut self) {
        for flow in &self.flows {
            let now = self.pair.now;
            self.pair.end(Side::Client).release(now, flow.client);
            self.pair.end(Side::Server).release(now, flow.server);
        }
        while self.pair.step() {}
        for side in [Side::Client, Side::Server] {
            let memory = self.pair.end(side).memory();
            assert_eq!(memory.map(|memory| memory.used), Some(0), "{side:?}");
        }
    }
}

fn config(memory: usize) -> Config {
    let mut config = Config::default();
    config.memory = Some(memory);
    config
}

fn rates(load: &Load, start: Instant) -> Vec<f64> {
    let rate = |flow: &Flow| {
        let took = flow.done_at.expect("it is done") - start;
        flow.total as f64 / took.as_secs_f64()
    };
    load.flows
        .iter()
        .filter(|flow| flow.is_read)
        .map(rate)
        .collect()
}

#[test]
fn greedy_flows_share_a_small_budget() {
    let link = Link {
        delay: Duration::from_millis(100),
        ..Link::default()
    };
    let mut load = Load::new(&config(4 << 20), link);
    load.open_many(200, 512 << 10);
    for index in 0..200 {
        load.write(index);
    }
    load.wait(Duration::from_secs(1)); // who came first has had more
    let before: Vec<_> = load.flows.iter().map(|flow| flow.read).collect();
    load.wait(Duration::from_secs(3));
    let read = load
        .flows
        .iter()
        .zip(before)
        .map(|(flow, before)| flow.read - before);
    let read: Vec<_> = read.collect();
    let mean = read.iter().sum::<u64>() / 200;
    for bytes in read {
        assert!(bytes.abs_diff(mean) <= mean / 5, "{bytes} of {mean}");
    }
    load.run(Duration::from_secs(60));
    assert!(
        load.most[0] > 2 << 20,
        "the budget is used: {:?}",
        load.most
    );
    load.release();
}

/// Less than two segments for each.
#[test]
fn the_smallest_budget_is_enough_for_all() {
    for tso in [false, true] {
        let mut config = config(1);
        config.tso = tso;
        let mut load = Load::new(&config, Link::default());
        load.open_many(200, 20_000);
        load.run(Duration::from_secs(60));
        let counters = load.pair.end(Side::Client).counters();
        assert!(counters.writers_starved > 0, "{counters:?}");
        assert!(load.most.iter().all(|&most| most <= Budget::MIN));
        load.release();
    }
}

#[test]
fn losses_do_not_leave_anybody_out() {
    for seed in 0..4 {
        let link = Link {
            loss: 200,
            reorder: 100,
            duplicate: 50,
            ..Link::default()
        };
        let mut load = Load::new(&config(256 << 10), link);
        (0..seed).for_each(|_| {
            load.pair.random();
        });
        load.open_many(60, 30_000);
        load.run(Duration::from_secs(600));
        load.release();
    }
}

/// It costs the others what it may hold unread, and no time.
#[test]
fn one_that_does_not_read_costs_the_others_nothing_but_its_share() {
    let took = |with: bool| {
        let mut load = Load::new(&config(4 << 20), Link::default());
        if with {
            load.open(4 << 20, false);
        }
        load.open_many(30, 512 << 10);
        let start = load.pair.now;
        load.run(Duration::from_secs(60));
        let unread = load.pair.end(Side::Server).memory().unwrap().used;
        let rates = rates(&load, start);
        load.release();
        (rates.iter().sum::<f64>() / rates.len() as f64, unread)
    };
    let (alone, nothing) = took(false);
    let (beside, unread) = took(true);
    assert_eq!(nothing, 0);
    let initial = Config::default().recv_buffer_initial as usize;
    assert!(unread <= 2 * initial, "{unread}");
    assert!(beside >= 0.9 * alone, "{beside} of {alone}");
}

/// Nobody reads, and the client's memory is full of what the server's windows do not take. Then one
/// flow is read, and a writer that has nothing queued of its own hears of it.
#[test]
fn a_writer_that_waits_for_the_budget_alone_is_woken() {
    let mut load = Load::new(&config(1), Link::default());
    let ample = Budget::new(64 << 20, 1);
    load.pair.end(Side::Server).share_budget(&ample);
    for _ in 0..60 {
        load.open(1 << 20, false);
    }
    for index in 0..60 {
        load.write(index);
    }
    load.wait(Duration::from_secs(5));
    let last = load.open(1000, true);
    load.read(last);
    load.write(last);
    assert_eq!(load.flows[last].written, 0, "there is memory left");
    load.wait(Duration::from_secs(5));
    assert_eq!(load.flows[last].written, 0);
    for index in 0..60 {
        load.flows[index].is_read = true;
        load.read(index);
    }
    let until = load.pair.now + Duration::from_secs(600);
    while load.flows[last].done_at.is_none() {
        assert!(load.pair.now < until && load.turn(), "it was never woken");
    }
}

/// The first data segment of these flows never arrives: all that follows waits above a gap.
fn lose_first_data(from: &Arc<Mutex<Vec<u16>>>) -> Script {
    let hoarders = Arc::clone(from);
    let mut first = HashMap::new();
    Script::new(move |_, from, sent| {
        let hoards = hoarders.lock().unwrap().contains(&sent.flow.local.port());
        if from != Side::Client || !hoards || sent.segment.payload.is_empty() {
            return Some(Duration::ZERO);
        }
        let lost = *first.entry(sent.flow).or_insert(sent.segment.seq);
        (sent.segment.seq != lost).then_some(Duration::ZERO)
    })
}

#[test]
fn bytes_above_gaps_do_not_keep_memory_from_others() {
    let ports = Arc::new(Mutex::new(Vec::new()));
    let mut load = Load::new(&config(1 << 20), Link::default());
    // The sender's memory is not the point.
    load.pair
        .end(Side::Client)
        .share_budget(&Budget::new(64 << 20, 1));
    load.pair.script = Some(lose_first_data(&ports));
    for _ in 0..60 {
        let index = load.open(1 << 20, false);
        let id = load.flows[index].client;
        let flow = load
            .pair
            .end(Side::Client)
            .connections()
            .find(|summary| summary.id == id);
        ports.lock().unwrap().push(flow.unwrap().flow.local.port());
    }
    for index in 0..60 {
        load.write(index);
    }
    load.wait(Duration::from_secs(1));
    assert!(
        load.most[1] > 700 << 10,
        "they fill what they can: {:?}",
        load.most
    );
    load.open_many(10, 200_000);
    load.run(Duration::from_secs(60));
    let counters = load.pair.end(Side::Server).counters();
    assert!(counters.memory_pressures > 0, "{counters:?}");
    assert!(counters.ofo_pruned > 0, "{counters:?}");
}

/// While nothing that arrives can be kept, SYNs wait for better times, and cost nothing.
#[test]
fn a_flood_of_syns_under_pressure_costs_nothing() {
    let mut config = config(1 << 20);
    config.recv_buffer_initial = 1 << 20;
    let mut load = Load::new(&config, Link::default());
    load.pair
        .end(Side::Client)
        .share_budget(&Budget::new(64 << 20, 1));
    for _ in 0..60 {
        load.open(1 << 20, false);
    }
    for index in 0..60 {
        load.write(index);
    }
    load.wait(Duration::from_secs(30));
    let before = load.pair.end(Side::Server).memory().unwrap();
    assert!(before.under_pressure, "{before:?}");
    let connections = load.pair.end(Side::Server).connection_count();
    let server = "10.0.0.2:80".parse().unwrap();
    for n in 0..10_000u32 {
        let remote = format!("10.1.{}.{}:{}", n >> 8 & 255, n & 255, 1024 + n)
            .parse()
            .unwrap();
        let flow = FlowKey::new(server, remote);
        let syn = Segment {
            seq: WireSeq(n),
            ack: WireSeq(0),
            window: WireWindow(1000),
            flags: Flags::SYN,
            options: Options::Syn(SynOptions::default()),
            payload: Bytes::new(),
            urgent: 0,
            mss: NonZeroU16::MIN,
        };
        let now = load.pair.now;
        let outcome = load
            .pair
            .end(Side::Server)
            .on_segment(now, &flow, true, Ecn::NotEct, syn);
        assert_eq!(outcome, Err(Dropped::NoMemory));
    }
    let after = load.pair.end(Side::Server).memory().unwrap();
    assert_eq!(after.used, before.used);
    assert_eq!(load.pair.end(Side::Server).connection_count(), connections);
    let counters = load.pair.end(Side::Server).counters();
    assert_eq!(counters.dropped_for(Dropped::NoMemory), 10_000);
    for index in 0..60 {
        load.flows[index].is_read = true;
    }
    load.run(Duration::from_secs(600));
    load.open_many(1, 1000);
    load.run(Duration::from_secs(60));
}

/// Two endpoints of one budget, as shards have.
#[test]
fn endpoints_share_a_budget() {
    let mut load = Load::new(&Config::default(), Link::default());
    let budget = Budget::new(2 << 20, 2);
    for side in [Side::Client, Side::Server] {
        load.pair.end(side).share_budget(&budget);
    }
    for _ in 0..5 {
        load.open(1 << 20, false);
    }
    load.open_many(100, 100_000);
    for index in 0..5 {
        load.write(index);
    }
    load.run(Duration::from_secs(60));
    assert!(
        load.most.iter().sum::<usize>() > 512 << 10,
        "{:?}",
        load.most
    );
    for index in 0..5 {
        load.flows[index].is_read = true;
        load.read(index);
    }
    load.run(Duration::from_secs(600));
    load.release();
}

/// Who opens a connection with data in its SYN holds that until the connection has it.
#[test]
fn early_data_is_charged() {
    let mut load = Load::new(&config(1), Link::default());
    let (now, local) = (load.pair.now, "10.0.0.1:0".parse().unwrap());
    let data = pattern(0, 100_000);
    let client = load.pair.end(Side::Client);
    let mut taken = Vec::new();
    for port in 1000..1020u16 {
        let remote = format!("10.0.0.2:{port}").parse().unwrap();
        let flow = FlowKey::new(local, remote);
        let opened = client.connect_with_data(now, flow, SocketOptions::default(), &data);
        taken.push(opened.unwrap().2);
    }
    let memory = client.memory().unwrap();
    assert_eq!(memory.used, taken.iter().sum::<usize>());
    assert!(
        memory.used <= memory.limit && taken[0] > 0 && taken[19] == 0,
        "{taken:?}"
    );
    while load.pair.step() {}
    assert_eq!(
        load.pair.end(Side::Client).memory().unwrap().used,
        0,
        "they were refused"
    );
}
