//! One run: two hosts, the link between them, applications at both ends, and virtual time.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use referee::Violation;
use referee::packet::{self, Checksums};
use ustack::device::impair::Lane;
use ustack_tcp::time::{Duration, Instant};

use crate::capture::Seen;
use crate::pattern::Pattern;
use crate::report::{EndReport, Ended, ORPHAN_LIMIT};
use crate::script::{End, Opener, PORT, Ports, Program, Start};
use crate::sim::case::Case;
use crate::sim::fault::Saboteur;
use crate::sim::peer::{self, Peer};
use crate::sim::player::Player;
use crate::sim::settings::Settings;
use crate::sim::wire::Wire;

/// Rounds at one moment before it counts as a busy loop.
const ROUNDS: u32 = 20_000;
/// How long a listener waits for a connection whose opener has given up.
const LATE: Duration = Duration::from_secs(250);
/// How long hosts may remember things after everything is over, besides TIME-WAIT: path MTUs stay
/// for ten minutes.
const QUIET: Duration = Duration::from_secs(800);

/// Who has spoken for so long without being heard may give up: the last of a dozen doubled timeouts,
/// or of the six of a handshake.
const VAIN: Duration = Duration::from_secs(30);

/// How long after its time a run may go without a byte read, and how long it may take in all.
const PATIENCE: Duration = Duration::from_secs(900);
const LONGEST: Duration = Duration::from_secs(86_400);

/// What happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    /// What the ends of each connection saw.
    pub(crate) flows: Vec<[EndReport; 2]>,
    /// What is wrong with the run as a whole.
    pub(crate) wrong: Vec<String>,
    /// What the referee found on the wire.
    pub(crate) violations: Vec<Violation>,
    /// What passed the ends of the link, if that was to be kept.
    pub(crate) seen: Vec<Seen>,
    /// How long it took, up to the last moment at which something happened.
    pub(crate) time: Duration,
    /// Packets that were sent.
    pub(crate) packets: u64,
    /// Packets that did not arrive.
    pub(crate) lost: u64,
}

/// A connection under way.
#[derive(Debug)]
struct Run<'a> {
    players: [Player<'a>; 2],
    begun: bool,
    /// When each end was done.
    done: [Option<Instant>; 2],
    /// When the first of the two ends was done.
    ending: Option<Instant>,
    /// When each end sent anything of the connection last, and when anything reached it.
    spoke: [Option<Instant>; 2],
    heard: [Option<Instant>; 2],
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        self.players.iter().all(Player::is_done)
    }

    fn reports(&self) -> [EndReport; 2] {
        End::BOTH.map(|end| {
            let (ours, theirs) = (self.done[end as usize], self.done[end.peer() as usize]);
            let outlived = ours
                .zip(theirs)
                .is_some_and(|(ours, theirs)| theirs >= ours + ORPHAN_LIMIT);
            let (spoke, heard) = (self.spoke[end as usize], self.heard[end.peer() as usize]);
            let in_vain = spoke.is_some_and(|at| heard.is_none_or(|heard| at >= heard + VAIN));
            EndReport {
                outlived,
                in_vain,
                ..*self.players[end as usize].report()
            }
        })
    }
}

#[derive(Debug)]
pub(crate) struct World<'a> {
    case: &'a Case,
    now: Instant,
    hosts: [Box<dyn Peer>; 2],
    /// From A, from B.
    lanes: [Lane; 2],
    runs: Vec<Run<'a>>,
    /// Connections that are not over.
    open: Vec<usize>,
    wakes: [Option<Instant>; 2],
    wire: Wire,
    saboteur: Option<Saboteur>,
    /// Digests of the segments that each end sent into a lane that damages some.
    sent: [HashSet<u64>; 2],
    out: Vec<Vec<u8>>,
    wrong: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(case: &'a Case, record: bool) -> io::Result<Self> {
        let begin = Instant::ZERO + case.begin;
        let keepalive = case.script.resets();
        let mut hosts = Vec::new();
        for end in End::BOTH {
            let secret = case.secret.wrapping_add(end as u64);
            let (stack, settings) = (case.stacks[end as usize], &case.settings[end as usize]);
            let host = peer::host(stack, end, case.v6, settings, secret, keepalive, begin)?;
            hosts.push(host);
        }
        let [a, b] = hosts.try_into().expect("two hosts");
        let lanes = &case.lanes;
        let mut world = Self {
            case,
            now: begin,
            hosts: [a, b],
            lanes: [
                Lane::new(lanes[0].clone(), 0),
                Lane::new(lanes[1].clone(), 1),
            ],
            runs: Vec::new(),
            open: (0..case.script.flows.len()).collect(),
            wakes: [Some(begin); 2],
            wire: Wire::new(record),
            saboteur: case.fault.map(Saboteur::new),
            sent: [HashSet::new(), HashSet::new()],
            out: Vec::new(),
            wrong: Vec::new(),
        };
        world.set_up();
        Ok(world)
    }

    fn set_up(&mut self) {
        let flows = &self.case.script.flows;
        for (index, flow) in flows.iter().enumerate() {
            let players = End::BOTH.map(|end| {
                let ours = Pattern::new(index, end);
                let theirs = Pattern::new(index, end.peer());
                Player::new(&flow.programs[end as usize], ours, theirs)
            });
            self.runs.push(Run {
                players,
                begun: false,
                done: [None; 2],
                ending: None,
                spoke: [None; 2],
                heard: [None; 2],
            });
        }
        for end in End::BOTH {
            let accepts = flows
                .iter()
                .filter(|flow| flow.opener == Opener::One(end.peer()));
            self.hosts[end as usize].listen(PORT, accepts.count());
        }
    }

    /// Runs to the end: everything over and quiet, or the time up.
    pub(crate) fn run(&mut self) -> Ran {
        let begin = self.now;
        let deadline = begin + allowance(self.case);
        let mut last = self.run_until(deadline, |world| world.open.is_empty());
        // What moves on, however slowly, is not stuck.
        let mut read = 0;
        while !self.open.is_empty() && self.bytes_read() > read && self.now < begin + LONGEST {
            read = self.bytes_read();
            last = self.run_until(self.now + PATIENCE, |world| world.open.is_empty());
        }
        if self.open.is_empty() {
            for host in &mut self.hosts {
                host.close_listener(self.now);
            }
            let lingers = self.case.settings.iter().map(Settings::lingers);
            let quiet = self.now + lingers.max().unwrap_or_default() + QUIET;
            self.run_until(quiet, |_| false);
            for end in End::BOTH {
                let found = self.hosts[end as usize].leftovers();
                let found = found
                    .into_iter()
                    .map(|what| format!("end {end:?} still has {what}"));
                self.wrong.extend(found);
            }
        }
        let (violations, seen) = self.finish();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = self.lanes.each_ref().map(|lane| lane.counters().clone());
        let packets: u64 = counters.iter().map(|lane| count(&lane.packets)).sum();
        let twice: u64 = counters.iter().map(|lane| count(&lane.duplicated)).sum();
        let arrived: u64 = counters.iter().map(|lane| count(&lane.delivered)).sum();
        Ran {
            flows: self.runs.iter().map(Run::reports).collect(),
            wrong: std::mem::take(&mut self.wrong),
            violations,
            seen,
            time: last.saturating_since(begin),
            packets,
            lost: (packets + twice).saturating_sub(arrived),
        }
    }

    /// What passed so far, and what the referee says of it.
    pub(crate) fn finish(&mut self) -> (Vec<Violation>, Vec<Seen>) {
        std::mem::replace(&mut self.wire, Wire::new(false)).finish(self.now)
    }

    fn bytes_read(&self) -> u64 {
        let players = self.runs.iter().flat_map(|run| &run.players);
        players.map(|player| player.report().read).sum()
    }

    /// Runs until `done`, or nothing more happens, or the time is up; says when something last
    /// happened.
    fn run_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Instant {
        loop {
            self.moment();
            if done(self) || !self.wrong.is_empty() {
                return self.now;
            }
            match self.next() {
                Some(next) if next <= deadline => self.now = self.now.max(next),
                _ => return self.now,
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let hosts = self.hosts.iter().filter_map(|host| host.next());
        let lanes = self.lanes.iter().filter_map(Lane::next_due);
        let wakes = self.wakes.iter().copied().flatten();
        let starts = self.open.iter().filter_map(|&index| {
            let run = &self.runs[index];
            match (run.begun, run.ending) {
                (false, _) => match self.case.script.flows[index].start {
                    Start::At(time) => Some(Instant::ZERO + self.case.begin + time),
                    Start::After(_) => None,
                },
                (true, Some(since)) => Some(since + LATE).filter(|&at| at > self.now),
                (true, None) => None,
            }
        });
        hosts.chain(lanes).chain(wakes).chain(starts).min()
    }

    /// Everything that happens at one moment.
    fn moment(&mut self) {
        for _ in 0..ROUNDS {
            self.begin_flows();
            let mut moved = false;
            for end in End::BOTH {
                moved |= self.deliver(end);
            }
            for end in End::BOTH {
                moved |= self.turn(end);
            }
            moved |= self.end_flows();
            if !moved {
                return;
            }
        }
        let busy = End::BOTH.map(|end| self.hosts[end as usize].next() == Some(self.now));
        self.wrong.push(format!(
            "a busy loop; wants to go on at once: A {}, B {}",
            busy[0], busy[1]
        ));
    }

    /// What has arrived at `end`.
    fn deliver(&mut self, end: End) -> bool {
        let mut moved = false;
        while let Some(packet) = self.lanes[end.peer() as usize].poll_due(self.now) {
            let packet = packet.into();
            if !self.is_genuine(end.peer(), &packet) {
                continue;
            }
            self.wire.on_delivered(end, self.now, &packet);
            if let Some(index) = self.flow_of(end.peer(), &packet) {
                self.runs[index].heard[end as usize] = Some(self.now);
            }
            self.hosts[end as usize].on_packet(self.now, packet);
            moved = true;
        }
        moved
    }

    /// False if a packet of `from` was damaged and its checksum does not show it: two bits of one
    /// column were flipped. Nobody is to blame for what comes of that.
    fn is_genuine(&self, from: End, packet: &Bytes) -> bool {
        let sent = &self.sent[from as usize];
        sent.is_empty() || digest(packet).is_none_or(|digest| sent.contains(&digest))
    }

    /// The connection that a packet belongs to, sent by `sender`.
    fn flow_of(&self, sender: End, packet: &Bytes) -> Option<usize> {
        if !self.case.loses() {
            return None;
        }
        let segment = packet::read(packet, Checksums::Whole).ok().flatten()?;
        let ports = (segment.source.port(), segment.destination.port());
        let is_it = |&&index: &&usize| {
            let Ports { opener, other } = self.case.script.ports(index);
            let forth = match self.case.script.flows[index].opener {
                Opener::One(end) => end == sender,
                Opener::Both => sender == End::A,
            };
            let wanted = if forth {
                (opener, other)
            } else {
                (other, opener)
            };
            self.runs[index].begun && ports == wanted
        };
        self.open.iter().find(is_it).copied()
    }

    /// A host's turn, if it has one.
    fn turn(&mut self, end: End) -> bool {
        let number = end as usize;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        if !due(self.hosts[number].next()) && !due(self.wakes[number]) {
            return false;
        }
        self.hosts[number].turn_in(self.now);
        let mut wake = self.accept(end);
        for &index in &self.open {
            let player = &mut self.runs[index].players[number];
            let next = player.play(self.now, &mut *self.hosts[number]);
            wake = [wake, next].into_iter().flatten().min();
        }
        self.wakes[number] = wake;
        self.hosts[number].turn_out(self.now, &mut self.out);
        for mut packet in std::mem::take(&mut self.out) {
            if let Some(saboteur) = self.saboteur.as_mut().filter(|_| end == End::A) {
                saboteur.alter(&mut packet);
            }
            let packet = packet.into();
            if self.case.lanes[number].corrupt > 0.0 {
                self.sent[number].extend(digest(&packet));
            }
            if let Some(index) = self.flow_of(end, &packet) {
                self.runs[index].spoke[number] = Some(self.now);
            }
            self.wire.on_sent(end, self.now, &packet);
            self.lanes[number].on_packet(self.now, packet.into());
        }
        // What was too large is answered to its sender.
        while let Some(answer) = self.lanes[number].poll_answer() {
            let answer = answer.into();
            self.wire.on_delivered(end, self.now, &answer);
            self.hosts[number].on_packet(self.now, answer);
        }
        true
    }

    /// Takes new connections; says when it is going to, if not yet.
    fn accept(&mut self, end: End) -> Option<Instant> {
        let number = end as usize;
        let begin = Instant::ZERO + self.case.begin;
        let pause = Duration::from_millis(self.case.settings[number].accept_after);
        if self.now < begin + pause {
            return Some(begin + pause);
        }
        while let Some((socket, port)) = self.hosts[number].accept() {
            let script = &self.case.script;
            let run = self.open.iter().rev().find(|&&index| {
                let run = &self.runs[index];
                let (player, ports) = (&run.players[number], script.ports(index));
                run.begun
                    && script.flows[index].opener == Opener::One(end.peer())
                    && ports.opener == port
                    && !player.has_begun()
                    && !player.is_done()
            });
            match run.copied() {
                Some(index) => self.runs[index].players[number].begin(socket),
                None => self.hosts[number].abort(self.now, socket),
            }
        }
        None
    }

    fn begin_flows(&mut self) {
        for position in 0..self.open.len() {
            let index = self.open[position];
            let flow = &self.case.script.flows[index];
            let due = match flow.start {
                Start::At(time) => Instant::ZERO + self.case.begin + time <= self.now,
                Start::After(other) => self.runs[other].is_over(),
            };
            if self.runs[index].begun || !due {
                continue;
            }
            self.runs[index].begun = true;
            let ports = self.case.script.ports(index);
            for end in End::BOTH {
                let (local, remote) = match flow.opener {
                    Opener::One(opener) if opener != end => continue,
                    Opener::Both if end == End::B => (ports.other, ports.opener),
                    _ => (ports.opener, ports.other),
                };
                let connected = self.hosts[end as usize].connect(self.now, local, remote);
                let players = &mut self.runs[index].players;
                match connected {
                    Ok(socket) => players[end as usize].begin(socket),
                    Err(ended) => players.iter_mut().for_each(|player| player.fail(ended)),
                }
                self.wakes[end as usize] = Some(self.now);
            }
        }
    }

    /// Notes which connections are over, and which never will be open; whether some are.
    fn end_flows(&mut self) -> bool {
        for &index in &self.open {
            let run = &mut self.runs[index];
            let mut players = run.players.iter();
            if run.ending.is_none() && players.any(Player::is_done) {
                run.ending = Some(self.now);
            }
            for (player, done) in run.players.iter().zip(&mut run.done) {
                if player.is_done() {
                    done.get_or_insert(self.now);
                }
            }
            let is_late = run.ending.is_some_and(|since| since + LATE <= self.now);
            for player in &mut run.players {
                if is_late && !player.has_begun() && !player.is_done() {
                    player.fail(Ended::NeverOpened);
                }
            }
        }
        let (runs, before) = (&self.runs, self.open.len());
        self.open.retain(|&index| !runs[index].is_over());
        self.open.len() < before
    }
}

/// What tells a segment with a right checksum from others; the IP header changes on the way.
fn digest(packet: &Bytes) -> Option<u64> {
    let segment = packet::read(packet, Checksums::Whole).ok().flatten()?;
    let length = 20 + segment.option_bytes + segment.payload.len();
    let mut hasher = DefaultHasher::new();
    packet[packet.len() - length..].hash(&mut hasher);
    (segment.source, segment.destination).hash(&mut hasher);
    Some(hasher.finish())
}

/// The time that a case may take: what the applications wait, what the link needs, and much for
/// losses.
fn allowance(case: &Case) -> Duration {
    let programs = case.script.flows.iter().flat_map(|flow| &flow.programs);
    let waits: Duration = programs.map(Program::waits).sum();
    let reads = case.script.flows.iter().flat_map(|flow| {
        let ends = End::BOTH.map(|end| {
            (
                &flow.programs[end as usize],
                &flow.programs[end.peer() as usize],
            )
        });
        ends.map(|(reader, writer)| reader.reads(writer.written()))
    });
    let reads: Duration = reads.sum();
    let slowest = case.lanes.iter().filter_map(|lane| lane.rate).min();
    let bits = case.script.bytes() * 8;
    let carry = slowest.map_or(Duration::ZERO, |rate| {
        Duration::from_secs(bits.saturating_mul(20) / rate.max(1))
    });
    waits + reads + carry + Duration::from_secs(3_600)
}
