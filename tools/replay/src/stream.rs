//! Replays a TCP conversation: the recorded end's frames go into the stack at the recorded times,
//! the application makes the recorded calls, and a [`Checker`] reads everything that comes out.
//!
//! The stack is free to cut, delay and repeat its segments as it likes. A frame that acknowledges
//! something waits until the stack has sent it, once more often than the recorded link lost it;
//! while it waits, the other end acknowledges what it would have by then. A frame also waits for
//! room in the stack's window. All later frames are put off by as much.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use referee::ranges::Counted;
use ustack_tcp::time::Instant;
use ustack_tcp::{CloseReason, Config, SocketError, SocketOptions, State};

use crate::app::{App, Reads};
use crate::capture::Recorded;
use crate::checker::{Checker, Tally};
use crate::conversation::{Conversation, Role, Said};
use crate::dialogue::{self, Dialogue, Speaker};
use crate::divergence::{Error, Fault};
use crate::host::{Host, MTU};
use crate::icmp::IcmpError;
use crate::inject;
use crate::packet::{self, ACK, RST, SYN, TcpOptions, TcpPacket};
use crate::script;

/// How long the replay goes on after the last frame, so that what is owed comes out.
const LINGER: Duration = Duration::from_secs(2);
/// How many turns a replay may take: a stack that keeps asking to be called at once never ends.
const MAX_TURNS: usize = 1_000_000;
/// Time between looks while a frame waits.
const STEP: Duration = Duration::from_millis(1);

/// Kind of the window scale option.
const WINDOW_SCALE: u8 = 3;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The end the stack plays.
    pub role: Role,
    /// When its application reads.
    pub reads: Reads,
    /// Options of its socket.
    pub socket: SocketOptions,
    /// Settings of the stack.
    pub config: Config,
    /// Another initial sequence number for the recorded end, so that its numbers wrap elsewhere.
    pub their_isn: Option<u32>,
}

impl Plan {
    /// A plan with an application that reads at once and, like curl and nginx, sets `nodelay`.
    pub fn new(role: Role) -> Self {
        let reads = Reads::default();
        let socket = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        Self {
            role,
            reads,
            socket,
            config: Config::default(),
            their_isn: None,
        }
    }
}

/// What a replay came to. Bytes and segments have been checked already.
#[derive(Clone, Debug)]
pub struct Report {
    /// The states the connection was seen in, in order.
    pub states: Vec<State>,
    /// The state that the replay left it in; `None` once nothing is left of it.
    pub last_state: Option<State>,
    /// What the stack sent, in numbers.
    pub tally: Tally,
    /// Options of the stack's SYN.
    pub syn: TcpOptions,
    /// Bytes the application received.
    pub received: usize,
    /// Bytes the application sent.
    pub sent: usize,
    /// How the connection ended, if the application heard of it.
    pub closed: Option<CloseReason>,
    /// What a call of the application failed with.
    pub error: Option<SocketError>,
    /// How much later than recorded the last frame went in.
    pub delay: Duration,
    /// The length of each packet of the stack, in order.
    pub sizes: Vec<usize>,
    /// What was said.
    pub dialogue: Dialogue,
}

/// Replays the first conversation of a capture.
pub fn replay<H: Host>(packets: &[Recorded], plan: &Plan) -> Result<Report, Error> {
    let conversation = Conversation::first(packets, plan.role).map_err(Error::Unusable)?;
    replay_conversation::<H>(conversation, plan)
}

/// Replays a conversation. An error says at which packet the stack first went astray, and how.
pub fn replay_conversation<H: Host>(
    conversation: Conversation,
    plan: &Plan,
) -> Result<Report, Error> {
    let mut replay = Replay::<H>::new(conversation, plan).map_err(Error::Unusable)?;
    match replay.run(plan) {
        Ok(()) => Ok(replay.report()),
        Err(fault) => Err(Error::new(fault, &replay.dialogue)),
    }
}

pub(crate) struct Replay<H> {
    pub(crate) conversation: Conversation,
    pub(crate) host: H,
    pub(crate) app: App,
    pub(crate) checker: Checker,
    pub(crate) frames: VecDeque<Said>,
    errors: VecDeque<IcmpError>,
    /// When the recording ended.
    last_said: Duration,
    sizes: Vec<usize>,
    /// Ranges of the recorded end's that were lost, as often as they were.
    pub(crate) lost: Counted,
    pub(crate) now: Duration,
    /// How much later than recorded frames go in.
    pub(crate) delay: Duration,
    pub(crate) waiting_since: Option<Duration>,
    pub(crate) last_ack: Duration,
    /// Position up to which frames have gone in.
    pub(crate) injected: u64,
    pub(crate) last_number: usize,
    pub(crate) syn: TcpOptions,
    pub(crate) states: Vec<State>,
    last_state: Option<State>,
    pub(crate) echo: Option<u32>,
    /// The recorded end's last timestamp.
    pub(crate) tsval: Option<u32>,
    /// The highest position that SACK reported.
    pub(crate) sacked: u64,
    pub(crate) dialogue: Dialogue,
}

impl<H: Host> Replay<H> {
    fn new(mut conversation: Conversation, plan: &Plan) -> Result<Self, String> {
        conversation.theirs.isn = plan.their_isn.unwrap_or(conversation.theirs.isn);
        let reads_from = match plan.reads {
            Reads::AsRecorded => script::reading_begins(&conversation).unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let steps = script::steps(&conversation);
        let mut lost = Counted::default();
        for said in conversation
            .said
            .iter()
            .filter(|said| said.ours && said.lost)
        {
            lost.add(said.seq, said.end());
        }
        let mtu = conversation.mtu().max(MTU);
        let declined = conversation.declined();
        if declined.contains(&WINDOW_SCALE) {
            conversation.theirs.window_scale = None;
        }
        let theirs = conversation.said.iter();
        let theirs = theirs.filter(|said| !said.ours && !said.lost).cloned();
        let frames = theirs.map(|mut said| {
            if said.tcp.has(SYN) && !declined.is_empty() {
                inject::strip(&mut said, &declined)?;
            }
            Ok(said)
        });
        Ok(Self {
            host: H::new(conversation.local.ip(), mtu, plan.config.clone())?,
            app: App::new(&conversation, steps, plan.reads, reads_from),
            checker: Checker::new(&conversation, mtu as usize),
            frames: frames.collect::<Result<_, String>>()?,
            errors: conversation.errors.clone().into(),
            last_said: (conversation.said.last()).map_or(Duration::ZERO, |said| said.time),
            sizes: Vec::new(),
            lost,
            now: conversation
                .said
                .first()
                .map_or(Duration::ZERO, |said| said.time),
            delay: Duration::ZERO,
            waiting_since: None,
            last_ack: Duration::ZERO,
            injected: 0,
            last_number: 0,
            syn: TcpOptions::default(),
            states: Vec::new(),
            last_state: None,
            echo: None,
            tsval: None,
            sacked: 0,
            dialogue: Dialogue::new(plan.role),
            conversation,
        })
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::ZERO + self.now
    }

    fn run(&mut self, plan: &Plan) -> Result<(), Fault> {
        let flow = (self.conversation.local, self.conversation.remote);
        let now = self.instant();
        self.app
            .open(self.host.tcp(), now, plan.role, flow, plan.socket)?;
        let mut idle_since = None;
        let mut last = self.now;
        for _ in 0..MAX_TURNS {
            self.turn()?;
            if self.inject_error()? || self.inject_due()? {
                idle_since = None;
                last = self.now;
                continue;
            }
            let next = match self.frames.front() {
                Some(_) if self.waiting_since.is_some() => self.now + STEP,
                Some(said) => said.time + self.delay,
                None if self.is_over(&mut idle_since) => return Ok(self.check_end(plan)?),
                None => self.now + STEP * 5,
            };
            let deadline = self.host.tcp().poll_timeout();
            let deadline = deadline.map(|at| at.saturating_since(Instant::ZERO));
            let step = self.step(next, last);
            self.now = next.min(deadline.unwrap_or(next)).min(step).max(self.now);
            if deadline == Some(self.now) || deadline.is_some_and(|at| at < self.now) {
                self.now += Duration::from_nanos(1);
            }
        }
        Err(self.endless(MAX_TURNS).into())
    }

    /// When to look again at the latest: often while there is something going on, and in a pause
    /// when the application does its next.
    fn step(&self, next: Duration, last: Duration) -> Duration {
        let is_pause = self.now.saturating_sub(last) > LINGER && self.errors.is_empty();
        let is_quiet = self.app.is_done() && self.errors.is_empty();
        let recorded = self.now.saturating_sub(self.delay);
        match self.app.next_at(recorded) {
            Some(at) if is_pause => at + self.delay,
            None if is_pause => next,
            _ if is_quiet => self.now + LINGER,
            _ => self.now + STEP,
        }
    }

    /// All frames are in, all that is owed had time to come out, and the recording has come to its
    /// end.
    fn is_over(&self, idle_since: &mut Option<Duration>) -> bool {
        let idle = self.now.saturating_sub(*idle_since.get_or_insert(self.now));
        idle > LINGER && (self.app.is_done() || self.now > self.last_said + self.delay + LINGER)
    }

    /// Puts the next ICMP error in, once the stack has said what it is about.
    fn inject_error(&mut self) -> Result<bool, Fault> {
        let Some(isn) = self.checker.isn() else {
            return Ok(false);
        };
        let (now, sent) = (self.now, self.checker.end());
        let is_due = |error: &mut IcmpError| now >= error.time + self.delay && sent > error.seq;
        let Some(error) = self.errors.pop_front_if(is_due) else {
            return Ok(false);
        };
        self.last_number = error.number;
        let now = self.instant();
        self.host.on_packet(now, error.about(isn)?);
        Ok(true)
    }

    /// One turn of the stack: timeouts, application, output, all of it checked.
    fn turn(&mut self) -> Result<(), Fault> {
        let now = self.instant();
        self.host.on_timeout(now);
        loop {
            self.note_state();
            let recorded = match self.frames.front() {
                Some(said) if self.waiting_since.is_some() => said.time,
                _ => self.now.saturating_sub(self.delay),
            };
            let arrived = self.checker.arrived();
            self.app.run(self.host.tcp(), now, recorded, arrived);
            self.note_state();
            let output = self.host.poll_transmit(now);
            if output.is_empty() {
                let checked = self.checker.check_waiting(self.now);
                return checked.map_err(|error| {
                    let ours = format!("owes an ACK: {error}");
                    self.diverged(ours, "RFC 9293 §3.8.6.3").into()
                });
            }
            for data in output {
                self.on_output(&data)?;
            }
        }
    }

    /// A packet of the stack.
    fn on_output(&mut self, data: &Bytes) -> Result<(), Fault> {
        let tcp = match packet::tcp(data) {
            Ok(Some(tcp)) => tcp,
            Ok(None) => return Ok(()),
            Err(error) => {
                let ours = format!("sends {error}");
                return Err(self.diverged(ours, "RFC 9293 §3.1").into());
            }
        };
        self.sizes.push(data.len());
        if tcp.has(SYN) {
            self.syn = tcp.options.clone();
        }
        self.note(Speaker::Stack, &tcp);
        let Conversation { ours, theirs, .. } = &self.conversation;
        if tcp.has(RST) && !ours.reset && !theirs.reset {
            let ours = "resets the connection".to_owned();
            return Err(self.diverged(ours, "RFC 9293 §3.5.2").into());
        }
        let checked = self.checker.on_output(self.now, data.len(), &tcp);
        checked.map_err(|error| {
            let ours = format!("sends a segment that {error}");
            self.diverged(ours, "RFC 9293 §3.10").into()
        })
    }

    /// Keeps a segment for the dialogue.
    pub(crate) fn note(&mut self, speaker: Speaker, tcp: &TcpPacket) {
        let ours = self.checker.isn().unwrap_or(tcp.seq);
        let theirs = self.conversation.theirs.isn;
        let (from, to) = match speaker {
            Speaker::Stack => (ours, theirs),
            _ => (theirs, ours),
        };
        let seq = tcp.seq.wrapping_sub(from) as u64;
        let ack = tcp.has(ACK).then(|| tcp.ack.wrapping_sub(to) as u64);
        self.dialogue
            .push(self.now, speaker, dialogue::describe(tcp, seq, ack));
    }

    fn note_state(&mut self) {
        let conn = self.app.conn();
        let flow = (self.conversation.local, self.conversation.remote);
        let state = self.host.tcp().connections().find(|summary| {
            conn == Some(summary.id) || (summary.flow.local, summary.flow.remote) == flow
        });
        self.last_state = state.map(|summary| summary.state);
        self.last_state.take_if(|state| *state == State::Closed);
        if self.last_state != self.states.last().copied() {
            self.states.extend(self.last_state);
        }
    }

    fn report(self) -> Report {
        Report {
            states: self.states,
            last_state: self.last_state,
            tally: self.checker.tally.clone(),
            syn: self.syn,
            received: self.app.received.len(),
            sent: self.checker.end().saturating_sub(1) as usize,
            closed: self.app.closed,
            error: self.app.error,
            delay: self.delay,
            sizes: self.sizes,
            dialogue: self.dialogue,
        }
    }
}
