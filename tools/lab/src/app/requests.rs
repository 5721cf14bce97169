//! Requests and answers in turn, the way TLS and HTTP use a connection: so many bytes there, some
//! thought, so many bytes back. Only sizes and times count, not what the bytes say.

use bytes::Bytes;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{ConnId, ListenerId, Read};

use super::{App, Context, READ, Socket, filler, read, since, write};
use crate::recording::Step;

/// Round trips in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// The first request travels in the SYN, with a cookie from an earlier connection (RFC 7413).
    pub fast_open: bool,
    /// The round trips.
    pub steps: Vec<RequestStep>,
}

/// One round trip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestStep {
    /// What it stands for.
    pub label: String,
    /// Bytes of the request, at least one.
    pub send: u64,
    /// Bytes of the answer, at least one.
    pub receive: u64,
    /// From the last byte of the request to the first of the answer.
    pub think: Duration,
}

/// Bytes yet to be written.
#[derive(Debug, Default)]
struct Outgoing(u64);

impl Outgoing {
    fn flush(&mut self, cx: &mut Context<'_>, id: ConnId) {
        while self.0 > 0 {
            let chunk = filler(self.0.min(1 << 16) as usize);
            let taken = write(cx, id, &chunk);
            self.0 -= taken as u64;
            if taken < chunk.len() {
                return;
            }
        }
    }
}

#[derive(Debug)]
enum Stage {
    /// Before the start.
    Idle,
    /// A connection that fetches the cookie.
    Priming(ConnId),
    /// The SYN is under way.
    Opening(ConnId),
    Running(ConnId),
    Done,
}

#[derive(Debug)]
pub(super) struct Client {
    requests: Requests,
    socket: Socket,
    stage: Stage,
    step: usize,
    outgoing: Outgoing,
    received: u64,
    current: Step,
}

impl Client {
    pub(super) fn new(requests: Requests, socket: Socket) -> Self {
        Self {
            requests,
            socket,
            stage: Stage::Idle,
            step: 0,
            outgoing: Outgoing::default(),
            received: 0,
            current: Step::default(),
        }
    }

    fn is_open(cx: &mut Context<'_>, id: ConnId) -> bool {
        cx.tcp().write_room(id).is_ok()
    }

    /// The connection that counts. Its SYN may carry the first request.
    fn open(&mut self, cx: &mut Context<'_>) {
        cx.log.began = Some(cx.now);
        let first = self.requests.steps.first().map_or(0, |step| step.send);
        if !self.requests.fast_open {
            self.stage = match self.socket.connect(cx) {
                Some(id) => Stage::Opening(id),
                None => Stage::Done,
            };
            return;
        }
        let (now, flow, options) = (cx.now, self.socket.flow(), self.socket.options);
        let data = filler(first.min(1 << 16) as usize);
        match cx.tcp().connect_with_data(now, flow, options, &data) {
            Ok((id, _, taken)) => {
                self.begin_step(cx);
                self.outgoing.0 -= taken as u64;
                self.stage = Stage::Running(id);
            }
            Err(error) => {
                cx.log.fail(error);
                self.stage = Stage::Done;
            }
        }
    }

    /// A first connection, for its cookie only.
    fn prime(&mut self, cx: &mut Context<'_>) {
        let (now, flow, options) = (cx.now, self.socket.flow(), self.socket.options);
        let opened = cx
            .tcp()
            .connect_with_data(now, flow, options, &Bytes::new());
        self.stage = match opened {
            Ok((id, ..)) => Stage::Priming(id),
            Err(error) => {
                cx.log.fail(error);
                Stage::Done
            }
        };
    }

    fn begin_step(&mut self, cx: &mut Context<'_>) {
        let Some(step) = self.requests.steps.get(self.step) else {
            return;
        };
        self.outgoing = Outgoing(step.send);
        self.received = 0;
        self.current = Step {
            label: step.label.clone(),
            start: since(cx.log.began, cx.now),
            ..Step::default()
        };
    }

    fn run(&mut self, cx: &mut Context<'_>, id: ConnId) {
        self.outgoing.flush(cx, id);
        while let Some(Read::Data(data)) = read(cx, id, READ) {
            if self.received == 0 {
                self.current.first_byte = since(cx.log.began, cx.now);
            }
            self.received += data.len() as u64;
            cx.log.received += data.len() as u64;
            let step = &self.requests.steps[self.step];
            if self.received < step.receive {
                continue;
            }
            self.current.end = since(cx.log.began, cx.now);
            cx.log.steps.push(std::mem::take(&mut self.current));
            self.step += 1;
            if self.step == self.requests.steps.len() {
                cx.log.completed = Some(cx.now);
                self.stage = Stage::Done;
                let now = cx.now;
                let _ = cx.tcp().shutdown(now, id); // it may be closed already: nothing to say then
                return;
            }
            self.begin_step(cx);
            self.outgoing.flush(cx, id);
        }
    }
}

impl App for Client {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        if cx.now < self.socket.start {
            return;
        }
        if matches!(self.stage, Stage::Idle) {
            if self.requests.fast_open {
                self.prime(cx);
            } else {
                self.open(cx);
            }
        }
        if let Stage::Priming(id) = self.stage
            && Self::is_open(cx, id)
        {
            let now = cx.now;
            cx.tcp().abort(now, id);
            cx.tcp().release(now, id);
            self.open(cx);
        }
        if let Stage::Opening(id) = self.stage
            && Self::is_open(cx, id)
        {
            let now = since(cx.log.began, cx.now);
            cx.log.steps.push(Step {
                label: "TCP".into(),
                start: 0.0,
                first_byte: now,
                end: now,
            });
            self.stage = Stage::Running(id);
            self.begin_step(cx);
        }
        if let Stage::Running(id) = self.stage {
            self.run(cx, id);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        matches!(self.stage, Stage::Idle).then_some(self.socket.start)
    }
}

/// Answers by the same script.
#[derive(Debug)]
pub(super) struct Server {
    requests: Requests,
    socket: Socket,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
    step: usize,
    received: u64,
    answer_at: Option<Instant>,
    outgoing: Outgoing,
}

impl Server {
    pub(super) fn new(requests: Requests, mut socket: Socket) -> Self {
        if requests.fast_open {
            socket.options.fast_open = Some(16);
        }
        Self {
            requests,
            socket,
            listener: None,
            conn: None,
            step: 0,
            received: 0,
            answer_at: None,
            outgoing: Outgoing::default(),
        }
    }

    /// Counts what came; true when the request is complete.
    fn receive(&mut self, cx: &mut Context<'_>, id: ConnId) {
        while let Some(Read::Data(data)) = read(cx, id, READ) {
            self.received += data.len() as u64;
        }
        let Some(step) = self.requests.steps.get(self.step) else {
            return;
        };
        if self.answer_at.is_none() && self.received >= step.send {
            self.received -= step.send;
            self.answer_at = Some(cx.now + step.think);
        }
    }
}

impl App for Server {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let Some(listener) = self.socket.listen(&mut self.listener, cx) else {
            return;
        };
        // The connection that only fetched a cookie is followed by the one that counts.
        while let Some((id, _)) = cx.tcp().accept(listener) {
            self.conn = Some(id);
        }
        let Some(id) = self.conn else { return };
        loop {
            self.receive(cx, id);
            if self.answer_at.is_none_or(|at| at > cx.now) {
                break;
            }
            self.answer_at = None;
            self.outgoing.0 += self.requests.steps[self.step].receive;
            self.step += 1;
        }
        self.outgoing.flush(cx, id);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.answer_at
    }

    fn watched(&self) -> Option<ConnId> {
        self.conn
    }
}
