//! Replays a TCP conversation: the recorded end's frames go into the stack at the recorded times,
//! the application makes the recorded calls, and a [`Checker`] reads everything that comes out.
//!
//! The stack is free to cut, delay and repeat its segments as it likes. A frame that acknowledges
//! something waits until the stack has sent it, once more often than the recorded link lost it;
//! while it waits, the other end acknowledges what it would have by then. A frame also waits for
//! room in the stack's window. All later frames are put off by as much.

use std::collections::VecDeque;
use std::time::Duration;

use ustack_tcp::time::Instant;
use ustack_tcp::{CloseReason, Config, SocketError, SocketOptions, State};

use crate::app::{App, Reads};
use crate::capture::Recorded;
use crate::checker::{Checker, Tally};
use crate::conversation::{Conversation, Role, Said};
use crate::host::{Host, MTU};
use crate::inject::{self, Edit};
use crate::packet::{self, FIN, RST, SYN, TcpOptions, TcpPacket};
use crate::ranges::Counted;
use crate::script;

/// How long the stack may keep a frame waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the replay goes on after the last frame, so that what is owed comes out.
const LINGER: Duration = Duration::from_secs(2);
/// How many turns a replay may take: a stack that keeps asking to be called at once never ends.
const MAX_TURNS: usize = 1_000_000;
/// A frame that waits longer stands for a moment that does not come: the other end acknowledges
/// everything it would have, whatever it had when it sent the frame.
const HOPELESS: Duration = Duration::from_millis(300);
/// How many segments an error shows.
const DIALOGUE: usize = 12;
/// Time between looks while a frame waits.
const STEP: Duration = Duration::from_millis(1);
/// How long the other end takes to acknowledge what it would have.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// A full window releases a reader that should not have begun yet after this time.
const STALL: Duration = Duration::from_secs(2);

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
}

/// Replays the first conversation of a capture. An error says at which packet the stack first
/// went astray, and how.
pub fn replay<H: Host>(packets: &[Recorded], plan: &Plan) -> Result<Report, String> {
    let conversation = Conversation::first(packets, plan.role)?;
    let mut replay = Replay::<H>::new(conversation, plan)?;
    let result = replay.run(plan);
    result.map_err(|error| {
        let (at, now) = (replay.last_number, replay.now);
        let dialogue = replay.dialogue.make_contiguous().join("\n");
        format!("at {now:?}, after packet {at} went in: {error}; what was said last:\n{dialogue}")
    })?;
    Ok(replay.report())
}

/// Why a frame waits.
#[derive(Clone, Copy)]
enum Waits {
    /// For the stack's SYN.
    Syn,
    /// For this position to be sent (again).
    Position(u64),
    /// For room up to this position.
    Window(u64),
}

struct Replay<H> {
    conversation: Conversation,
    host: H,
    app: App,
    checker: Checker,
    frames: VecDeque<Said>,
    /// Ranges of the recorded end's that were lost, as often as they were.
    lost: Counted,
    now: Duration,
    /// How much later than recorded frames go in.
    delay: Duration,
    waiting_since: Option<Duration>,
    last_ack: Duration,
    /// Position up to which frames have gone in.
    injected: u64,
    last_number: usize,
    syn: TcpOptions,
    states: Vec<State>,
    echo: Option<u32>,
    /// The recorded end's last timestamp.
    tsval: Option<u32>,
    /// The highest position that SACK reported.
    sacked: u64,
    /// The last segments both ways, in words.
    dialogue: VecDeque<String>,
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
        let theirs = conversation
            .said
            .iter()
            .filter(|said| !said.ours && !said.lost);
        Ok(Self {
            host: H::new(conversation.local.ip(), MTU, plan.config.clone())?,
            app: App::new(&conversation, steps, plan.reads, reads_from),
            checker: Checker::new(&conversation, MTU as usize),
            frames: theirs.cloned().collect(),
            lost,
            now: Duration::ZERO,
            delay: Duration::ZERO,
            waiting_since: None,
            last_ack: Duration::ZERO,
            injected: 0,
            last_number: 0,
            syn: TcpOptions::default(),
            states: Vec::new(),
            echo: None,
            tsval: None,
            sacked: 0,
            dialogue: VecDeque::new(),
            conversation,
        })
    }

    fn instant(&self) -> Instant {
        Instant::ZERO + self.now
    }

    fn run(&mut self, plan: &Plan) -> Result<(), String> {
        let flow = (self.conversation.local, self.conversation.remote);
        let now = self.instant();
        self.app
            .open(self.host.tcp(), now, plan.role, flow, plan.socket)?;
        let mut idle_since = None;
        for _ in 0..MAX_TURNS {
            self.turn()?;
            if self.inject_due()? {
                idle_since = None;
                continue;
            }
            let next = match self.frames.front() {
                Some(_) if self.waiting_since.is_some() => self.now + STEP,
                Some(said) => said.time + self.delay,
                None if self.now.saturating_sub(*idle_since.get_or_insert(self.now)) > LINGER => {
                    return self.check_end(plan);
                }
                None => self.now + STEP * 5,
            };
            let deadline = self.host.tcp().poll_timeout();
            let deadline = deadline.map(|at| at.saturating_since(Instant::ZERO));
            let step = self.now + if self.app.is_done() { LINGER } else { STEP };
            self.now = next.min(deadline.unwrap_or(next)).min(step).max(self.now);
            if deadline == Some(self.now) || deadline.is_some_and(|at| at < self.now) {
                self.now += Duration::from_nanos(1);
            }
        }
        Err(format!(
            "no end after {MAX_TURNS} turns; the next is due at {:?}",
            self.host.tcp().poll_timeout()
        ))
    }

    /// One turn of the stack: timeouts, application, output, all of it checked.
    fn turn(&mut self) -> Result<(), String> {
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
                return self.checker.check_waiting(self.now);
            }
            for data in output {
                let tcp = packet::tcp(&data).map_err(|error| format!("the stack sent {error}"))?;
                let tcp = tcp.ok_or("the stack sent something that is no segment")?;
                if tcp.has(SYN) {
                    self.syn = tcp.options.clone();
                }
                self.note_segment("<", &tcp);
                let checked = self.checker.on_output(self.now, data.len(), &tcp);
                checked.map_err(|error| format!("a segment of the stack {error}"))?;
            }
        }
    }

    /// Keeps a segment for the report of an error: `>` went in, `<` came out.
    fn note_segment(&mut self, direction: &str, tcp: &TcpPacket) {
        let (ours, theirs) = (
            self.checker.isn().unwrap_or(tcp.seq),
            self.conversation.theirs.isn,
        );
        let (from, to) = if direction == "<" {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        let (seq, ack) = (tcp.seq.wrapping_sub(from), tcp.ack.wrapping_sub(to));
        let TcpPacket { flags, window, .. } = tcp;
        let length = tcp.payload.len();
        if self.dialogue.len() == DIALOGUE {
            self.dialogue.pop_front();
        }
        self.dialogue.push_back(format!(
            "{:?} {direction} flags {flags:#04x} seq {seq} ack {ack} length {length} window {window}",
            self.now
        ));
    }

    fn note_state(&mut self) {
        let conn = self.app.conn();
        let flow = (self.conversation.local, self.conversation.remote);
        let state = self.host.tcp().connections().find(|summary| {
            conn == Some(summary.id) || (summary.flow.local, summary.flow.remote) == flow
        });
        if let Some(state) = state.map(|summary| summary.state)
            && state != State::Closed
            && self.states.last() != Some(&state)
        {
            self.states.push(state);
        }
    }

    /// Puts the next frame in if its time has come and it need not wait.
    fn inject_due(&mut self) -> Result<bool, String> {
        let Some(said) = self.frames.front() else {
            return Ok(false);
        };
        let due = said.time + self.delay;
        if self.now < due {
            return Ok(false);
        }
        let Some(waits) = self.waits(said) else {
            self.delay += self.now.saturating_sub(due);
            self.waiting_since = None;
            if let Some(said) = self.frames.pop_front() {
                self.last_number = said.number;
                self.inject(&said, &self.edit(&said, None))?;
                self.injected = self.injected.max(said.end());
                let sacked = self.sack(&said).into_iter().map(|(_, right)| right).max();
                self.sacked = self.sacked.max(sacked.unwrap_or(0));
            }
            return Ok(true);
        };
        let since = *self.waiting_since.get_or_insert(self.now);
        let waited = self.now.saturating_sub(since);
        if waited > STALL && matches!(waits, Waits::Window(_)) {
            self.app.reads_from = Duration::ZERO;
        }
        if waited > PATIENCE {
            let number = said.number;
            return Err(match waits {
                Waits::Syn => format!("packet {number} still waits for a SYN"),
                Waits::Position(at) => {
                    format!("packet {number} still waits for position {at} to be sent (again)")
                }
                Waits::Window(at) => format!("packet {number} still waits for room up to {at}"),
            });
        }
        if waited > HOPELESS && matches!(waits, Waits::Window(_)) {
            return self.repeat_first();
        }
        self.acknowledge_meanwhile(waits)
    }

    /// A sender out of window repeats what was lost before it goes on: the first later frame that
    /// fits goes in now.
    fn repeat_first(&mut self) -> Result<bool, String> {
        let fits = |said: &Said| {
            !said.tcp.payload.is_empty() && !said.tcp.has(FIN | RST) && self.waits(said).is_none()
        };
        let Some(index) = self.frames.iter().position(fits) else {
            return Ok(false);
        };
        if let Some(said) = self.frames.remove(index) {
            self.last_number = said.number;
            self.inject(&said, &self.edit(&said, None))?;
            self.injected = self.injected.max(said.end());
        }
        Ok(true)
    }

    fn waits(&self, said: &Said) -> Option<Waits> {
        if said.ack.is_some() && self.checker.isn().is_none() {
            return Some(Waits::Syn);
        }
        let sent = |from, to| {
            self.checker
                .transmitted
                .first_not_above(&self.lost, from, to)
        };
        let acked = self.checker.acked_by_them();
        let missing = said.ack.and_then(|ack| sent(acked.min(ack), ack));
        let missing = missing.or_else(|| {
            let mut blocks = self.sack(said).into_iter();
            blocks.find_map(|(left, right)| sent(left, right))
        });
        if let Some(at) = missing {
            return Some(Waits::Position(at));
        }
        let end = said.end() - said.tcp.has(FIN) as u64;
        let is_data = !said.tcp.payload.is_empty() && !said.tcp.has(SYN | RST);
        (is_data && end > self.checker.receive_edge()).then_some(Waits::Window(end))
    }

    /// SACK blocks as positions in the stack's stream.
    fn sack(&self, said: &Said) -> Vec<(u64, u64)> {
        let isn = self.conversation.ours.isn;
        let at = |wire: u32| wire.wrapping_sub(isn) as u64;
        said.tcp
            .options
            .sack
            .iter()
            .map(|&(left, right)| (at(left), at(right)))
            .collect()
    }

    /// While a frame waits, the other end acknowledges the part of it that it would have.
    fn acknowledge_meanwhile(&mut self, waits: Waits) -> Result<bool, String> {
        let Waits::Position(missing) = waits else {
            return Ok(false);
        };
        let Some(said) = self.frames.front().cloned() else {
            return Ok(false);
        };
        let (Some(ack), acked) = (said.ack, self.checker.acked_by_them()) else {
            return Ok(false);
        };
        let end = self.checker.end();
        let ready = match self.waiting_since {
            Some(since) if self.now.saturating_sub(since) > HOPELESS => {
                let missing = self
                    .checker
                    .transmitted
                    .first_not_above(&self.lost, acked, end);
                missing.unwrap_or(end)
            }
            _ => missing.min(ack),
        };
        if self.now < self.last_ack + ACK_DELAY {
            return Ok(false);
        }
        if ready <= acked {
            return self.sack_meanwhile(acked);
        }
        self.inject(&said, &self.edit(&said, Some(ready)))?;
        Ok(true)
    }

    /// What lies above the first hole and was not lost, the other end reports by SACK.
    fn sack_meanwhile(&mut self, acked: u64) -> Result<bool, String> {
        let (sent, end) = (&self.checker.transmitted, self.checker.end());
        let mut blocks = VecDeque::new();
        let mut at = acked;
        while let Some(left) = sent.first_above(&self.lost, at, end) {
            at = sent.first_not_above(&self.lost, left, end).unwrap_or(end);
            blocks.push_front((left, at));
        }
        if blocks
            .front()
            .is_none_or(|&(_, right)| right <= self.sacked)
        {
            return Ok(false);
        }
        let said = self.conversation.said.iter().filter(|said| !said.ours);
        let Some(said) = said.max_by_key(|said| said.tcp.options.sack.len()).cloned() else {
            return Ok(false);
        };
        if said.tcp.options.sack.is_empty() {
            return Ok(false);
        }
        let isn = self.checker.isn().unwrap_or_default();
        let wire = |position: u64| isn.wrapping_add(position as u32);
        let mut edit = self.edit(&said, Some(acked));
        edit.sack = blocks
            .iter()
            .map(|&(left, right)| (wire(left), wire(right)))
            .collect();
        edit.tsecr = self.echo.or(edit.tsecr);
        edit.tsval = self.tsval.or(edit.tsval);
        edit.bare = self
            .frames
            .front()
            .and_then(|said| self.edit(said, Some(acked)).bare);
        self.sacked = blocks.front().map_or(self.sacked, |&(_, right)| right);
        self.inject(&said, &edit)?;
        Ok(true)
    }

    /// What changes in a frame; with `up_to`, it becomes an acknowledgment of that position.
    fn edit(&self, said: &Said, up_to: Option<u64>) -> Edit {
        let theirs = &self.conversation.theirs;
        let position = if up_to.is_some() {
            self.injected
        } else {
            said.seq
        };
        let seq = theirs.isn.wrapping_add(position as u32);
        let Some(isn) = self.checker.isn() else {
            return Edit {
                seq,
                ..Edit::default()
            };
        };
        let wire = |position: u64| isn.wrapping_add(position as u32);
        let bare = up_to.map(|up_to| {
            let scale = theirs.window_scale.unwrap_or(0);
            let edge = said.ack.unwrap_or(0) + ((said.tcp.window as u64) << scale);
            (edge.saturating_sub(up_to) >> scale).min(u16::MAX as u64) as u16
        });
        let sack = up_to.map_or_else(|| self.sack(said), |_| Vec::new());
        Edit {
            seq,
            ack: said.ack.map(|ack| wire(up_to.unwrap_or(ack))),
            tsecr: said.ack.and_then(|_| self.tsecr(said, up_to)),
            sack: sack
                .into_iter()
                .map(|(left, right)| (wire(left), wire(right)))
                .collect(),
            bare,
            tsval: None,
        }
    }

    /// The stack's timestamp that stands for the one this frame echoes: that of the last segment
    /// that said no more than the recorded segment with the echoed one.
    fn tsecr(&self, said: &Said, up_to: Option<u64>) -> Option<u32> {
        let (_, echoed) = said.tcp.options.timestamps?;
        let tsval = |said: &Said| said.tcp.options.timestamps.map(|(tsval, _)| tsval);
        let mut ours = self
            .conversation
            .said
            .iter()
            .filter(|said| said.ours && !said.lost);
        let model = ours.find(|said| tsval(said) == Some(echoed))?;
        let (seq, ack) = (model.seq, model.ack.unwrap_or(0));
        let seq = up_to.map_or(seq, |up_to| seq.min(up_to.saturating_sub(1)));
        let mut sent = self.checker.log.iter().rev();
        let stands = sent.find(|sent| sent.seq <= seq && sent.ack <= ack);
        let value = stands.or(self.checker.log.first())?.tsval?;
        let last = self.echo.unwrap_or(value);
        Some(if (value.wrapping_sub(last) as i32) < 0 {
            last
        } else {
            value
        })
    }

    fn inject(&mut self, said: &Said, edit: &Edit) -> Result<(), String> {
        self.echo = edit.tsecr.or(self.echo);
        let data = inject::rewrite(said, edit)?;
        let tcp = packet::tcp(&data)?.ok_or("a rewritten frame is no segment")?;
        if edit.ack.is_some() {
            self.last_ack = self.now;
        }
        self.note_segment(">", &tcp);
        self.tsval = tcp.options.timestamps.map(|(tsval, _)| tsval);
        self.checker.on_arrival(self.now, &tcp);
        self.host.on_packet(self.instant(), data);
        Ok(())
    }

    /// What must hold when all is said.
    fn check_end(&mut self, plan: &Plan) -> Result<(), String> {
        let Conversation { ours, theirs, .. } = &self.conversation;
        let is_cut = ours.reset || theirs.reset;
        if !self.app.is_done() {
            return Err(self.app.waits_for());
        }
        let (received, expected) = (&self.app.received, &theirs.stream);
        let is_prefix = expected.starts_with(received);
        if plan.reads != Reads::Never
            && (!is_prefix || (received.len() < expected.len() && !is_cut))
        {
            let same = received
                .iter()
                .zip(expected)
                .take_while(|(left, right)| left == right);
            let (same, got, all) = (same.count(), received.len(), expected.len());
            return Err(format!(
                "the application received {got} of {all} bytes, {same} of them right"
            ));
        }
        if theirs.fin.is_some() && !is_cut && !self.app.is_eof {
            return Err("the application never saw the end of the stream".to_owned());
        }
        let all = 1 + ours.stream.len() as u64 + ours.fin.is_some() as u64;
        if self.checker.end() < all && !is_cut {
            return Err(format!(
                "the stack sent up to {} of {all}",
                self.checker.end()
            ));
        }
        if self.checker.tally.reset != ours.reset && !theirs.reset {
            let said = if ours.reset { "reset" } else { "did not reset" };
            return Err(format!("the recorded end {said}, the stack did otherwise"));
        }
        Ok(())
    }

    fn report(self) -> Report {
        Report {
            states: self.states,
            tally: self.checker.tally.clone(),
            syn: self.syn,
            received: self.app.received.len(),
            sent: self.checker.end().saturating_sub(1) as usize,
            closed: self.app.closed,
            error: self.app.error,
            delay: self.delay,
        }
    }
}
